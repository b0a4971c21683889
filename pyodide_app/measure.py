"""A micro-benchmark of two seconds: copy bandwidth, cost of a dispatch, read rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Tensor
from pyodide_app.graph.tuning import Tuning

_COPIED = 128 << 20  # bytes of one copy: more than any cache keeps
_COPIED_IN_SOFTWARE = 16 << 20
_CHAIN = 256  # dispatches that each wait for the one before
_CHUNK = 4 << 20  # bytes of one read


@dataclass(frozen=True, slots=True)
class Measured:
    """What a device and a source do in a second."""

    copy_bytes_per_second: float  # bytes read and bytes written
    dispatch_seconds: float  # of one launch among many
    submit_seconds: float  # of a submit with its read-back, without its launches
    read_bytes_per_second: float | None  # None where no source was given


async def measure(
    device: Device,
    tune: Tuning,
    source: ByteSource | None = None,
    *,
    seconds: float = 2.0,
) -> Measured:
    """Measure for about `seconds`; raises DeviceError's subclasses and SourceError."""
    part = seconds / 4
    limits = device.info.limits
    wanted = _COPIED_IN_SOFTWARE if device.info.is_software else _COPIED
    size = min(wanted, limits.max_binding_bytes, limits.max_buffer_bytes) // 16 * 16
    state, copied = Buffer("measure.state", STATE_BYTES), Buffer("measure.copied", size)
    all_rows, one_row = whole(copied), View(copied, 0, 16)
    arena = Arena()
    times = []
    try:
        for view, n_rows, n_copies in (
            (one_row, 0, 1),
            (one_row, 0, _CHAIN),
            (all_rows, size // 16, 1),
        ):
            ops = Ops("measure", tune, arena, state, 1)
            y = Tensor((view.size // 16, 4), view)
            for _ in range(n_copies):
                y = ops.copy(y, n_rows)
            plan = await device.prepare(ops.finish()[0])
            times.append(await _fastest(_runner(device, plan, state), part))
    finally:
        device.release([state, copied, *arena.buffers])
    one, chain, copy = times
    dispatch = max(chain - one, 0.0) / (_CHAIN - 1)
    # A clock as coarse as a browser's may see no time pass.
    bandwidth = 2 * size / max(copy - one, 1e-6)
    rate = None if source is None else await _read_rate(source, part)
    return Measured(bandwidth, dispatch, max(one - dispatch, 0.0), rate)


def _runner(
    device: Device, plan: Prepared, state: Buffer
) -> Callable[[], Awaitable[bytes]]:
    return lambda: device.run(plan, View(state, 0, 8))


async def _fastest(run: Callable[[], Awaitable[bytes]], seconds: float) -> float:
    """Return the shortest time of a run, after one that does not count."""
    await run()
    end, best = perf_counter() + seconds, float("inf")
    while True:
        begin = perf_counter()
        await run()
        now = perf_counter()
        best = min(best, now - begin)
        if now >= end:
            return best


async def _read_rate(source: ByteSource, seconds: float) -> float:
    """Return the bytes per second of reading on from the middle of a source."""
    start = at = source.size // 2
    begin = perf_counter()
    while at < source.size and perf_counter() - begin < seconds:
        at += len(await source.read(at, min(at + _CHUNK, source.size)))
    return (at - start) / max(perf_counter() - begin, 1e-6)
