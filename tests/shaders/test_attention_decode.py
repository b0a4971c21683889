"""attention_decode against the oracle: splits, windows, rings, long contexts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.attention_shape import decode_shape
from pyodide_app.graph.tensors import Heads
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders.caches import (
    EPS,
    RULES,
    THETA,
    assert_stored,
    fill,
    make_cache,
    make_heads,
    make_rope,
    pieces,
    representable,
    stored,
)
from tests.support.compare import close, tolerance
from tests.support.gpu import Bench, random_input

BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])


@dataclass(frozen=True)
class Case:
    """One token at a position, after random keys and values of scores of some tens."""

    position: int
    head_dim: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    window: int = 0
    kv: str = "f32"
    n_ctx: int = 0  # by default no longer than needed
    chunk: int = 1
    owns: bool = True
    v_is_k: bool = False
    score: float = 8.0  # the standard deviation of scores

    def inputs(self) -> dict[str, np.ndarray]:
        """Return raw heads, norms, and the cache's contents by position."""
        dim, kv_shape = self.head_dim, (1, self.n_kv_heads, self.head_dim)
        scale = self.score * dim**-0.5
        n_keys = self.position + (0 if self.owns else 1)
        keys = random_input(1, n_keys, *kv_shape[1:], scale=scale)
        values = random_input(2, n_keys, *kv_shape[1:])
        k = random_input(3, *kv_shape, scale=3.0)
        return {
            "q": random_input(4, 1, self.n_heads, dim, scale=5.0),
            "k": k,
            "v": k if self.v_is_k else random_input(5, *kv_shape, scale=3.0),
            "q_norm": random_input(6, dim),
            "k_norm": random_input(7, dim, scale=scale),
            "keys": representable(keys, self.kv),
            "values": representable(values, self.kv),
        }


def check(case: Case, tune: Tuning | None = None) -> int:
    """Compare one token's attention and all that the cache holds; return the splits."""
    bench, x = Bench(tune), case.inputs()
    cache = make_cache(
        bench,
        case.kv,
        case.n_ctx or case.position + 1,
        case.chunk,
        case.window,
        case.n_kv_heads,
        case.head_dim,
    )
    fill(bench, cache, x["keys"], x["values"])
    before = stored(bench, cache)
    n_pairs = case.head_dim // 8
    rope = make_rope(bench, THETA, case.head_dim, n_pairs, cache.n_slots + 4096)
    raw = pieces(bench, [x["q"], x["k"]] + ([] if case.v_is_k else [x["v"]]))
    q_norm, k_norm = bench.vectors(x["q_norm"], x["k_norm"])
    heads = Heads(raw[0], raw[1], raw[-1], q_norm, k_norm, rope, EPS)
    if not case.owns:
        heads = replace(heads, k=None, v=None, k_norm=None)
    (y,) = bench.run(
        lambda ops: ops.settle(ops.attention(heads, cache)), position=case.position
    )
    y = y.reshape(case.n_heads, case.head_dim)
    slot = case.position % cache.n_slots
    after = stored(bench, cache)
    new = [x["k"][0], x["v"][0]] if case.owns else None
    norms, rest = (x["q_norm"], x["k_norm"]), (THETA, n_pairs, EPS)
    expected, *all_stored = oracle.attention_decode(
        x["q"][0], new, norms, x["keys"], x["values"], *rest, case.window or None
    )
    for got, old, wanted in zip(after, before, all_stored, strict=True):
        if case.owns:
            rtol, atol = tolerance("head_norm_rope")
            assert_stored(got[slot], wanted[-1], case.kv, rtol, atol)
        others = np.arange(cache.n_slots) != slot
        np.testing.assert_array_equal(got[others], old[others])
    if case.kv == "f16":  # what the rounding of the new key and value made of them
        keys = np.concatenate([x["keys"][: case.position], after[0][slot][None]])
        values = np.concatenate([x["values"][: case.position], after[1][slot][None]])
        expected, _, _ = oracle.attention_decode(
            x["q"][0], None, norms, keys, values, *rest, case.window or None
        )
    close("attention_decode", y, expected)
    bench.close()
    return decode_shape(bench.tuning, cache, case.n_heads).n_splits


