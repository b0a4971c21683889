"""head_norm_rope against the oracle: queries, what it stores, the longest context."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Heads, Tensor
from tests.shaders.caches import (
    EPS,
    RULES,
    THETA,
    assert_stored,
    make_cache,
    make_heads,
    make_rope,
    pieces,
    stored,
)
from tests.support.compare import close, tolerance
from tests.support.gpu import Bench, random_input

SIZES = [(1e4, 8, 4), (1e4, 256, 128), (1e6, 16, 2), (1e6, 512, 64)]
IDS = ["tiny", "sliding", "tiny-global", "global"]


@pytest.mark.parametrize(("theta", "head_dim", "n_pairs"), SIZES, ids=IDS)
@pytest.mark.parametrize("position", [0, 511, 8189])
def test_queries_equal_the_oracle(
    theta: float, head_dim: int, n_pairs: int, position: int
) -> None:
    bench = Bench()
    x = random_input(1, 3, 2 * head_dim, scale=5.0)
    weight = random_input(2, head_dim)
    rope = make_rope(bench, theta, head_dim, n_pairs, 8192)
    cache = make_cache(bench, "f32", 4, 4, 0, 1, head_dim)
    heads = Heads(bench.tensor(x), None, None, bench.vector(weight), None, rope, EPS)
    (y,) = bench.run(
        lambda ops: ops.head_norm_rope(heads, cache), n_tokens=3, position=position
    )
    expected = oracle.head_norm_rope(
        x.reshape(3, 2, head_dim),
        weight,
        np.arange(position, position + 3),
        theta,
        n_pairs,
        EPS,
    )
    close("head_norm_rope", y.reshape(3, 2, head_dim), expected)
    assert not any(slots.any() for slots in stored(bench, cache))
    bench.close()


def test_the_last_position_of_the_longest_context_is_exact() -> None:
    """At 262,143 radians an f32 cosine would be off by 1e-2; the tables are not."""
    bench = Bench()
    x, weight = random_input(1, 1, 512), np.ones(512, np.float32)
    rope = make_rope(bench, 1e6, 512, 64, 262144)
    cache = make_cache(bench, "f32", 1, 1, 0, 1, 512)
    heads = Heads(bench.tensor(x), None, None, bench.vector(weight), None, rope, EPS)
    (y,) = bench.run(lambda ops: ops.head_norm_rope(heads, cache), position=262143)
    expected = oracle.head_norm_rope(
        x.reshape(1, 1, 512), weight, np.array([262143]), 1e6, 64, EPS
    )
    close("head_norm_rope", y.reshape(1, 1, 512), expected)
    bench.close()


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("v_is_k", [False, True])
@pytest.mark.parametrize(
    ("head_dim", "n_pairs", "theta"), [(8, 4, 1e4), (256, 128, 1e4), (512, 64, 1e6)]
)
def test_stores_what_the_oracle_does(
    head_dim: int, n_pairs: int, theta: float, v_is_k: bool, kv: str
) -> None:
    bench = Bench()
    n, n_heads, kv_heads, position, n_slots = 5, 4, 2, 1021, 7  # wraps in the chunk
    q = random_input(0, n, n_heads * head_dim, scale=3.0)
    k, v = (random_input(i, n, kv_heads * head_dim, scale=3.0) for i in (1, 2))
    q_norm, k_norm = random_input(3, head_dim), random_input(4, head_dim)
    cache = make_cache(bench, kv, 4096, 5, 2, kv_heads, head_dim)
    assert cache.n_slots == n_slots
    rope = make_rope(bench, theta, head_dim, n_pairs, 4096)
    raw = pieces(bench, [q, k] if v_is_k else [q, k, v])
    norms = bench.vectors(q_norm, k_norm)
    heads = Heads(raw[0], raw[1], raw[-1], *norms, rope, EPS)
    (y,) = bench.run(
        lambda ops: ops.head_norm_rope(heads, cache), n_tokens=n, position=position
    )
    positions = np.arange(position, position + n)
    turn = (positions, theta, n_pairs, EPS)
    shape = (n, n_heads, head_dim)
    expected_y = oracle.head_norm_rope(q.reshape(shape), q_norm, *turn)
    close("head_norm_rope", y.reshape(shape), expected_y)
    shape = (n, kv_heads, head_dim)
    v = k if v_is_k else v
    expected = oracle.kv_write(k.reshape(shape), v.reshape(shape), k_norm, *turn)
    for slots, wanted in zip(stored(bench, cache), expected, strict=True):
        got = slots[positions % n_slots]
        assert_stored(got, wanted, kv, *tolerance("head_norm_rope"))
        untouched = set(range(n_slots)) - set((positions % n_slots).tolist())
        assert not slots[sorted(untouched)].any()
    bench.close()


@pytest.mark.parametrize("n_pairs", [32, 12], ids=["whole", "part"])
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_does_what_a_family_does(rules: dict[str, Any], n_pairs: int) -> None:
    bench, n, n_heads, kv_heads, dim, position = Bench(), 3, 4, 2, 64, 700
    heads, expected = make_heads(bench, rules, n, n_heads, kv_heads, dim, n_pairs)
    cache = make_cache(bench, "f32", 1024, 5, 0, kv_heads, dim)
    (y,) = bench.run(
        lambda ops: ops.head_norm_rope(heads, cache), n_tokens=n, position=position
    )
    positions = np.arange(position, position + n)
    turn = (positions, THETA, n_pairs, EPS, expected.rules)
    q = oracle.head_norm_rope(expected.q, expected.q_norm, *turn)
    close("head_norm_rope", y.reshape(q.shape), q)
    wanted = oracle.kv_write(expected.k, expected.v, expected.k_norm, *turn)
    for slots, rows in zip(stored(bench, cache), wanted, strict=True):
        assert_stored(slots[positions], rows, "f32", *tolerance("head_norm_rope"))
    bench.close()


def test_norms_of_different_buffers_are_refused() -> None:
    bench = Bench()
    one, other = (bench.vector(np.ones(8)) for _ in range(2))
    cache = make_cache(bench, "f32", 16, 1, 0, 1, 8)
    q, k = pieces(bench, [random_input(i, 1, 8) for i in (1, 2)])
    heads = Heads(q, k, k, one, other, make_rope(bench, 1e4, 8, 4, 16), EPS)
    with pytest.raises(ValueError, match="vectors of 2 buffers"):
        bench.run(lambda ops: ops.settle(ops.attention(heads, cache)))
    bench.close()


def test_heads_of_different_tensors_are_refused() -> None:
    bench = Bench()
    q, k = (bench.tensor(random_input(i, 1, 8)) for i in (1, 2))
    norm, rope = bench.vector(np.ones(8)), make_rope(bench, 1e4, 8, 4, 16)
    cache = make_cache(bench, "f32", 16, 1, 0, 1, 8)
    heads = Heads(q, k, k, norm, norm, rope, EPS)
    with pytest.raises(ValueError, match="pieces of one tensor"):
        bench.run(lambda ops: ops.settle(ops.attention(heads, cache)))
    bench.close()


def test_keys_and_values_apart_from_the_last_queries() -> None:
    bench, n, position = Bench(), 5, 9
    q, k, v = (random_input(i, n, 2 * 8, scale=3.0) for i in range(3))
    norms = bench.vectors(*(random_input(i, 8) for i in (3, 4)))
    rope = make_rope(bench, 1e4, 8, 4, 64)
    together, apart = (make_cache(bench, "f32", 64, n, 0, 2, 8) for _ in range(2))
    all_q, all_k, all_v = pieces(bench, [q, k, v])
    heads = Heads(all_q, all_k, all_v, norms[0], norms[1], rope, EPS)
    last = replace(heads, q=bench.tensor(q[3:]), k=None, v=None)

    def record(ops: Ops) -> list[Tensor]:
        ops.store(replace(heads, q=None), apart)
        wanted = [(heads, together), (last, apart)]
        return [ops.head_norm_rope(some, cache) for some, cache in wanted]

    y, y_last = bench.run(record, n_tokens=n, position=position)
    np.testing.assert_array_equal(y_last, y[3:])
    for got, expected in zip(
        stored(bench, apart), stored(bench, together), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert stored(bench, apart)[0][position : position + n].any()
    bench.close()
