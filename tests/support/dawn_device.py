"""A device for tests: the page's gpu.js and replay.js on Dawn, in a Node process."""

from __future__ import annotations

import atexit
import itertools
import json
import socket
import struct
import subprocess
import tempfile
import weakref
from array import array
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyodide_app import errors
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu import failures, webgpu
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Plan, View
from tools import environment, lavapipe

SCRIPT = Path(__file__).with_suffix(".mjs")
PATIENCE = 240  # seconds that one call may take
_LENGTHS = struct.Struct("<II")  # of a message's header and body


class Handle:
    """What a call of JavaScript returned; it is forgotten there when this is here."""

    def __init__(self, number: int, dropped: list[int]) -> None:
        self.number = number
        weakref.finalize(self, dropped.append, number)


class Page:
    """The functions of the page's GPU code; dawn_device.mjs says how to call them."""

    def __init__(self, icd: Path | None) -> None:
        """Start Node, where Dawn sees this Vulkan driver, or what the system has."""
        environment.ensure_node_modules(dev=True)
        self._log = tempfile.TemporaryFile()
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                [environment.node(), SCRIPT, environment.WEB, str(fd)],
                stdout=self._log,
                stderr=self._log,
                pass_fds=[fd],
                env=lavapipe.dawn_environment(icd),
            )
        atexit.register(self.close)
        self._handles = itertools.count(1)
        self._dropped: list[int] = []
        self._asked = 0
        self._replies: dict[int, Any] = {}  # that nobody has taken yet, by number
        self._heard = 0

    def tell(self, call: str, *values: Any) -> None:
        """Call a function and go on; its failure is raised by a later `hear`."""
        self._send(call, values)

    def make(self, call: str, *values: Any) -> Handle:
        """Call a function and go on, with a handle of what it returns."""
        handle = Handle(next(self._handles), self._dropped)
        self._send(call, values, keep=handle.number)
        return handle

    def ask(self, call: str, *values: Any, keep: int = 0) -> int:
        """Call a function; return the number by which its reply can be heard."""
        self._send(call, values, keep=keep, reply=True)
        self._asked += 1
        return self._asked

    def ask_for(self, call: str, *values: Any) -> tuple[Handle, int]:
        """Call a function; its handle may be used once its reply has been heard."""
        handle = Handle(next(self._handles), self._dropped)
        return handle, self.ask(call, *values, keep=handle.number)

    def hear(self, number: int) -> Any:
        """Wait for a reply and return what it says, or raise it."""
        while self._heard < number:
            self._heard += 1
            self._replies[self._heard] = self._receive()
        reply = self._replies.pop(number)
        if isinstance(reply, errors.EngineError):
            raise reply
        return reply

    def close(self) -> None:
        """End the process, which has nothing to do once its socket is closed."""
        atexit.unregister(self.close)
        self._socket.close()
        self._process.wait(PATIENCE)
        self._log.close()

    def _send(
        self, call: str, values: tuple[Any, ...], *, keep: int = 0, reply: bool = False
    ) -> None:
        body = bytearray()

        def encode(value: Any) -> dict[str, Any]:
            if isinstance(value, Handle):
                return {"handle": value.number}
            begin = len(body)
            body.extend(value.tobytes() if isinstance(value, array) else value)
            kind = "doubles" if isinstance(value, array) else "bytes"
            return {kind: [begin, len(body)]}

        drop = self._dropped.copy()
        del self._dropped[: len(drop)]
        message = {"call": call, "values": values, "keep": keep, "reply": reply}
        header = json.dumps({**message, "drop": drop}, default=encode).encode()
        try:
            self._socket.sendall(
                b"".join((_LENGTHS.pack(len(header), len(body)), header, body))
            )
        except OSError as error:
            raise self._ended(str(error)) from error

    def _receive(self) -> Any:
        n_header, n_body = _LENGTHS.unpack(self._take(_LENGTHS.size))
        header = json.loads(self._take(n_header))
        body = self._take(n_body)
        if error := header.get("error"):
            return failures.as_error(
                error["name"], error["message"], error.get("what", "")
            )
        return body or header["value"]

    def _take(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                n = self._socket.recv_into(view)
            except OSError as error:
                raise self._ended(str(error)) from error
            if n == 0:
                raise self._ended("it has ended")
            view = view[n:]
        return bytes(data)

    def _ended(self, why: str) -> errors.DeviceLostError:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        return errors.DeviceLostError("Dawn's process", found=f"{why}\n{text[-2000:]}")


@dataclass(frozen=True, slots=True)
class DawnPlan:
    """A plan with its pipelines and bind groups, which live in JavaScript."""

    plan: Plan
    handle: Handle


class DawnDevice:
    """A device of Dawn; see `gpu.device.Device` for what each method promises."""

    def __init__(self, icd: Path | None = None) -> None:
        """Open the adapter of a Vulkan driver, or the one that Dawn prefers.

        Raises: DeviceMissingError when there is none that Dawn takes.
        """
        self._page = Page(icd)
        asked = (webgpu.ASKED_LIMITS, webgpu.ASKED_FEATURES)
        try:
            self._gpu, opened = self._page.ask_for("openDevice", *asked)
            self._page.hear(opened)
            self.info = webgpu.describe(
                self._ask("describeDevice", webgpu.REPORTED_LIMITS)
            )
        except errors.EngineError:
            self._page.close()
            raise
        self._buffers: dict[Buffer, Handle] = {}
        self._pipelines: dict[Variant, Handle] = {}

    @property
    def counters(self) -> dict[str, int]:
        """Return how much was submitted, dispatched, moved and made so far."""
        counters: dict[str, int] = self._ask("counters")
        return counters

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Queue a small write."""
        self._page.tell("writeBuffer", self._gpu, self._buffer(buffer), offset, data)

    async def upload(
        self,
        source: ByteSource,
        begin: int,
        end: int,
        buffer: Buffer,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Stream a range of a source into a buffer."""
        target = self._buffer(buffer)
        for start in range(begin, end, webgpu.CHUNK):
            data = await source.read(start, min(start + webgpu.CHUNK, end))
            self._ask("uploadChunk", target, offset + start - begin, data)
            on_bytes(len(data))

    async def prepare(self, plan: Plan) -> DawnPlan:
        """Make pipelines, buffers and bind groups."""
        variants = list(dict.fromkeys(dispatch.variant for dispatch in plan.dispatches))
        self._compile([v for v in variants if v not in self._pipelines])
        views = [view for dispatch in plan.dispatches for view in dispatch.views]
        buffers = list(dict.fromkeys(view.buffer for view in views))
        handle, made = self._page.ask_for(
            "prepare",
            self._gpu,
            plan.label,
            [dispatch.name for dispatch in plan.dispatches],
            *webgpu.flatten(plan, variants, buffers),
            [self._buffer(buffer) for buffer in buffers],
            [self._pipelines[variant] for variant in variants],
        )
        self._page.hear(made)
        return DawnPlan(plan, handle)

    def submit(self, prepared: Any) -> None:
        """Replay a plan without waiting."""
        self._page.tell("submit", self._gpu, prepared.handle)

    def run(self, prepared: Any, view: View, times: int = 1) -> Awaitable[bytes]:
        """Replay a plan and read a view."""
        return self._read_after(prepared.handle, times, view)

    async def read(self, view: View) -> bytes:
        """Return the bytes of a view."""
        return await self._read_after(None, 0, view)

    async def settle(self) -> None:
        """Wait for all queued work."""
        self._ask("settle")

    def release(self, buffers: Iterable[Buffer]) -> None:
        """Free buffers."""
        made = [self._buffers.pop(buffer, None) for buffer in buffers]
        self._page.tell("destroyBuffers", [h for h in made if h is not None])

    def close(self) -> None:
        """Give the device back."""
        self._page.close()

    def _ask(self, call: str, *values: Any) -> Any:
        return self._page.hear(self._page.ask(call, self._gpu, *values))

    def _buffer(self, buffer: Buffer) -> Handle:
        if buffer not in self._buffers:
            self._buffers[buffer] = self._page.make(
                "createBuffer", self._gpu, buffer.label, buffer.size
            )
        return self._buffers[buffer]

    def _compile(self, variants: list[Variant]) -> None:
        """Compile all of them at once, as the page does."""
        asked = []
        for variant in variants:
            bindings = kernels.load(variant.kernel).bindings
            code = variant.code_for(webgpu.ASKED_FEATURES)
            layout = [(binding.number, binding.access) for binding in bindings]
            asked.append(
                self._page.ask_for(
                    *("compile", self._gpu, variant.label, code),
                    *(layout, variant.overrides),
                )
            )
        for variant, (handle, made) in zip(variants, asked, strict=True):
            self._page.hear(made)
            self._pipelines[variant] = handle

    def _read_after(
        self, handle: Handle | None, times: int, view: View
    ) -> Awaitable[bytes]:
        source = self._buffer(view.buffer)
        number = self._page.ask(
            "run", self._gpu, handle, times, source, view.offset, view.size
        )
        return self._arrival(number)

    async def _arrival(self, number: int) -> bytes:
        data: bytes = self._page.hear(number)
        return data