@BOTH
@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("position", [0, 1, 7, 8, 31, 32, 33, 127, 128, 129, 300])
def test_attends_to_everything_before(position: int, kv: str, tune: Tuning) -> None:
    check(Case(position, kv=kv), tune)


@BOTH
@pytest.mark.parametrize("position", [0, 30, 31, 32, 33, 63, 64, 150])
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_sees_the_window_alone(position: int, chunk: int, tune: Tuning) -> None:
    """One key, all but one of the window, exactly it, one more, a ring gone round."""
    check(Case(position, window=32, head_dim=16, n_ctx=512, chunk=chunk), tune)


@BOTH
@pytest.mark.parametrize("n_splits", [1, 2, 7])
@pytest.mark.parametrize("position", [0, 3, 40, 257, 399])
def test_any_number_of_splits(position: int, n_splits: int, tune: Tuning) -> None:
    """The last splits are empty as long as the context is short; with 0 all but one."""
    tune = replace(tune, attention_groups=2 * n_splits, attention_keys=1)
    got = check(Case(position, n_ctx=400, kv="f16"), tune)
    assert got == n_splits
    ring = Case(position, n_ctx=4000, window=300, chunk=3)
    assert check(ring, tune) == n_splits


@BOTH
@pytest.mark.parametrize(
    ("group", "head_dim", "kv"),
    [
        *((1, 64, "f32"), (2, 64, "f16"), (8, 64, "f32"), (16, 64, "f16")),
        *((1, 128, "f16"), (16, 128, "f32"), (2, 256, "f32"), (8, 256, "f16")),
        *((1, 512, "f16"), (2, 512, "f32"), (8, 512, "f32"), (16, 512, "f16")),
    ],
)
def test_groups_and_head_sizes(
    group: int, head_dim: int, kv: str, tune: Tuning
) -> None:
    check(Case(200, head_dim, 2 * group, 2, kv=kv, n_ctx=512), tune)


@BOTH
@pytest.mark.parametrize("window", [0, 60])
def test_reads_the_cache_of_another_layer(window: int, tune: Tuning) -> None:
    check(Case(200, window=window, n_ctx=512, chunk=9, owns=False, kv="f16"), tune)


@BOTH
@pytest.mark.parametrize(
    ("head_dim", "n_heads", "n_kv_heads"),
    [(8, 1, 1), (8, 64, 1), (24, 6, 2), (40, 5, 1), (96, 12, 4), (256, 32, 1)],
)
def test_odd_sizes(head_dim: int, n_heads: int, n_kv_heads: int, tune: Tuning) -> None:
    check(Case(77, head_dim, n_heads, n_kv_heads, v_is_k=True), tune)


@BOTH
def test_long_contexts(tune: Tuning) -> None:
    """llvmpipe ends a thread's loops after 65,535 turns: splits keep clear of that."""
    assert check(Case(16500, 512, 8, 1, kv="f16", n_ctx=17000), tune) > 4


@BOTH
@pytest.mark.parametrize("score", [0.0, 200.0])
def test_equal_and_far_apart_scores(score: float, tune: Tuning) -> None:
    """Equal scores give the mean; at hundreds exp of a plain score is infinite."""
    tune = replace(tune, attention_groups=8, attention_keys=1)
    bench, dim = Bench(tune), 64
    keys = np.zeros((199, 1, dim), np.float32)
    # Exact in f32: q is one everywhere, so a key's score is the sum of its elements.
    keys[::3] = score / dim
    values = random_input(1, 199, 1, dim)
    cache = make_cache(bench, "f32", 200, 1, 0, 1, dim)
    fill(bench, cache, keys, values)
    ones, rope = bench.vector(np.ones(dim)), make_rope(bench, 1e4, dim, 0, 256)
    q = np.ones((1, 2 * dim), np.float32)
    heads = Heads(bench.tensor(q), None, None, ones, None, rope, 0.0)
    (y,) = bench.run(lambda ops: ops.settle(ops.attention(heads, cache)), position=198)
    chosen = values if score == 0 else values[::3]
    expected = np.repeat(chosen.astype(np.float64).mean(axis=0), 2, axis=0)
    close("attention_decode", y.reshape(2, dim), expected)
    bench.close()


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_a_score_that_is_no_number_is_not_left_out(
    n_splits: int, bad: float, tune: Tuning
) -> None:
    """However small its weight would be, and whatever other splits hold."""
    tune = replace(tune, attention_groups=n_splits, attention_keys=1)
    bench, dim = Bench(tune), 64
    keys = np.zeros((199, 1, dim), np.float32)
    keys[150], keys[5, 0, 3] = 2.0, bad  # the other keys weigh exp(-128) = 0
    cache = make_cache(bench, "f32", 200, 1, 0, 1, dim)
    fill(bench, cache, keys, np.ones_like(keys))
    ones, rope = bench.vector(np.ones(dim)), make_rope(bench, 1e4, dim, 0, 256)
    q = bench.tensor(np.ones((1, 2 * dim), np.float32))
    heads = Heads(q, None, None, ones, None, rope, 0.0)
    (y,) = bench.run(lambda ops: ops.settle(ops.attention(heads, cache)), position=198)
    assert np.isnan(y).all()
    assert decode_shape(bench.tuning, cache, 2).n_splits == n_splits
    bench.close()


