"""Trials of kernels on a device: whether a twin is right, and what each takes."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from pyodide_app import errors
from pyodide_app.adapter.measure import Clock
from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Device
from pyodide_app.graph import rope
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.kv_cache import LayerCache, make_layer
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, Plan, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Heads, Part, Residual, Rope, Tensor, Weight
from pyodide_app.graph.tuning import Tuning

_EPS = 1e-6
_STRIDE = 0.6180339887  # of numbers that go round and round, and never meet
_N_MATRICES = 16  # that are timed
_ROUNDS = 3  # of timing, in turns: what else the device does hits both alike
_SECONDS = 0.03  # of each


class Workbench:
    """Buffers for a trial; numbers are positive, so that sums err relative to them."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._n_numbers = 0  # given so far
        self._arena = Arena()
        self.buffers: list[Buffer] = []

    def buffer(self, size: int) -> Buffer:
        """Describe a buffer, which is zero until it is written."""
        self.buffers.append(Buffer(f"trial.{len(self.buffers)}", size))
        return self.buffers[-1]

    def ops(self, tune: Tuning, n_tokens: int) -> Ops:
        """Begin to record a pass at position 0."""
        state = self.buffer(STATE_BYTES)
        return Ops("trial", tune, self._arena, state, n_tokens, trace=True)

    def finish(
        self, ops: Ops, results: Sequence[Tensor] = ()
    ) -> tuple[Plan, dict[Tensor, View]]:
        """Return the pass, and where its results are."""
        for i, tensor in enumerate(results):
            ops.name(f"result.{i}", tensor)
        finished = ops.finish()
        self.buffers += [b for b in self._arena.buffers if b not in self.buffers]
        return finished

    def floats(self, *shape: int) -> Tensor:
        """Give numbers from 0.5 to 1.5, the same ones in every trial."""
        empty = Tensor(shape)
        begin, n = self._n_numbers, empty.size // 4
        self._n_numbers += n
        numbers = (0.5 + i * _STRIDE % 1.0 for i in range(begin, begin + n))
        buffer = self.buffer(empty.size)
        self._device.write(buffer, 0, array("f", numbers).tobytes())
        return Tensor(shape, whole(buffer))

    def weight(self, n_rows: int, n_cols: int, kind: str = "F32") -> Weight:
        """Give a matrix of such numbers; of zeros in a quantised type."""
        block = BY_NAME[kind]
        if kind == "F32":
            view = self.floats(n_rows, n_cols).fixed
        else:
            n_blocks = n_rows * n_cols // block.block_size
            view = whole(self.buffer(n_blocks * block.block_bytes))
        assert view
        return Weight("trial", block, (n_cols, n_rows), (Part(view, 0, n_rows),))

    def blocks(self, n_rows: int, n_cols: int) -> Weight:
        """Give a matrix in Q4_1, whose numbers are from 0.25 to 15.25."""
        weight = self.weight(n_rows, n_cols, "Q4_1")
        data = bytearray()
        for i in range(n_rows * n_cols // weight.type.block_size):
            numbers = (16 * i + j for j in range(16))
            data += struct.pack("<ee", 1.0, 0.25)
            data += bytes(int(256 * (number * _STRIDE % 1.0)) for number in numbers)
        self._device.write(weight.parts[0].view.buffer, 0, bytes(data))
        return weight

    def vectors(self, n: int, dim: int) -> list[Weight]:
        """Give vectors that lie in one buffer, as the loader places them."""
        stride = -(-dim // 64) * 64
        view = self.floats(n * stride).fixed
        assert view
        views = [View(view.buffer, 4 * i * stride, 4 * dim) for i in range(n)]
        kind = BY_NAME["F32"]
        return [Weight("trial", kind, (dim,), (Part(v, 0, 1),)) for v in views]

    def cache(self, n_ctx: int, n_kv_heads: int, head_dim: int) -> LayerCache:
        """Give a cache in f16 without a window."""
        cache = make_layer(
            "trial",
            "f16",
            n_ctx=n_ctx,
            chunk=1,
            window=0,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
        )
        self.buffers += [cache.k, cache.v]
        return cache

    def rope(self, n_ctx: int, head_dim: int) -> Rope:
        """Give the tables of a head all of whose pairs rotate."""
        table = rope.make_table(1e4, head_dim, [1.0] * (head_dim // 2), n_ctx)
        buffer = self.buffer(len(table))
        self._device.write(buffer, 0, table)
        return Rope(whole(buffer), head_dim // 2, rope.fine_positions(n_ctx))


@dataclass(frozen=True, slots=True)
class Trial:
    """What is computed by the baseline and by a twin, and compared."""

    n_tokens: int  # of the small pass
    # What is compared; a buffer holds halves.
    small: Callable[[Ops, Workbench], Sequence[Tensor | Buffer]]
    rtol: float  # between two right results, element by element
    large_tokens: int = 1
    large: Callable[[Ops, Workbench], None] | None = None  # what is timed


# -- the trials ------------------------------------------------------------------


def _small_sums(ops: Ops, bench: Workbench) -> list[Tensor]:
    """Multiply by odd shapes, in all forms of a workgroup; norms are sums, too."""
    plain = ops.linear(bench.floats(1, 37), bench.weight(17, 37))
    branch_norm, norm = bench.vectors(2, 68)
    stream = Residual(bench.floats(1, 68), _EPS, bench.floats(1, 68), branch_norm, None)
    stream, h = ops.norm(stream, norm)
    folded = ops.linear(h, bench.weight(9, 68))
    return [plain, folded, stream.x]


def _large_sums(ops: Ops, bench: Workbench) -> None:
    """Multiply as a layer of the 26b model does, past what most caches hold."""
    x = bench.floats(1, 2816)
    weights = [bench.weight(4096, 2816, "Q4_K") for _ in range(4)]
    for i in range(_N_MATRICES):
        ops.linear(x, weights[i % 4])


def _small_heads(ops: Ops, bench: Workbench) -> list[Tensor | Buffer]:
    """Store keys and values, and attend: all tokens, then the last one alone."""
    n, dim, n_heads = ops.n_tokens, 64, 2
    cache, turns = bench.cache(8, 1, dim), bench.rope(8, dim)
    q_norm, k_norm = bench.vectors(2, dim)
    raw = bench.floats(n, (n_heads + 2) * dim)
    q = raw.piece(0, (n, n_heads * dim))
    k = raw.piece(n * n_heads * dim, (n, dim))
    v = raw.piece(n * (n_heads + 1) * dim, (n, dim))
    heads = Heads(q, k, v, q_norm, k_norm, turns, _EPS)
    one = Heads(bench.floats(1, n_heads * dim), None, None, q_norm, None, turns, _EPS)
    all_of_them = [ops.settle(ops.attention(each, cache)) for each in (heads, one)]
    return [*all_of_them, cache.k, cache.v]


def _large_heads(ops: Ops, bench: Workbench) -> None:
    """Attend with one token to thousands."""
    n, dim, n_heads = ops.n_tokens, 256, 16
    cache = bench.cache(n, 4, dim)
    q_norm, turns = bench.vectors(1, dim)[0], bench.rope(n, dim)
    q = bench.floats(1, n_heads * dim)
    heads = Heads(q, None, None, q_norm, None, turns, _EPS)
    for _ in range(8):
        ops.attention(heads, cache)


def _small_tiles(ops: Ops, bench: Workbench) -> list[Tensor]:
    """Multiply tiles that are cut off on all sides."""
    return [ops.linear(bench.floats(ops.n_tokens, 37), bench.weight(70, 37))]


def _small_products(ops: Ops, bench: Workbench) -> list[Tensor]:
    """Multiply a vector by a matrix in blocks."""
    return [ops.linear(bench.floats(1, 64), bench.blocks(17, 64))]


# Two results of matvec_many, each within 4e-6 of its terms' sum, which is the result.
SUMS = Trial(1, _small_sums, 8e-6, large=_large_sums)
# Either may round a key or value to another neighbour in f16, 2^-10 of it. Scores are
# up to 64, so that they move by 2^-5 if half of the keys do; and weights by as much, of
# values that differ by half of themselves.
KEYS_AND_VALUES = Trial(5, _small_heads, 2.0**-6, 4096, _large_heads)
# A weight is rounded to f16: half a unit, 2^-11, and 2e-6 for each of two sums.
TILES = Trial(5, _small_tiles, 2.0**-11 + 4e-6)
# An element of x, at least 0.5, is half a step off: 1 / 254 of at most 1.5.
PRODUCTS = Trial(1, _small_products, 3 / 254 + 8e-6)


# -- running them ----------------------------------------------------------------


async def problem(device: Device, trial: Trial, base: Tuning, twin: Tuning) -> str:
    """Return what is wrong with a twin's results, or ''. Raises DeviceLostError."""
    try:
        expected = await _results(device, trial, base)
        got = await _results(device, trial, twin)
    except errors.DeviceLostError:
        raise
    except errors.DeviceError as error:
        return f"it failed in its self-test ({error.found or error.what})"
    for a, b in zip(got, expected, strict=True):
        if not abs(a - b) <= trial.rtol * abs(b):  # nor is it a number
            return f"it gave {a:.8g} for {b:.8g} in its self-test"
    return ""


async def times(
    device: Device, trial: Trial, base: Tuning, twin: Tuning
) -> tuple[float, float]:
    """Return the seconds of both. Raises DeviceError's subclasses."""
    assert trial.large
    with _bench(device) as bench:
        state = bench.buffer(STATE_BYTES)
        plans = []
        for tune in (base, twin):
            ops = bench.ops(tune, trial.large_tokens)
            trial.large(ops, bench)
            plans.append(await device.prepare(bench.finish(ops)[0]))
        ops = bench.ops(base, 1)
        ops.copy(Tensor((1, 4), View(state, 0, 16)), 0)
        idle = await device.prepare(bench.finish(ops)[0])
        clock = Clock(device, idle, View(state, 0, 8))
        submit = await clock.shortest(0, idle, _SECONDS)
        best = [inf, inf]
        for _ in range(_ROUNDS):
            for i, plan in enumerate(plans):
                best[i] = min(best[i], await clock.each(plan, submit, _SECONDS))
    return best[0], best[1]


async def _results(device: Device, trial: Trial, tune: Tuning) -> list[float]:
    with _bench(device) as bench:
        ops = bench.ops(tune, trial.n_tokens)
        results = trial.small(ops, bench)
        plan, views = bench.finish(ops, [t for t in results if isinstance(t, Tensor)])
        device.submit(await device.prepare(plan))
        numbers: list[float] = []
        for result in results:
            is_halves = isinstance(result, Buffer)
            view = whole(result) if isinstance(result, Buffer) else views[result]
            data = await device.read(view)
            code, size = ("e", 2) if is_halves else ("f", 4)
            numbers += struct.unpack(f"<{len(data) // size}{code}", data)
    return numbers


@contextmanager
def _bench(device: Device) -> Iterator[Workbench]:
    bench = Workbench(device)
    try:
        yield bench
    finally:
        device.release(bench.buffers)
