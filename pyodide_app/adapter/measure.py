"""A micro-benchmark of two seconds: copy bandwidth, cost of a dispatch, read rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
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
_COPIES = 8  # of one pass: the gap between two submits is no bandwidth
_CHAIN = 256  # dispatches that each wait for the one before
_FIRST, _LARGEST = (
    256 << 10,
    4 << 20,
)  # bytes of one read: a slow source gets small ones
_LONG = 8e-3  # seconds: many ticks of a browser's coarsest clock


@dataclass(frozen=True, slots=True)
class Measured:
    """What a device does in a second."""

    copy_bytes_per_second: float  # bytes read and bytes written
    dispatch_seconds: float  # of one launch among many
    submit_seconds: float  # of a submit with its read-back, without its launches

    @classmethod
    def kept(cls, record: object) -> Measured | None:
        """Return what was measured earlier, None for a record that is none."""
        names = [field.name for field in fields(cls)]
        if not isinstance(record, Mapping) or sorted(record) != sorted(names):
            return None
        values = [record[name] for name in names]
        if not all(isinstance(v, int | float) and 0 <= v < inf for v in values):
            return None
        return cls(*values) if values[0] > 0 else None


async def measure(device: Device, tune: Tuning, *, seconds: float = 1.5) -> Measured:
    """Measure a device for about `seconds`; raises DeviceError's subclasses."""
    limits = device.info.limits
    wanted = _COPIED_IN_SOFTWARE if device.info.is_software else _COPIED
    # In software a copy takes longer than any gap.
    n_copies = 1 if device.info.is_software else _COPIES
    size = min(wanted, limits.max_binding_bytes, limits.max_buffer_bytes) // 16 * 16
    state, copied = Buffer("measure.state", STATE_BYTES), Buffer("measure.copied", size)
    arena = Arena()
    plans = []
    try:
        for view, n_rows, n in (
            (View(copied, 0, 16), 0, 1),
            (View(copied, 0, 16), 0, _CHAIN),
            (whole(copied), size // 16, n_copies),
        ):
            ops = Ops("measure", tune, arena, state, 1)
            x = Tensor((view.size // 16, 4), view)
            for _ in range(n):  # each waits: all write to the same place
                ops.copy(x, n_rows)
            plans.append(await device.prepare(ops.finish()[0]))
        one, chain, copy = plans
        clock = Clock(device, one, View(state, 0, 8))
        submit = await clock.shortest(0, one, seconds / 5)
        dispatch = await clock.each(chain, submit, 2 * seconds / 5) / _CHAIN
        duration = await clock.each(copy, submit, 2 * seconds / 5) / n_copies
    finally:
        device.release([state, copied, *arena.buffers])
    return Measured(2 * size / duration, dispatch, max(submit - dispatch, 0.0))


class Clock:
    """Times work on a device by an awaited read-back behind it."""

    def __init__(self, device: Device, idle: Prepared, view: View) -> None:
        self._device = device
        self._idle = idle  # takes no time of its own
        self._view = view

    async def shortest(self, n: int, plan: Prepared, seconds: float) -> float:
        """Return the shortest time of n replays, after one that does not count."""
        await self._run(n, plan)
        end, best = perf_counter() + seconds, float("inf")
        while True:
            best = min(best, await self._run(n, plan))
            if perf_counter() >= end:
                return best

    async def each(self, plan: Prepared, submit: float, seconds: float) -> float:
        """Return the time of one replay among so many that the read-back is little.

        Firefox completes work on a slow tick: there, that takes hundreds.
        """
        await self._run(1, plan)
        end, n = perf_counter() + seconds, 1
        while True:
            took = await self._run(n, plan) - submit
            if took >= max(_LONG, 2 * submit) or perf_counter() >= end:
                break
            n *= 2
        rest = max(0.0, end - perf_counter())
        if rest > took:
            took = min(took, await self.shortest(n, plan, rest) - submit)
        # A clock may see no time pass at all.
        return max(took, 1e-6) / n

    async def _run(self, n: int, plan: Prepared) -> float:
        begin = perf_counter()
        for _ in range(n):
            self._device.submit(plan)
        await self._device.run(self._idle, self._view)
        return perf_counter() - begin


async def read_rate(source: ByteSource, *, seconds: float = 0.5) -> float:
    """Return the bytes per second of reading on from the middle of a source.

    Raises SourceError.
    """
    start = at = source.size // 2
    begin, chunk = perf_counter(), _FIRST
    while at < source.size and perf_counter() - begin < seconds:
        at += len(await source.read(at, min(at + chunk, source.size)))
        chunk = min(2 * chunk, _LARGEST)
    return max(at - start, 1) / max(perf_counter() - begin, 1e-6)
