"""What goes wrong on a GPU, and as what it must be told: the same on every device.

tests/models/test_native_faults.py runs the table natively, tests/web/device_cases.py on
the browser's device.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pyodide_app import errors
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gpu.device import Device
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, View, whole
from tests.web.norm_plan import NormPlan

CHUNK = 4 << 20  # bytes that an upload reads at a time, on each device


class Host(Protocol):
    """What a device's host lets go wrong."""

    def lose(self, device: Any) -> None:
        """Take the device away."""

    def run_out_of_memory(self, device: Any) -> None:
        """Let there be none for the next buffer."""

    def fail_internally(self, device: Any) -> None:
        """Let what is made next for a plan fail for no reason of the plan."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure: how it comes about, and the error that tells of it."""

    error: type[errors.DeviceError]
    what: str  # what the error's own begins with
    happen: Callable[[Device, Host], Awaitable[object]]
    survives: bool = True  # whether the device works on


# -- what the caller asks for ----------------------------------------------------


async def too_large(device: Device, host: Host) -> None:
    size = device.info.limits.max_buffer_bytes + 4
    device.write(Buffer("huge", size), 0, bytes(4))


async def uncompilable(device: Device, host: Host) -> None:
    # A const of a reserved name, which the compiler alone sees.
    await prepare_with(device, variant=Variant("rms_norm", (), (("let", 2),)))


async def impossible_pipeline(device: Device, host: Host) -> None:
    # An override that the shader does not have. (A workgroup beyond the limits, set by
    # an override, is something that wgpu 29 takes.)
    overrides = (("WG", 32), ("NOBODY", 1))
    await prepare_with(device, variant=Variant("rms_norm", overrides=overrides))


async def view_beyond(device: Device, host: Host) -> None:
    good = NormPlan().plan.dispatches[0]
    views = (*good.views[:2], View(Buffer("small", 16), 0, 4096))
    await prepare_with(device, views=views)


async def too_many_workgroups(device: Device, host: Host) -> None:
    groups = (device.info.limits.max_groups + 1, 1, 1)
    output = NormPlan().plan.dispatches[0].views[-1]
    await device.run(await prepare_with(device, workgroups=groups), output)


async def write_beyond(device: Device, host: Host) -> None:
    device.write(Buffer("small", 16), 12, bytes(8))
    await device.settle()


async def write_of_odd_bytes(device: Device, host: Host) -> None:
    device.write(Buffer("small", 16), 0, bytes(3))
    await device.settle()


async def read_beyond(device: Device, host: Host) -> None:
    await device.read(View(Buffer("small", 16), 12, 8))


# -- what the device cannot do ---------------------------------------------------


async def no_memory_for_a_buffer(device: Device, host: Host) -> None:
    host.run_out_of_memory(device)
    buffer = Buffer("held", 64)
    try:
        device.write(buffer, 0, bytes(4))
        await device.settle()
    finally:
        device.release([buffer])


async def no_memory_for_a_plan(device: Device, host: Host) -> None:
    host.run_out_of_memory(device)
    await device.prepare(NormPlan().plan)


async def no_memory_for_an_upload(device: Device, host: Host) -> None:
    host.run_out_of_memory(device)
    source = BytesSource(bytes(8))
    await device.upload(source, 0, 8, Buffer("weights", 8), 0, lambda n: None)


async def internal_failure(device: Device, host: Host) -> None:
    norm = NormPlan()
    norm.write(device)
    for buffer in norm.buffers:
        device.write(buffer, 0, bytes(4))
    await device.settle()  # so that the plan itself is what is made next
    host.fail_internally(device)
    await device.prepare(norm.plan)


# -- a device that goes ----------------------------------------------------------


async def lost_when_idle(device: Device, host: Host) -> None:
    host.lose(device)
    await device.settle()


async def lost_before_a_buffer(device: Device, host: Host) -> None:
    host.lose(device)
    device.write(Buffer("new", 64), 0, bytes(4))
    await device.settle()


async def lost_before_a_plan(device: Device, host: Host) -> None:
    host.lose(device)
    await device.prepare(NormPlan().plan)


async def lost_in_an_upload(device: Device, host: Host) -> None:
    data = bytes(3 * CHUNK)
    told: list[int] = []

    def on_bytes(n: int) -> None:
        told.append(n)
        if len(told) == 2:
            host.lose(device)

    buffer = Buffer("weights", len(data))
    await device.upload(BytesSource(data), 0, len(data), buffer, 0, on_bytes)
    await device.settle()


