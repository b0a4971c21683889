"""The browser's device: WebGPU through gpu.js, replay.js and stream.js.

The worker registers the exports of the three as the module `lapidary_gpu`. What
crosses to JavaScript is flat: numbers, strings, typed arrays and handles; a step of
decoding crosses once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import lapidary_gpu as gpu_js  # type: ignore[import-not-found]
from js import AbortController, Uint8Array
from pyodide.ffi import JsException, create_proxy, to_js

from pyodide_app import errors
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu import failures, webgpu
from pyodide_app.gpu.device import Prepared
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Plan, View

_SCRATCH = 1024  # bytes; writes up to here reuse a JavaScript array of their length


@dataclass(frozen=True, slots=True)
class BrowserPlan:
    """A plan with its pipelines and bind groups, which live in JavaScript.

    They are freed when nobody holds this any more, as they are natively.
    """

    plan: Plan
    handle: Any

    def __del__(self) -> None:
        gpu_js.discard(self.handle)


class WebGPUDevice:
    """A WebGPU device; see `gpu.device.Device` for what each method promises."""

    def __init__(self, gpu: Any) -> None:
        """Wrap what `openDevice` of gpu.js gave."""
        self._gpu = gpu
        facts = gpu_js.describeDevice(gpu, to_js(webgpu.REPORTED_LIMITS))
        self.info = webgpu.describe(facts.to_py())
        self.on_lost: Callable[[str], None] | None = None
        self._buffers: dict[Buffer, Any] = {}
        self._pipelines: dict[Variant, Any] = {}
        self._scratch: dict[int, Any] = {}
        self._lost_proxy = create_proxy(self._tell_lost)
        gpu_js.watchLost(gpu, self._lost_proxy)

    @property
    def counters(self) -> dict[str, int]:
        """Return how much was submitted, dispatched, moved and made so far."""
        counters: dict[str, int] = self._gpu.counters.to_py()
        return counters

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Queue a small write."""
        target = self._buffer(buffer)
        _call(gpu_js.writeBuffer, self._gpu, target, offset, self._to_js(data))

    async def upload(
        self,
        source: ByteSource,
        begin: int,
        end: int,
        buffer: Buffer,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Stream a range of a source into a buffer; cancelling the task stops it.

        A source with a `reader`, a JavaScript function (begin, end) that promises an
        ArrayBuffer, is streamed past the WebAssembly heap.
        """
        made = self._make_buffers([buffer])
        target = self._buffers[buffer]
        try:
            if (reader := getattr(source, "reader", None)) is None:
                await self._upload_bytes(source, begin, end, target, offset, on_bytes)
            else:
                upload = _Upload(source.name, reader, on_bytes)
                await upload.run(self._gpu, begin, end, target, offset)
        except errors.DeviceMemoryError:
            self.release(made)
            raise

    async def prepare(self, plan: Plan) -> Prepared:
        """Make pipelines, buffers and bind groups."""
        variants = dict.fromkeys(dispatch.variant for dispatch in plan.dispatches)
        missing = [v for v in variants if v not in self._pipelines]
        await asyncio.gather(*(self._compile(variant) for variant in missing))
        views = [view for dispatch in plan.dispatches for view in dispatch.views]
        buffers = list(dict.fromkeys(view.buffer for view in views))
        made = self._make_buffers(buffers)
        arena, commands = webgpu.flatten(plan, list(variants), buffers)
        try:
            prepared = BrowserPlan(
                plan,
                _call(
                    gpu_js.prepare,
                    self._gpu,
                    plan.label,
                    to_js([dispatch.name for dispatch in plan.dispatches]),
                    to_js(arena),
                    to_js(commands),
                    to_js([self._buffers[buffer] for buffer in buffers]),
                    to_js([self._pipelines[variant] for variant in variants]),
                ),
            )
            await _wait(prepared.handle.ready)
        except errors.DeviceMemoryError:
            self.release(made)
            raise
        return prepared

    def submit(self, prepared: Prepared) -> None:
        """Replay a plan without waiting."""
        assert isinstance(prepared, BrowserPlan)
        _call(gpu_js.submit, self._gpu, prepared.handle)

    def run(self, prepared: Prepared, view: View, times: int = 1) -> Awaitable[bytes]:
        """Replay a plan and read a view."""
        assert isinstance(prepared, BrowserPlan)
        return self._read_after(prepared.handle, times, view)

    async def read(self, view: View) -> bytes:
        """Return the bytes of a view."""
        return await self._read_after(None, 0, view)

    async def settle(self) -> None:
        """Wait for all queued work."""
        await _wait(gpu_js.settle(self._gpu))

    def release(self, buffers: Iterable[Buffer]) -> None:
        """Free buffers."""
        made = [self._buffers.pop(buffer, None) for buffer in buffers]
        gpu_js.destroyBuffers(to_js([handle for handle in made if handle is not None]))

    def close(self) -> None:
        """Give the device back; whatever still awaits it is told that it is lost."""
        if self._lost_proxy is None:
            return
        self.release(list(self._buffers))
        self._pipelines.clear()
        self._scratch.clear()
        gpu_js.closeDevice(self._gpu)
        self._lost_proxy.destroy()
        self._lost_proxy = None

    def _tell_lost(self, message: str) -> None:
        if self.on_lost is not None:
            self.on_lost(message)

    def _buffer(self, buffer: Buffer) -> Any:
        if buffer not in self._buffers:
            self._make_buffers([buffer])
        return self._buffers[buffer]

    def _make_buffers(self, buffers: Iterable[Buffer]) -> list[Buffer]:
        """Make those that do not exist yet, and return which these were."""
        missing = [buffer for buffer in buffers if buffer not in self._buffers]
        for buffer in missing:
            failures.refuse_larger(buffer, self.info.limits.max_buffer_bytes)
        for buffer in missing:
            self._buffers[buffer] = _call(
                gpu_js.createBuffer, self._gpu, buffer.label, buffer.size
            )
        return missing

    async def _compile(self, variant: Variant) -> None:
        bindings = kernels.load(variant.kernel).bindings
        self._pipelines[variant] = await _wait(
            gpu_js.compile(
                self._gpu,
                variant.label,
                variant.code_for(webgpu.ASKED_FEATURES),
                to_js([(binding.number, binding.access) for binding in bindings]),
                to_js(list(variant.overrides)),
            )
        )

    def _read_after(self, handle: Any, times: int, view: View) -> Awaitable[bytes]:
        source = self._buffer(view.buffer)
        return _arrival(
            gpu_js.run(self._gpu, handle, times, source, view.offset, view.size)
        )

    async def _upload_bytes(
        self,
        source: ByteSource,
        begin: int,
        end: int,
        target: Any,
        offset: int,
        on_bytes: Callable[[int], None],
    ) -> None:
        for start in range(begin, end, webgpu.CHUNK):
            data = await source.read(start, min(start + webgpu.CHUNK, end))
            await _wait(
                gpu_js.uploadChunk(
                    self._gpu, target, offset + start - begin, to_js(data)
                )
            )
            on_bytes(len(data))

    def _to_js(self, data: bytes) -> Any:
        """Return a Uint8Array of the bytes, good until the next call."""
        if len(data) > _SCRATCH:
            return to_js(data)
        if len(data) not in self._scratch:
            self._scratch[len(data)] = Uint8Array.new(len(data))
        scratch = self._scratch[len(data)]
        scratch.assign(data)
        return scratch


class _Upload:
    """One upload by stream.js: its abort signal, and what `on_bytes` raised."""

    def __init__(self, name: str, reader: Any, on_bytes: Callable[[int], None]) -> None:
        self._name = name
        self._reader = reader
        self._on_bytes = on_bytes
        self._raised: Exception | None = None

    async def run(
        self, gpu: Any, begin: int, end: int, target: Any, offset: int
    ) -> None:
        """Stream; whatever ends it, nothing is written after this returns."""
        abort = AbortController.new()
        progress = create_proxy(self._progress)
        try:
            await gpu_js.upload(
                gpu, self._reader, begin, end, target, offset, progress, abort.signal
            )
        except JsException as error:
            raise self._raised or self._failure(error) from error
        finally:
            abort.abort()
            progress.destroy()

    def _progress(self, n_bytes: int) -> None:
        # JavaScript would hand back the text of an exception only.
        try:
            self._on_bytes(n_bytes)
        except Exception as error:
            self._raised = error
            raise

    def _failure(self, error: Any) -> errors.EngineError:
        if error.name != "SourceFailed":
            return _failure(error)
        return errors.SourceError(
            f"cannot read {error.what} of {self._name}",
            found=_last_line(error.message),
            remedy="Choose the file again, or check the network.",
        )


async def open_device(
    on_lost: Callable[[str], None] | None = None, had_one: bool = False
) -> WebGPUDevice:
    """Open the browser's best adapter.

    `on_lost` is told the reason when the device is lost other than by `close`; where
    there is no adapter but `had_one` earlier, something else helps.
    Raises: DeviceMissingError when there is no WebGPU or no adapter.
    """
    asked = map(to_js, (webgpu.ASKED_LIMITS, webgpu.ASKED_FEATURES))
    device = WebGPUDevice(await _wait(gpu_js.openDevice(*asked, had_one)))
    device.on_lost = on_lost
    return device


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except JsException as error:
        raise _failure(error) from error


async def _wait(promise: Awaitable[Any]) -> Any:
    try:
        return await promise
    except JsException as error:
        raise _failure(error) from error


async def _arrival(promise: Awaitable[Any]) -> bytes:
    # One await: it costs as much as a hundred calls.
    data: bytes = (await _wait(promise)).to_bytes()
    return data


def _failure(error: Any) -> errors.DeviceError:
    thing = str(getattr(error, "what", ""))
    return failures.as_error(str(error.name), str(error.message), thing)


def _last_line(text: str) -> str:
    """Return the line of a traceback, or of any message, that says what happened."""
    return text.strip().rpartition("\n")[2]
