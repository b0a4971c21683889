"""The adapter's own clock: what passes take on it, by timestamp queries."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import wgpu

from pyodide_app.gpu.wgpu_native import NativeDevice, open_device

FEATURE = "timestamp-query"
MOST = 2048  # passes of one query set: two timestamps each, 4096 at most
CALIBRATION = 0.25  # seconds between two looks at both clocks

Commands = Sequence[tuple[Any, Any, tuple[int, int, int]]]  # as NativePlan has them


class _Asking:
    """An adapter that gives its device one feature more than is asked for."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def request_device_sync(self, **options: Any) -> Any:
        features = [*options.pop("required_features", ()), FEATURE]
        return self._adapter.request_device_sync(required_features=features, **options)


class Stopwatch:
    """Times passes on a device that has timestamp queries."""

    def __init__(self, device: NativeDevice) -> None:
        self._device = device._device
        self._queries = self._device.create_query_set(type="timestamp", count=2 * MOST)
        self._resolved = self._device.create_buffer(
            size=16 * MOST,
            usage=wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC,
        )
        self.tick = self._calibrate()  # seconds

    def times(self, passes: Sequence[Commands]) -> list[float]:
        """Run each as a pass of its own, all in one submit; return their seconds."""
        found: list[float] = []
        for begin in range(0, len(passes), MOST):
            ticks = self._ticks(passes[begin : begin + MOST])
            found += [self.tick * (end - start) for start, end in ticks]
        return found

    def _calibrate(self) -> float:
        """Return what a tick is in seconds; wgpu does not tell."""
        self._ticks([()])
        looks = []
        for pause in (0.0, CALIBRATION):
            time.sleep(pause)
            ((_, ticks),) = self._ticks([()])
            looks.append((time.perf_counter(), ticks))
        (first, before), (last, after) = looks
        return (last - first) / max(after - before, 1)

    def _ticks(self, passes: Sequence[Commands]) -> list[tuple[int, int]]:
        encoder = self._device.create_command_encoder()
        for i, commands in enumerate(passes):
            compute = encoder.begin_compute_pass(
                timestamp_writes={
                    "query_set": self._queries,
                    "beginning_of_pass_write_index": 2 * i,
                    "end_of_pass_write_index": 2 * i + 1,
                }
            )
            for pipeline, group, workgroups in commands:
                compute.set_pipeline(pipeline)
                compute.set_bind_group(0, group)
                compute.dispatch_workgroups(*workgroups)
            compute.end()
        n = 2 * len(passes)
        encoder.resolve_query_set(self._queries, 0, n, self._resolved, 0)
        self._device.queue.submit([encoder.finish()])
        data = self._device.queue.read_buffer(self._resolved, 0, 8 * n)
        words = struct.unpack(f"<{n}Q", data)
        return list(zip(words[::2], words[1::2], strict=True))


def open_timed(name: str = "") -> tuple[NativeDevice, Stopwatch | None]:
    """Open a device as the driver does, with a stopwatch where the adapter has one."""
    device = open_device(name)
    if FEATURE not in device.info.features:
        return device, None
    adapter = device._adapter
    device.close()
    device = NativeDevice(_Asking(adapter))
    return device, Stopwatch(device)
