"""A device that computes nothing and counts what it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Prepared
from pyodide_app.graph.plan import Buffer, Plan, View


@dataclass(frozen=True, slots=True)
class _Kept:
    plan: Plan


class CountingDevice:
    """A `Device` of which every word that is read is zero.

    `counters` has `host_calls`, one per call of a method that reaches a GPU, `submits`,
    `objects`, a bind group per dispatch that is prepared, and the `bytes_read`.
    """

    def __init__(self, info: AdapterInfo) -> None:
        self.info = info
        self.counters: Counter[str] = Counter()

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Count a call."""
        self.counters["host_calls"] += 1

    async def upload(
        self,
        source: ByteSource,
        begin: int,
        end: int,
        buffer: Buffer,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Count a call; nothing is read."""
        self.counters["host_calls"] += 1

    async def prepare(self, plan: Plan) -> Prepared:
        """Count a call and the bind groups."""
        self.counters.update(host_calls=1, objects=len(plan.dispatches))
        return _Kept(plan)

    def submit(self, prepared: Prepared) -> None:
        """Count a submit."""
        self.counters.update(host_calls=1, submits=1)

    async def run(self, prepared: Prepared, view: View, times: int = 1) -> bytes:
        """Count a submit and what is read."""
        self.submit(prepared)
        self.counters["bytes_read"] += view.size
        return bytes(view.size)

    async def read(self, view: View) -> bytes:
        """Count a submit and what is read."""
        self.counters.update(host_calls=1, submits=1, bytes_read=view.size)
        return bytes(view.size)

    async def settle(self) -> None:
        """Count a call."""
        self.counters["host_calls"] += 1

    def release(self, buffers: Iterable[Buffer]) -> None:
        """Count a call."""
        self.counters["host_calls"] += 1
