"""attention_prefill against the oracle: tiles, windows, rings, long contexts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.attention_shape import prefill_shape
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders.caches import fill, make_cache, representable
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])


@dataclass(frozen=True)
class Case:
    """Some tokens from a position on, their keys and values in the cache already."""

    n: int
    position: int = 0
    head_dim: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    window: int = 0
    kv: str = "f32"
    n_ctx: int = 0  # by default no longer than needed
    chunk: int = 0  # the widest that the cache is for; by default this one
    score: float = 8.0  # the standard deviation of scores

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return queries, and keys and values of all positions up to the last."""
        n_keys = self.position + self.n
        shape = (n_keys, self.n_kv_heads, self.head_dim)
        # A query is that of its position, whatever the chunk begins with.
        q = random_input(1, n_keys, self.n_heads, self.head_dim)[self.position :]
        keys = random_input(2, *shape, scale=self.score * self.head_dim**-0.5)
        values = random_input(3, *shape)
        return q, representable(keys, self.kv), representable(values, self.kv)


def run(case: Case, tune: Tuning | None = None) -> tuple[np.ndarray, int]:
    """Return the result, [n, n_heads, head_dim], and the splits."""
    bench, (q, keys, values) = Bench(tune), case.inputs()
    cache = make_cache(
        bench,
        case.kv,
        case.n_ctx or case.position + case.n,
        case.chunk or case.n,
        case.window,
        case.n_kv_heads,
        case.head_dim,
    )
    fill(bench, cache, keys, values)
    flat = bench.tensor(q.reshape(case.n, -1))
    (y,) = bench.run(
        lambda ops: ops.settle(ops.attention_prefill(flat, cache)),
        n_tokens=case.n,
        position=case.position,
    )
    bench.close()
    return y.reshape(q.shape), prefill_shape(bench.tuning, cache, case.n_heads).n_splits


def check(case: Case, tune: Tuning | None = None) -> int:
    """Compare with the oracle; return the splits."""
    q, keys, values = case.inputs()
    positions = np.arange(case.position, case.position + case.n)
    expected = oracle.attention(q, keys, values, positions, case.window or None)
    y, n_splits = run(case, tune)
    close("attention_prefill", y, expected)
    return n_splits


@BOTH
@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize(
    ("n", "position"), [(1, 0), (2, 0), (3, 63), (17, 64), (64, 127), (150, 50)]
)
def test_any_chunk(n: int, position: int, kv: str, tune: Tuning) -> None:
    check(Case(n, position, kv=kv), tune)


@BOTH
@pytest.mark.parametrize(
    ("n", "position"), [(20, 0), (32, 0), (33, 0), (82, 0), (7, 40), (50, 45), (5, 700)]
)
def test_sees_the_window_alone(n: int, position: int, tune: Tuning) -> None:
    """Shorter than the window, exactly it, longer, and a ring gone round."""
    check(Case(n, position, 16, window=32, kv="f16", n_ctx=1024), tune)


@BOTH
@pytest.mark.parametrize(
    ("group", "head_dim", "kv"),
    [
        *((1, 64, "f16"), (16, 64, "f32"), (2, 128, "f32"), (8, 128, "f16")),
        *((2, 256, "f16"), (8, 256, "f32"), (1, 512, "f32"), (8, 512, "f16")),
        (16, 512, "f32"),
    ],
)
def test_groups_and_head_sizes(
    group: int, head_dim: int, kv: str, tune: Tuning
) -> None:
    check(Case(21, 130, head_dim, 2 * group, 2, kv=kv), tune)


@BOTH
@pytest.mark.parametrize(
    ("head_dim", "n_heads", "n_kv_heads"),
    [(8, 1, 1), (8, 64, 1), (24, 6, 2), (40, 5, 1), (96, 12, 4)],
)
def test_odd_sizes(head_dim: int, n_heads: int, n_kv_heads: int, tune: Tuning) -> None:
    check(Case(37, 12, head_dim, n_heads, n_kv_heads), tune)


