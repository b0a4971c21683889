"""Failures of the native device: told as they are in a browser, and none passes."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import wgpu
from wgpu.backends.wgpu_native import _api

from pyodide_app import errors
from pyodide_app.gpu import wgpu_faults
from pyodide_app.gpu.wgpu_faults import of_abort
from pyodide_app.gpu.wgpu_native import NativeDevice, open_device
from tests.support.device_faults import FAULTS, check

# What wgpu's library wrote on a lost device, and where Vulkan refused a command buffer.
PANIC = """
thread '<unnamed>' (29783) panicked at src/lib.rs:605:5:
Error in wgpuQueueSubmit: Validation Error

Caused by:
  Parent device is lost

note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
fatal runtime error: failed to initiate panic, error 5, aborting
"""
UNWRAPPED = """
thread '<unnamed>' (29906) panicked at wgpu-core-29.0.3/src/queue.rs:438:22:
called `Result::unwrap()` on an `Err` value: {}
stack backtrace:
   0: 0x7f782bef7ff2 - device lost
"""


class Native:
    """What can go wrong in wgpu-py; see `tests.support.device_faults.Host`."""

    def lose(self, device: NativeDevice) -> None:
        """Destroy what is under the device."""
        device._device.destroy()

    def run_out_of_memory(self, device: NativeDevice) -> None:
        """Raise what wgpu raises, once."""
        fail_once(device, "create_buffer", wgpu.GPUOutOfMemoryError("there is none"))

    def fail_internally(self, device: NativeDevice) -> None:
        """Raise what wgpu raises, once."""
        fail_once(device, "create_bind_group", wgpu.GPUInternalError("a bug"))


def fail_once(device: NativeDevice, name: str, error: Exception) -> None:
    """Let the next call of a wgpu device raise this."""

    def fail(**_: Any) -> None:
        delattr(device._device, name)
        raise error

    setattr(device._device, name, fail)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is logged here from the devices of other tests, which would hear it."""
    monkeypatch.setattr(wgpu_faults, "_open", weakref.WeakSet())


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, caplog: pytest.LogCaptureFixture) -> None:
    device = open_device()
    try:
        asyncio.run(check(FAULTS[name], device, Native()))
    finally:
        device.close()
    assert not caplog.records  # an error is not printed besides


def test_what_wgpu_only_logs_is_told_by_the_next_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = open_device()
    _api.error_handler.log_error("Validation Error\n\nCaused by:\n  too much of it")
    with pytest.raises(
        errors.DeviceError, match=r"GPU refused .* found too much of it"
    ):
        asyncio.run(device.settle())
    asyncio.run(device.settle())
    device.close()
    assert not caplog.records


def test_what_a_driver_says_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    device = open_device()
    logging.getLogger("wgpu").error("the loader does not like this ICD")
    asyncio.run(device.settle())
    device.close()
    assert [record.message for record in caplog.records] == [
        "the loader does not like this ICD"
    ]


def test_a_mapping_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device = open_device()

    def fail(_: Any) -> None:
        raise RuntimeError("Could not map buffer (4 : Buffer map aborted).")

    monkeypatch.setattr(wgpu.GPUPromise, "sync_wait", fail)
    with pytest.raises(
        errors.DeviceError, match=r"GPU refused a read-back: .* aborted"
    ):
        asyncio.run(device.settle())
    monkeypatch.undo()
    asyncio.run(device.settle())
    device.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PANIC, errors.DeviceLostError),
        (PANIC.replace("Parent device is lost", "Not enough memory left."), None),
        (UNWRAPPED.format("OutOfMemory"), None),
        (UNWRAPPED.format("Unexpected"), errors.DeviceError),
    ],
)
def test_what_the_library_says_before_it_ends_the_process(
    text: str, kind: type[errors.DeviceError] | None
) -> None:
    told = of_abort(text)
    assert type(told) is (kind or errors.DeviceMemoryError)
    assert "\n" not in told.found and "605" not in told.found


# -- opening ---------------------------------------------------------------------


def no_adapters() -> list[Any]:
    return []


def broken() -> list[Any]:
    raise RuntimeError("no instance of Vulkan")


@pytest.mark.parametrize(
    ("enumerate_adapters", "name", "found"),
    [
        (no_adapters, "", "no adapter"),
        (broken, "", "no instance of Vulkan"),
        (wgpu.gpu.enumerate_adapters_sync, "quantum", " via "),
    ],
)
def test_without_an_adapter(
    enumerate_adapters: Callable[[], list[Any]],
    name: str,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wgpu.gpu, "enumerate_adapters_sync", enumerate_adapters)
    with pytest.raises(errors.DeviceMissingError) as raised:
        open_device(name)
    told = raised.value
    assert found in told.found and "Vulkan" in told.expected and told.remedy
    assert told.what == f"no GPU adapter {f'called {name!r}' if name else 'here'}"


@pytest.mark.parametrize("how", ["no limits", "refused", "unknown feature"])
def test_an_adapter_that_gives_no_device(how: str) -> None:
    adapter = open_device()._adapter
    poor = SimpleNamespace(
        info=adapter.info,
        limits={} if how == "no limits" else adapter.limits,
        features=adapter.features,
        request_device_sync=lambda **_: refuse(how),
    )
    with pytest.raises(errors.DeviceMissingError) as raised:
        NativeDevice(poor)
    told = raised.value
    assert told.what == "the GPU adapter gives no device"
    assert told.found and told.expected and told.remedy


def refuse(how: str) -> None:
    if how == "refused":
        raise RuntimeError("Request device failed (3): Limit 'max_buffer_size'")
    raise KeyError("Unknown feature: 'subgroup'")