async def lost_between_batches(device: Device, host: Host) -> None:
    norm = NormPlan()
    prepared, view = await device.prepare(norm.plan), whole(norm.output)
    batches = [device.run(prepared, view, 3) for _ in range(2)]
    host.lose(device)
    for batch in batches:
        try:  # it may have been done before
            await batch
        except errors.DeviceLostError:
            pass
    await device.run(prepared, view)


async def lost_twice(device: Device, host: Host) -> None:
    for _ in range(2):
        host.lose(device)
        try:
            await device.settle()
        except errors.DeviceLostError:
            pass
    await device.settle()


async def used_when_closed(device: Device, host: Host) -> None:
    device.close()
    device.close()
    await device.settle()


_MEMORY, _LOST = "the GPU has no memory left for ", "the GPU device was lost"
FAULTS = {
    fault.happen.__name__: fault
    for fault in (
        Fault(errors.DeviceLimitError, "buffer huge", too_large),
        Fault(errors.ShaderCompileError, "shader rms_norm:let=2 was", uncompilable),
        Fault(
            errors.ShaderCompileError,
            "shader rms_norm:WG=32:NOBODY=1",
            impossible_pipeline,
        ),
        Fault(errors.DeviceError, "the GPU refused plan altered", view_beyond),
        Fault(errors.DeviceError, "the GPU refused ", too_many_workgroups),
        Fault(errors.DeviceError, "the GPU refused ", write_beyond),
        Fault(errors.DeviceError, "the GPU ", write_of_odd_bytes),
        Fault(errors.DeviceError, "the GPU refused ", read_beyond),
        Fault(
            errors.DeviceMemoryError, f"{_MEMORY}buffer held", no_memory_for_a_buffer
        ),
        Fault(errors.DeviceMemoryError, f"{_MEMORY}buffer x (", no_memory_for_a_plan),
        Fault(
            errors.DeviceMemoryError,
            f"{_MEMORY}buffer weights",
            no_memory_for_an_upload,
        ),
        Fault(errors.DeviceError, "the GPU failed at plan norm", internal_failure),
        Fault(errors.DeviceLostError, _LOST, lost_when_idle, False),
        Fault(errors.DeviceLostError, _LOST, lost_before_a_buffer, False),
        Fault(errors.DeviceLostError, _LOST, lost_before_a_plan, False),
        Fault(errors.DeviceLostError, _LOST, lost_in_an_upload, False),
        Fault(errors.DeviceLostError, _LOST, lost_between_batches, False),
        Fault(errors.DeviceLostError, _LOST, lost_twice, False),
        Fault(errors.DeviceLostError, _LOST, used_when_closed, False),
    )
}


async def check(fault: Fault, device: Device, host: Host) -> None:
    """Let it happen, see how it is told, and what the device is good for afterwards."""
    norm = NormPlan()
    before = await norm.run(device)
    try:
        await fault.happen(device, host)
    except errors.EngineError as error:
        told = error
    else:
        raise AssertionError("nobody was told")
    assert type(told) is fault.error, repr(told)
    assert told.what.startswith(fault.what), told.what
    assert told.found and (told.remedy or fault.error is errors.ShaderCompileError)
    if fault.survives:
        assert await norm.run(device) == before
        await device.settle()  # and it is told once
    else:
        await refuses_everything(device, norm)


async def refuses_everything(device: Device, norm: NormPlan) -> None:
    """See that no call passes on a device that is lost, and that letting go does."""
    source, view = BytesSource(bytes(8)), whole(norm.output)
    uploaded = Buffer("uploaded", 8)

    async def write() -> None:
        device.write(norm.x, 0, bytes(4))

    for call in (
        write,
        lambda: device.upload(source, 0, 8, uploaded, 0, lambda n: None),
        lambda: device.prepare(norm.plan),
        lambda: device.read(view),
        lambda: device.settle(),
    ):
        try:
            await call()
        except errors.DeviceLostError as error:
            assert error.remedy == "Load the model again."
        else:
            raise AssertionError("a lost device took a call")
    device.release([norm.x])
    device.close()


async def prepare_with(device: Device, **changes: Any) -> Any:
    """Prepare the norm plan's first dispatch, changed."""
    good = NormPlan().plan.dispatches[0]
    parts = {name: getattr(good, name) for name in Dispatch.__dataclass_fields__}
    return await device.prepare(Plan("altered", (Dispatch(**parts | changes),)))