@pytest.mark.parametrize("kv", ["f32", "f16"])
def test_what_the_cache_cannot_hold_is_stored_as_no_number(kv: str) -> None:
    bench, dim = Bench(), 64
    cache = make_cache(bench, kv, 8, 1, 0, 1, dim)
    rope = make_rope(bench, THETA, dim, 0, 64)
    raw = pieces(bench, [np.ones((1, dim), np.float32)] * 3)
    k_norm = np.where(np.arange(dim) < 32, 65504.0, 66000.0)
    norms = bench.vectors(np.ones(dim), k_norm)
    heads = Heads(*raw, *norms, rope, 0.0)
    (y,) = bench.run(lambda ops: ops.settle(ops.attention(heads, cache)), position=0)
    k, v = stored(bench, cache)
    assert np.array_equal(k[0, 0, :32], k_norm[:32]) and np.isfinite(v[0]).all()
    if kv == "f32":
        assert np.array_equal(k[0, 0], k_norm) and np.isfinite(y).all()
    else:
        assert np.isnan(k[0, 0, 32:]).all() and np.isnan(y).all()
    bench.close()


@BOTH
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_does_what_a_family_does(rules: dict[str, Any], tune: Tuning) -> None:
    bench, n_heads, kv_heads, dim, position = Bench(tune), 4, 2, 64, 77
    heads, given = make_heads(bench, rules, 1, n_heads, kv_heads, dim, 32)
    cache = make_cache(bench, "f32", 128, 1, 0, kv_heads, dim)
    keys = random_input(8, position, kv_heads, dim, scale=dim**-0.5)
    values = random_input(9, position, kv_heads, dim)
    fill(bench, cache, keys, values)
    (y,) = bench.run(
        lambda ops: ops.settle(ops.attention(heads, cache)), position=position
    )
    expected, *stores = oracle.attention_decode(
        given.q[0],
        (given.k[0], given.v[0]),
        (given.q_norm, given.k_norm),
        keys,
        values,
        *(THETA, 32, EPS, None, given.rules),
    )
    close("attention_decode", y.reshape(n_heads, dim), expected)
    for slots, wanted in zip(stored(bench, cache), stores, strict=True):
        got = slots[position]
        assert_stored(got, wanted[-1], "f32", *tolerance("head_norm_rope"))
    bench.close()


def test_one_query_of_several_tokens_is_the_last() -> None:
    bench, dim = Bench(), 64
    cache = make_cache(bench, "f32", 64, 5, 8, 1, dim)
    filled = (random_input(i, cache.n_slots, 1, dim) for i in (1, 2))
    fill(bench, cache, *filled)
    rope, norm = make_rope(bench, THETA, dim, 8, 64), bench.vector(np.ones(dim))
    q = bench.tensor(random_input(3, 1, 2 * dim))
    heads = Heads(q, None, None, norm, None, rope, EPS)
    ends = [
        bench.run(
            lambda ops: ops.settle(ops.attention(heads, cache)),
            n_tokens=n,
            position=cache.n_slots - n,
        )[0]
        for n in (1, 5)
    ]
    np.testing.assert_array_equal(*ends)
    bench.close()