@BOTH
@pytest.mark.parametrize("window", [0, 40])
@pytest.mark.parametrize("split_turns", [0, 300])
def test_chunks_equal_at_once_to_the_bit(
    split_turns: int, window: int, tune: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query adds up the same numbers in the same order, wherever its chunk begins."""
    if split_turns:  # as few keys to a split as there can be: one tile
        monkeypatch.setattr(
            "pyodide_app.graph.attention_shape._MOST_TURNS", split_turns
        )
    rows = np.zeros((300, 4, 64), np.float32)
    for begin in range(0, 300, 100):
        case = Case(100, begin, window=window, n_ctx=300, chunk=100, kv="f16")
        rows[begin : begin + 100], n_splits = run(case, tune)
    assert (n_splits > 1) == (split_turns > 0)
    for begin, end in ((0, 2), (2, 37), (37, 130), (130, 164), (164, 264), (298, 299)):
        y, _ = run(replace(case, n=end - begin, position=begin), tune)
        np.testing.assert_array_equal(y, rows[begin:end])


def test_long_contexts() -> None:
    """llvmpipe ends a thread's loops after 65,535 turns: splits keep clear of that."""
    case = Case(3, 16500, 512, 8, 1, kv="f16", n_ctx=17000)
    assert check(case, SOFTWARE) > 1
    assert check(replace(case, window=6000), SOFTWARE) > 1


@BOTH
@pytest.mark.parametrize("score", [0.0, 200.0])
def test_equal_and_far_apart_scores(score: float, tune: Tuning) -> None:
    """Equal scores give the mean; at hundreds exp of a plain score is infinite."""
    bench, dim, n_keys = Bench(tune), 64, 199
    keys = np.zeros((n_keys, 1, dim), np.float32)
    # Exact in f32: q is one everywhere, so a key's score is the sum of its elements.
    keys[::3] = score / dim
    values = random_input(1, n_keys, 1, dim)
    cache = make_cache(bench, "f32", 200, 2, 0, 1, dim)
    fill(bench, cache, keys, values)
    q = bench.tensor(np.ones((2, 2 * dim), np.float32))
    (y,) = bench.run(
        lambda ops: ops.settle(ops.attention_prefill(q, cache)),
        n_tokens=2,
        position=197,
    )
    chosen = values if score == 0 else values[::3]
    expected = np.repeat(chosen[:, 0].astype(np.float64).mean(axis=0)[None], 2, axis=0)
    close("attention_prefill", y.reshape(2, 2, dim)[1], expected)
    bench.close()


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("split_turns", [0, 300])
def test_a_score_that_is_no_number_is_not_left_out(
    split_turns: int, bad: float, tune: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small its weight would be, and whatever other splits hold."""
    if split_turns:
        monkeypatch.setattr(
            "pyodide_app.graph.attention_shape._MOST_TURNS", split_turns
        )
    bench, dim = Bench(tune), 64
    keys = np.zeros((199, 1, dim), np.float32)
    keys[150], keys[5, 0, 3] = 2.0, bad  # the other keys weigh exp(-128) = 0
    cache = make_cache(bench, "f32", 200, 2, 0, 1, dim)
    fill(bench, cache, keys, np.ones_like(keys))
    q = bench.tensor(np.ones((2, 2 * dim), np.float32))
    (y,) = bench.run(
        lambda ops: ops.settle(ops.attention_prefill(q, cache)),
        n_tokens=2,
        position=197,
    )
    assert np.isnan(y).all()
    bench.close()


@pytest.mark.parametrize(("case", "low"), [(Case(9, 70, score=60.0), 100.0)])
def test_large_scores_do_not_overflow(case: Case, low: float) -> None:
    q, keys, values = case.inputs()
    assert np.abs(np.einsum("thd,jgd->thgj", q, keys)).max() > low
    y, _ = run(case)
    assert np.isfinite(y).all()
    # One key has nearly all the weight, and scores of hundreds their error.
    positions = np.arange(case.position, case.position + case.n)
    expected = oracle.attention(q, keys, values, positions, None)
    assert np.abs(y - expected).max() < 1e-3


def test_fewer_queries_than_tokens_are_the_last_ones() -> None:
    bench, dim = Bench(), 64
    cache = make_cache(bench, "f32", 64, 5, 8, 1, dim)
    filled = (random_input(i, cache.n_slots, 1, dim) for i in (1, 2))
    fill(bench, cache, *filled)
    q = random_input(3, 5, 2 * dim)
    y, y_last = bench.run(
        lambda ops: [
            ops.settle(ops.attention_prefill(bench.tensor(some), cache))
            for some in (q, q[3:])
        ],
        n_tokens=5,
        position=cache.n_slots - 5,
    )
    np.testing.assert_array_equal(y_last, y[3:])
    bench.close()
