"""What the driver asks of a GPU: buffers, uploads, prepared plans, read-backs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pyodide_app.gguf.sources import ByteSource
from pyodide_app.graph.plan import Buffer, Plan, View


@dataclass(frozen=True, slots=True)
class Limits:
    """The adapter's limits that decide what fits."""

    max_binding_bytes: int  # maxStorageBufferBindingSize
    max_buffer_bytes: int
    max_workgroup_bytes: int
    max_threads: int  # maxComputeInvocationsPerWorkgroup
    max_storage_buffers: int  # per shader stage
    max_groups: int  # maxComputeWorkgroupsPerDimension


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """What is known of the adapter: shown to people, and used to choose a tuning."""

    name: str
    backend: str
    is_software: bool
    features: frozenset[str]  # by the names that WebGPU has for them
    limits: Limits
    subgroup: int = 0  # threads of its smallest subgroup; 0: unknown


class Prepared(Protocol):
    """A plan whose pipelines and bind groups exist, ready to replay.

    What it takes on the device is freed when nobody holds it any more.
    """

    @property
    def plan(self) -> Plan:
        """Return the plan that was prepared."""


class Device(Protocol):
    """A GPU. Reads are awaitable; everything else is queued in order."""

    info: AdapterInfo

    @property
    def counters(self) -> Mapping[str, int]:
        """Return how much was submitted, dispatched, moved and made so far."""

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Queue a small write; length and offset are multiples of four."""

    async def upload(
        self,
        source: ByteSource,
        begin: int,
        end: int,
        buffer: Buffer,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Stream a range of a source into a buffer in bounded chunks.

        `on_bytes` is told the size of each chunk that has arrived.
        """

    async def prepare(self, plan: Plan) -> Prepared:
        """Make the pipelines, buffers and bind groups that a plan needs."""

    def submit(self, prepared: Prepared) -> None:
        """Replay a plan in one submit, without waiting."""

    def run(self, prepared: Prepared, view: View, times: int = 1) -> Awaitable[bytes]:
        """Replay a plan `times` times and read a view, all in one submit.

        The submit is made before this returns; who called must await the bytes.
        """

    async def read(self, view: View) -> bytes:
        """Return the bytes of a view once all queued work is done."""

    async def settle(self) -> None:
        """Wait for all queued work, and raise what went wrong in it."""

    def release(self, buffers: Iterable[Buffer]) -> None:
        """Free buffers; plans that use them must not be replayed again."""

    def close(self) -> None:
        """Give the device back."""
