"""The native device: plans replayed through wgpu-py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import wgpu

from pyodide_app import errors
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu import failures, wgpu_adapter, wgpu_faults
from pyodide_app.gpu.device import Prepared
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Plan, View

_CHUNK = 4 << 20  # bytes of one upload write
# Bytes after which an upload waits for the device: wgpu keeps a copy of what is queued.
_QUEUED = 128 << 20
# Bytes: read-back buffers come in powers of two, the smaller ones are kept.
_SMALLEST_STAGING, _LARGEST_KEPT = 256, 4096
_USAGE = (
    wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
)
_ACCESS = {
    "uniform": wgpu.BufferBindingType.uniform,
    "read": wgpu.BufferBindingType.read_only_storage,
    "read_write": wgpu.BufferBindingType.storage,
}
# What its compiler wants enabled in a text; other `enable` lines it refuses.
_ENABLED = ("shader-f16",)

# What is counted, as in web/engine/gpu.js.
COUNTERS = (
    *("submits", "dispatches", "host_calls"),
    *("bytes_uploaded", "bytes_read", "objects"),
)


@dataclass(frozen=True, slots=True)
class NativePlan:
    """A plan with its pipelines and bind groups."""

    plan: Plan
    commands: tuple[tuple[Any, Any, tuple[int, int, int]], ...]
    params: Any


class NativeDevice:
    """A wgpu-py device; see `gpu.device.Device` for what each method promises."""

    def __init__(self, adapter: Any) -> None:
        """Open an adapter of wgpu's. Raises DeviceMissingError when it gives none."""
        self._adapter = adapter
        self.info = wgpu_adapter.describe(adapter)
        self._device = wgpu_adapter.request_device(adapter)
        self._faults = wgpu_faults.Faults()
        self._buffers: dict[Buffer, Any] = {}
        self._pipelines: dict[Variant, tuple[Any, Any]] = {}
        self._staging: dict[int, list[Any]] = {}  # idle ones by size
        self._queued = 0  # bytes of uploads since the device was last waited for
        self.counters = dict.fromkeys(COUNTERS, 0)

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Queue a small write."""
        target = self._buffer(buffer)
        with self._faults.told(f"a write to {buffer.label}"):
            self._device.queue.write_buffer(target, offset, data)
        self._count(host_calls=1, bytes_uploaded=len(data))

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
        for start in range(begin, end, _CHUNK):
            data = await source.read(start, min(start + _CHUNK, end))
            padded = bytes(data) + bytes(-len(data) % 4)
            with self._faults.told(f"the upload of {buffer.label}"):
                self._device.queue.write_buffer(target, offset + start - begin, padded)
            self._count(host_calls=1, bytes_uploaded=len(data))
            self._queued += len(data)
            if self._queued >= _QUEUED:
                await self.settle()
            on_bytes(len(data))

    async def prepare(self, plan: Plan) -> Prepared:
        """Make pipelines, buffers and bind groups."""
        views = [view for dispatch in plan.dispatches for view in dispatch.views]
        made = [v.buffer for v in views if v.buffer not in self._buffers]
        for variant in dict.fromkeys(d.variant for d in plan.dispatches):
            self._pipeline(variant)
        try:
            for buffer in made:
                self._buffer(buffer)
            with self._faults.told(f"plan {plan.label}"):
                prepared = self._prepare(plan)
            self._faults.check()
        except errors.DeviceMemoryError:
            self.release(made)
            raise
        return prepared

    def submit(self, prepared: Prepared) -> None:
        """Replay a plan without waiting."""
        assert isinstance(prepared, NativePlan)
        with self._faults.told(f"plan {prepared.plan.label}"):
            self._device.queue.submit([self._encode(prepared, 1).finish()])
        self._count(host_calls=1, submits=1)

    def run(self, prepared: Prepared, view: View, times: int = 1) -> Awaitable[bytes]:
        """Replay a plan and read a view."""
        assert isinstance(prepared, NativePlan)
        return self._read_after(prepared, times, view)

    async def read(self, view: View) -> bytes:
        """Return the bytes of a view."""
        return await self._read_after(None, 0, view)

    async def settle(self) -> None:
        """Wait for all queued work."""
        marker = Buffer("settle", 4)
        await self.read(View(marker, 0, 4))
        self.release([marker])
        self._queued = 0

    def release(self, buffers: Iterable[Buffer]) -> None:
        """Free buffers."""
        for buffer in buffers:
            made = self._buffers.pop(buffer, None)
            if made is not None:
                made.destroy()

    def close(self) -> None:
        """Give the device back; who goes on using it is told that it is lost."""
        self._faults.lose(failures.CLOSED)
        self.release(list(self._buffers))
        self._pipelines.clear()
        self._staging.clear()
        self._device.destroy()

    def _buffer(self, buffer: Buffer) -> Any:
        made = self._buffers.get(buffer)
        if made is None:
            failures.refuse_larger(buffer, self.info.limits.max_buffer_bytes)
            with self._faults.told(f"buffer {buffer.label} ({buffer.size} bytes)"):
                made = self._device.create_buffer(
                    label=buffer.label, size=buffer.size, usage=_USAGE
                )
            self._buffers[buffer] = made
            self._count(objects=1)
        return made

    def _pipeline(self, variant: Variant) -> tuple[Any, Any]:
        if variant not in self._pipelines:
            self._pipelines[variant] = self._compile(variant)
            self._count(objects=4)  # with its module and its layouts
        return self._pipelines[variant]

    def _compile(self, variant: Variant) -> tuple[Any, Any]:
        kernel = kernels.load(variant.kernel)
        entries = [
            {
                "binding": binding.number,
                "visibility": wgpu.ShaderStage.COMPUTE,
                "buffer": {"type": _ACCESS[binding.access]},
            }
            for binding in kernel.bindings
        ]
        with self._faults.told(variant.label, "ShaderCompile"):
            layout = self._device.create_bind_group_layout(
                label=variant.label, entries=entries
            )
            module = self._device.create_shader_module(
                label=variant.label, code=variant.code_for(_ENABLED)
            )
            pipeline = self._device.create_compute_pipeline(
                label=variant.label,
                layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                compute={
                    "module": module,
                    "entry_point": "main",
                    "constants": dict(variant.overrides),
                },
            )
        return pipeline, layout

    def _prepare(self, plan: Plan) -> NativePlan:
        """Make the uniforms and the bind groups of a plan; all else is there."""
        arena, offsets = plan.pack_params()
        params = self._device.create_buffer_with_data(
            label=f"{plan.label}.params",
            data=arena or bytes(4),
            usage=wgpu.BufferUsage.UNIFORM,
        )
        commands = []
        for dispatch, offset in zip(plan.dispatches, offsets, strict=True):
            pipeline, layout = self._pipeline(dispatch.variant)
            resources = [(params, offset, max(16, len(dispatch.params)))]
            resources += [
                (self._buffer(view.buffer), view.offset, view.size)
                for view in dispatch.views
            ]
            entries = [
                {
                    "binding": i,
                    "resource": {"buffer": buffer, "offset": begin, "size": size},
                }
                for i, (buffer, begin, size) in enumerate(resources)
            ]
            group = self._device.create_bind_group(
                label=dispatch.name, layout=layout, entries=entries
            )
            commands.append((pipeline, group, dispatch.workgroups))
        self._count(host_calls=1, objects=1 + len(commands), bytes_uploaded=len(arena))
        return NativePlan(plan, tuple(commands), params)

    def _encode(self, prepared: NativePlan, times: int) -> Any:
        encoder = self._device.create_command_encoder(label=prepared.plan.label)
        compute = encoder.begin_compute_pass()
        set_pipeline, set_group = compute.set_pipeline, compute.set_bind_group
        launch, current = compute.dispatch_workgroups, None
        for pipeline, group, workgroups in prepared.commands * times:
            if pipeline is not current:
                set_pipeline(pipeline)
                current = pipeline
            set_group(0, group)
            launch(*workgroups)
        compute.end()
        self._count(dispatches=times * len(prepared.commands))
        return encoder

    def _read_after(
        self, prepared: NativePlan | None, times: int, view: View
    ) -> Awaitable[bytes]:
        """Replay a plan, if one is given, and read a view, all in one submit."""
        source = self._buffer(view.buffer)
        what = (
            f"plan {prepared.plan.label}"
            if prepared
            else f"a read of {view.size} bytes"
        )
        with self._faults.told(what):
            staging = self._take_staging(view.size)
            encoder = (
                self._encode(prepared, times)
                if prepared
                else self._device.create_command_encoder()
            )
            encoder.copy_buffer_to_buffer(source, view.offset, staging, 0, view.size)
            self._device.queue.submit([encoder.finish()])
            mapping = staging.map_async(wgpu.MapMode.READ, 0, view.size)
        # Waited for here alone: told that it is over, a loop that has ended by then
        # raises within wgpu's thread, which prints that.
        mapping._call_soon_threadsafe = None
        self._count(host_calls=1, submits=1, bytes_read=view.size)
        return self._arrival(staging, mapping, view.size)

    async def _arrival(self, staging: Any, mapping: Any, size: int) -> bytes:
        with self._faults.told("a read-back"):
            mapping.sync_wait()
            data = bytes(staging.read_mapped(0, size))
            staging.unmap()  # fails where the device was lost meanwhile
        self._faults.check()
        if staging.size > _LARGEST_KEPT:
            staging.destroy()
        else:
            self._staging.setdefault(staging.size, []).append(staging)
        return data

    def _take_staging(self, size: int) -> Any:
        """Return a read-back buffer that nothing uses."""
        capacity = _SMALLEST_STAGING
        while capacity < size:
            capacity *= 2
        if self._staging.get(capacity):
            return self._staging[capacity].pop()
        self._count(objects=1)
        return self._device.create_buffer(
            label="staging",
            size=capacity if capacity <= _LARGEST_KEPT else size,
            usage=wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST,
        )

    def _count(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self.counters[name] += amount


def open_device(name: str = "") -> NativeDevice:
    """Open the best adapter, or the first whose description contains `name`.

    Raises: DeviceMissingError when there is none, or it gives no device.
    """
    wgpu_faults.listen()
    return NativeDevice(wgpu_adapter.choose(name))
