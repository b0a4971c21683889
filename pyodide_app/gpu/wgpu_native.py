"""The native device: plans replayed through wgpu-py."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import wgpu

from pyodide_app import errors
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu import failures
from pyodide_app.gpu.device import AdapterInfo, Limits, Prepared
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
# Asked of the adapter beyond WebGPU's defaults; each at the adapter's own value.
_LIMITS = (
    "max-storage-buffer-binding-size",
    "max-buffer-size",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroup-size-x",
    "max-storage-buffers-per-shader-stage",
)


# Asked of the adapter where it has them: wgpu's names, by WebGPU's.
_FEATURES = {"subgroups": "subgroup", "shader-f16": "shader-f16"}
# Of these, what its compiler wants enabled in a text; other `enable` lines it refuses.
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
        self._adapter = adapter
        self.info = _describe(adapter)
        self._device = adapter.request_device_sync(
            required_features=[f for f in _FEATURES.values() if f in adapter.features],
            required_limits={name: adapter.limits[name] for name in _LIMITS},
        )
        self._buffers: dict[Buffer, Any] = {}
        self._pipelines: dict[Variant, tuple[Any, Any]] = {}
        self._staging: dict[int, list[Any]] = {}  # idle ones by size
        self._queued = 0  # bytes of uploads since the device was last waited for
        self.counters = dict.fromkeys(COUNTERS, 0)

    def write(self, buffer: Buffer, offset: int, data: bytes) -> None:
        """Queue a small write."""
        self._device.queue.write_buffer(self._buffer(buffer), offset, data)
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
            self._device.queue.write_buffer(target, offset + start - begin, padded)
            self._count(host_calls=1, bytes_uploaded=len(data))
            self._queued += len(data)
            if self._queued >= _QUEUED:
                await self.settle()
            on_bytes(len(data))

    async def prepare(self, plan: Plan) -> Prepared:
        """Make pipelines, buffers and bind groups."""
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

    def submit(self, prepared: Prepared) -> None:
        """Replay a plan without waiting."""
        with _telling_of_loss():
            self._device.queue.submit([self._encode(prepared, 1).finish()])
        self._count(host_calls=1, submits=1)

    def run(self, prepared: Prepared, view: View, times: int = 1) -> Awaitable[bytes]:
        """Replay a plan and read a view."""
        return self._read_after(self._encode(prepared, times), view)

    async def read(self, view: View) -> bytes:
        """Return the bytes of a view."""
        return await self._read_after(self._device.create_command_encoder(), view)

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
        """Give the device back."""
        self.release(list(self._buffers))
        self._device.destroy()

    def _buffer(self, buffer: Buffer) -> Any:
        made = self._buffers.get(buffer)
        if made is None:
            if buffer.size > self.info.limits.max_buffer_bytes:
                raise errors.DeviceLimitError(
                    f"buffer {buffer.label}",
                    found=f"{buffer.size} bytes",
                    expected=f"at most {self.info.limits.max_buffer_bytes} bytes",
                )
            try:
                made = self._device.create_buffer(
                    label=buffer.label, size=buffer.size, usage=_USAGE
                )
            except wgpu.GPUOutOfMemoryError as error:
                raise errors.DeviceMemoryError(
                    f"the GPU has no memory left for {buffer.label}",
                    found=f"{buffer.size} bytes wanted",
                    remedy="Choose a shorter context or a smaller model",
                ) from error
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
        layout = self._device.create_bind_group_layout(
            label=variant.label,
            entries=[
                {
                    "binding": binding.number,
                    "visibility": wgpu.ShaderStage.COMPUTE,
                    "buffer": {"type": _ACCESS[binding.access]},
                }
                for binding in kernel.bindings
            ],
        )
        try:
            pipeline = self._device.create_compute_pipeline(
                label=variant.label,
                layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                compute={
                    "module": self._device.create_shader_module(
                        label=variant.label, code=variant.code_for(_ENABLED)
                    ),
                    "entry_point": "main",
                    "constants": dict(variant.overrides),
                },
            )
        except wgpu.GPUError as error:
            raise errors.ShaderCompileError(
                f"shader {variant.label} was rejected", found=str(error)
            ) from error
        return pipeline, layout

    def _encode(self, prepared: Prepared, times: int) -> Any:
        assert isinstance(prepared, NativePlan)
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

    def _read_after(self, encoder: Any, view: View) -> Awaitable[bytes]:
        staging = self._take_staging(view.size)
        source = self._buffer(view.buffer)
        with _telling_of_loss():
            encoder.copy_buffer_to_buffer(source, view.offset, staging, 0, view.size)
            self._device.queue.submit([encoder.finish()])
        self._count(host_calls=1, submits=1, bytes_read=view.size)
        mapping = staging.map_async(wgpu.MapMode.READ, 0, view.size)
        return self._arrival(staging, mapping, view.size)

    async def _arrival(self, staging: Any, mapping: Any, size: int) -> bytes:
        mapping.sync_wait()
        data = bytes(staging.read_mapped(0, size))
        staging.unmap()
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


@contextmanager
def _telling_of_loss() -> Iterator[None]:
    """Raise what wgpu says of a lost device, whatever it was asked, as that."""
    try:
        yield
    except wgpu.GPUError as error:
        if "device is lost" not in str(error):
            raise
        raise errors.DeviceLostError(
            "the GPU device was lost", found=str(error), remedy=failures.LOAD_AGAIN
        ) from error


def open_device(name: str = "") -> NativeDevice:
    """Open the best adapter, or the first whose description contains `name`."""
    # Without it Mesa and the Vulkan loader complain on stderr, several times.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    adapters = wgpu.gpu.enumerate_adapters_sync()
    chosen = [a for a in adapters if name.lower() in a.summary.lower()]
    if not chosen:
        seen = ", ".join(sorted(a.summary for a in adapters)) or "no adapter"
        raise errors.DeviceMissingError(
            "no GPU adapter" + (f" called {name!r}" if name else ""),
            found=seen,
            expected="a Vulkan, Metal or Direct3D 12 driver",
            remedy="Install one (on Debian, mesa-vulkan-drivers runs on the CPU)",
        )
    return NativeDevice(min(chosen, key=_rank))


def _rank(adapter: Any) -> int:
    order = ["DiscreteGPU", "IntegratedGPU", "VirtualGPU", "CPU"]
    kind = adapter.info["adapter_type"]
    # OpenGL adapters come last: their limits lack what compute needs.
    penalty = 10 if adapter.info["backend_type"] == "OpenGL" else 0
    return penalty + (order.index(kind) if kind in order else len(order))


def _describe(adapter: Any) -> AdapterInfo:
    limits = adapter.limits
    names = {native: name for name, native in _FEATURES.items()}
    return AdapterInfo(
        name=adapter.info["device"],
        backend=f"wgpu {adapter.info['backend_type']}",
        is_software=adapter.info["adapter_type"] == "CPU",
        features=frozenset(names.get(f, f) for f in adapter.features),
        limits=Limits(
            limits["max-storage-buffer-binding-size"],
            limits["max-buffer-size"],
            limits["max-compute-workgroup-storage-size"],
            limits["max-compute-invocations-per-workgroup"],
            limits["max-storage-buffers-per-shader-stage"],
            limits["max-compute-workgroups-per-dimension"],
        ),
        subgroup=_smallest_subgroup(adapter.info),
    )


def _smallest_subgroup(info: Mapping[str, Any]) -> int:
    """Return what wgpu-py calls `stackgroup_min_size`, for subgroup."""
    return int(info.get("subgroup_min_size") or info.get("stackgroup_min_size") or 0)
