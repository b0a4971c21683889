"""The reference ops against plain loops, worked numbers and invariants."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from oracle import ops

RNG = np.random.default_rng(20)
EPS = 1e-6


def normal(*shape: int) -> np.ndarray:
    """Return float32 gaussians."""
    return RNG.standard_normal(shape).astype(np.float32)


def rms(row: np.ndarray) -> np.ndarray:
    """Norm one vector by its definition."""
    total = sum(float(v) ** 2 for v in row)
    return np.array([float(v) / math.sqrt(total / len(row) + EPS) for v in row])


def close(got: np.ndarray, expected: np.ndarray) -> None:
    """Compare within one rounding to float32."""
    np.testing.assert_allclose(got, expected, rtol=2e-7, atol=1e-7)


def test_embed_scales_the_rows_it_looks_up() -> None:
    weight = normal(9, 5)
    got = ops.embed(np.array([8, 0, 8]), weight, 3.0)
    close(got, np.stack([weight[8], weight[0], weight[8]]) * 3.0)


def test_rms_norm_by_definition() -> None:
    x, weight = normal(3, 7), normal(7)
    expected = np.stack([rms(row) for row in x])
    close(ops.rms_norm(x, None, EPS), expected)
    close(ops.rms_norm(x, weight, EPS), expected * weight)
    close(ops.rms_norm(x, weight, EPS, scale=0.25), expected * weight * 0.25)


def test_rms_norm_of_zeros_is_zero() -> None:
    assert not ops.rms_norm(np.zeros((2, 4), np.float32), None, EPS).any()


def test_add_norm_scales_the_whole_residual() -> None:
    x, branch, weight, after = normal(3, 7), normal(3, 7), normal(7), normal(7)
    total, y = ops.add_norm(x, branch, weight, 0.5, after, EPS)
    expected = (x + np.stack([rms(row) for row in branch]) * weight) * 0.5
    close(total, expected)
    assert y is not None
    close(y, np.stack([rms(row) for row in expected]) * after)


def test_add_norm_without_what_is_optional() -> None:
    x, branch, weight = normal(1, 7), normal(1, 7), normal(7)
    total, y = ops.add_norm(x, branch, weight, None, None, EPS)
    close(total, x + rms(branch[0]) * weight)
    assert y is None


def test_norm_sum_by_definition() -> None:
    a, b, weight_a, weight_b = normal(2, 5), normal(2, 5), normal(5), normal(5)
    normed_a, normed_b = (np.stack([rms(row) for row in x]) for x in (a, b))
    expected = normed_a * weight_a + normed_b * weight_b
    close(ops.norm_sum(a, weight_a, b, weight_b, EPS), expected)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Multiply and add without rounding in between."""
    return math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("op", [ops.matmul, ops.matvec])
def test_products_by_definition(op: Callable[..., np.ndarray]) -> None:
    x, weight = normal(2, 5), normal(3, 5)
    close(op(x, weight), np.array([[dot(row, w) for w in weight] for row in x]))


def test_int8_rounds_each_sixteen_by_their_own_scale() -> None:
    x = np.zeros((1, 48), np.float32)
    x[0, 0], x[0, 1], x[0, 2], x[0, 3] = 127, 2.4, -2.6, 2.5
    x[0, 16:32] = np.linspace(-3e-9, 1e-9, 16)
    y = ops.quantise_int8(x)
    assert y[0, :4].tolist() == [127, 2, -3, 2]
    assert not y[0, 32:].any()
    steps = y[0, 16:32] * 127 / 3e-9
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.abs(y - x).max(where=np.arange(48) >= 16, initial=0) <= 3e-9 / 254 * 1.001


def test_products_accumulate_beyond_float32() -> None:
    x = np.array([[1e8, 1.0, -1e8]], np.float32)
    assert ops.matmul(x, np.ones((1, 3), np.float32))[0, 0] == 1.0


def test_many_products_are_each_its_own_and_capped_alike() -> None:
    x, weights = normal(1, 5), [normal(3, 5), normal(2, 5)]
    plain, capped = ops.matvec_many(x, weights), ops.matvec_many(x, weights, 2.0)
    for got, squashed, weight in zip(plain, capped, weights, strict=True):
        expected = [dot(x[0], row) for row in weight]
        close(got, np.array([expected]))
        close(squashed, np.array([[2 * math.tanh(v / 2) for v in expected]]))


def test_gated_products_by_definition() -> None:
    x, gate, up = normal(1, 5), normal(3, 5), normal(3, 5)
    left = [gelu(dot(x[0], row)) for row in gate]
    right = [dot(x[0], row) for row in up]
    close(ops.matvec_glu(x, gate, up), np.array([np.multiply(left, right)]))
    close(ops.matvec_glu(x, gate, up[:, 0]), np.array([np.multiply(left, up[:, 0])]))


def gelu(z: float) -> float:
    """Compute the tanh form from its definition."""
    return 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def rotate(head: np.ndarray, position: int, theta: float, n_pairs: int) -> np.ndarray:
    """Rotate one head as complex numbers."""
    half = len(head) // 2
    turned = head[:half] + 1j * head[half:]
    for i in range(n_pairs):
        turned[i] *= np.exp(1j * position * theta ** (-2 * i / len(head)))
    return np.concatenate([turned.real, turned.imag])


@pytest.mark.parametrize(("theta", "n_pairs"), [(1e4, 8), (1e6, 2), (1e6, 0)])
def test_head_norm_rope_by_definition(theta: float, n_pairs: int) -> None:
    q, weight, positions = normal(3, 2, 16), normal(16), np.array([0, 5, 131071])
    got = ops.head_norm_rope(q, weight, positions, theta, n_pairs, EPS)
    for t, position in enumerate(positions):
        for h in range(2):
            expected = rotate(rms(q[t, h]) * weight, int(position), theta, n_pairs)
            np.testing.assert_allclose(got[t, h], expected, rtol=2e-7, atol=2e-7)


def test_rope_scores_depend_on_distance_alone() -> None:
    q, k, one = normal(1, 1, 16), normal(1, 1, 16), np.ones(16, np.float32)
    scores = []
    for base in (0, 1000):
        a = ops.head_norm_rope(q, one, np.array([base + 7]), 1e4, 8, EPS)
        b = ops.head_norm_rope(k, one, np.array([base]), 1e4, 8, EPS)
        scores.append(float((a * b).sum()))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_kv_write_rotates_k_and_leaves_v_where_it_is() -> None:
    raw, weight, positions = normal(2, 1, 8), normal(8), np.array([3, 4])
    k, v = ops.kv_write(raw, raw, weight, positions, 1e4, 4, EPS)
    close(k, ops.head_norm_rope(raw, weight, positions, 1e4, 4, EPS))
    close(v, np.stack([[rms(head) for head in token] for token in raw]))


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: list[int], window: int
) -> np.ndarray:
    """Attend by loops over tokens, heads and keys."""
    result = np.zeros(q.shape)
    for t, position in enumerate(positions):
        for h in range(q.shape[1]):
            source = h // (q.shape[1] // k.shape[1])
            seen = [j for j in range(len(k)) if j <= position and j > position - window]
            scores = [float(q[t, h].astype(float) @ k[j, source]) for j in seen]
            exps = [math.exp(s - max(scores)) for s in scores]
            for e, j in zip(exps, seen, strict=True):
                result[t, h] += e / sum(exps) * v[j, source]
    return result


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_attention_by_definition(window: int | None, n_kv_heads: int) -> None:
    q, k, v = normal(4, 4, 8), normal(9, n_kv_heads, 8), normal(9, n_kv_heads, 8)
    positions = [0, 4, 7, 8]
    got = ops.attention(q, k, v, np.array(positions), window)
    expected = attend(q, k, v, positions, window or 10**9)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_a_window_holds_exactly_that_many_keys() -> None:
    k, v = np.zeros((8, 1, 2), np.float32), np.eye(8, dtype=np.float32)[:, None]
    q = np.zeros((1, 1, 2), np.float32)
    # One-hot values show the weights (and are longer than the keys, only here).
    weights = ops.attention(q, k, v, np.array([6]), 3)
    close(weights[0, 0], np.array([0, 0, 0, 0, 1, 1, 1, 0]) / 3)


def test_attention_bears_large_scores() -> None:
    q = np.full((1, 1, 2), 1e4, np.float32)
    k = np.array([[[1e4, 0]], [[1e4, 1e4]]], np.float32)
    v = np.array([[[1, 2]], [[3, 4]]], np.float32)
    close(ops.attention(q, k, v, np.array([1]), None), v[1:])


@pytest.mark.parametrize("window", [None, 1, 3])
def test_attention_decode_is_its_parts(window: int | None) -> None:
    """The last of a prefill's tokens, decoded after those before it, says the same."""
    raw_q, raw_k, raw_v = normal(6, 4, 8), normal(6, 2, 8), normal(6, 2, 8)
    q_norm, k_norm, positions = normal(8), normal(8), np.arange(6)
    q = ops.head_norm_rope(raw_q, q_norm, positions, 1e4, 3, EPS)
    k, v = ops.kv_write(raw_k, raw_v, k_norm, positions, 1e4, 3, EPS)
    expected = ops.attention(q, k, v, positions, window)[-1]
    rest = ((q_norm, k_norm), k[:-1], v[:-1], 1e4, 3, EPS, window)
    y, *stored = ops.attention_decode(raw_q[-1], (raw_k[-1], raw_v[-1]), *rest)
    close(y, expected)
    close(stored[0], k)
    close(stored[1], v)
    # A layer that shares another's cache finds the key already there.
    rest = ((q_norm, k_norm), k, v, 1e4, 3, EPS, window)
    close(ops.attention_decode(raw_q[-1], None, *rest)[0], expected)


def test_attention_merge_is_softmax_over_all_splits() -> None:
    scores, values = 30 * normal(2, 9), normal(9, 4)
    sums, highest, total = (np.full(s, np.nan) for s in ((4, 2, 4), (4, 2), (4, 2)))
    for split, keys in enumerate([slice(0, 5), slice(5, 8), slice(8, 9)]):
        highest[split] = scores[:, keys].max(axis=1)
        exps = np.exp(scores[:, keys] - highest[split][:, None])
        sums[split], total[split] = exps @ values[keys], exps.sum(axis=1)
    highest[3], total[3] = -3e38, 0.0  # empty: its sums are not a number
    exps = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exps / exps.sum(axis=1, keepdims=True) @ values
    np.testing.assert_allclose(
        ops.attention_merge(sums, highest, total), expected, rtol=1e-6
    )


def test_geglu_is_the_tanh_form() -> None:
    # gelu_tanh(1) = 0.8411919906082768; the erf form would be 0.8413447460685429
    one = np.ones(1)
    assert ops.geglu(one, 2 * one)[0] == pytest.approx(1.6823839812165536, rel=1e-14)
    big = np.array([-300.0, 300.0], np.float32)
    close(ops.geglu(big, np.ones(2, np.float32)), np.array([0.0, 300.0]))


def test_router_breaks_ties_by_index_and_renormalises() -> None:
    logits = np.array([[1, 3, 3, 0], [2, 2, 2, 2]], np.float32)
    idx, weights = ops.router_top_k(logits, np.ones(4, np.float32), 2)
    assert idx.tolist() == [[1, 2], [0, 1]]
    close(weights, np.full((2, 2), 0.5))


def test_router_scales_after_renormalising() -> None:
    logits = np.log(np.array([[0.1, 0.6, 0.3]], np.float32))
    scale = np.array([5, -2, 0.5], np.float32)
    idx, weights = ops.router_top_k(logits, scale, 2)
    assert idx.tolist() == [[1, 2]]
    close(weights, np.array([[-2 * 2 / 3, 0.5 / 3]]))


def test_router_weighs_against_all_experts_without_renormalising() -> None:
    logits = np.log(np.array([[0.1, 0.6, 0.3]], np.float32))
    for scale in (None, np.ones(3, np.float32)):
        idx, weights = ops.router_top_k(logits, scale, 2, renormalised=False)
        assert idx.tolist() == [[1, 2]]
        close(weights, np.array([[0.6, 0.3]]))
    nan = np.array([[0.0, np.nan, 1.0]], np.float32)
    assert np.isnan(ops.router_top_k(nan, None, 2, renormalised=False)[1]).all()


def test_router_chooses_what_is_not_finite_and_weighs_nothing() -> None:
    inf, nan = np.inf, np.nan
    logits = np.array(
        [[0, inf, 1, inf], [nan, 1, nan, 2], [0, 1, 2, -inf], [-inf] * 4], np.float32
    )
    idx, weights = ops.router_top_k(logits, np.ones(4, np.float32), 2)
    assert idx.tolist() == [[1, 3], [0, 2], [3, 2], [0, 1]]
    assert np.isnan(weights).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_lost_in_no_reduction(bad: float) -> None:
    x = np.array([[1.0, bad, 2.0]], np.float32)
    q, keys = np.ones((1, 1, 1)), np.array([1.0, bad, 2.0]).reshape(3, 1, 1)
    with np.errstate(invalid="ignore"):
        assert np.isnan(ops.rms_norm(x, None, 1e-6)).all()
        assert np.isnan(ops.attention(q, keys, np.ones_like(keys), np.array([2]), None))
        assert np.isnan(ops.quantise_int8(np.resize(x, (1, 16)))).all()


def counting_sort(idx: np.ndarray, n_experts: int) -> tuple[list[int], list[int], list]:
    """Sort by the three loops of the textbook."""
    offsets = [0]
    for expert in range(n_experts):
        offsets.append(offsets[-1] + int((idx == expert).sum()))
    fill, token_idx = list(offsets), [0] * idx.size
    perm = [[0] * idx.shape[1] for _ in idx]
    for t, row in enumerate(idx):
        for j, expert in enumerate(row):
            token_idx[fill[expert]], perm[t][j] = t, fill[expert]
            fill[expert] += 1
    return offsets, token_idx, perm


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "k"), [(0, 4, 2), (1, 8, 2), (37, 5, 3)]
)
def test_expert_sort_is_a_stable_counting_sort(
    n_tokens: int, n_experts: int, k: int
) -> None:
    rows = [RNG.permutation(n_experts)[:k] for _ in range(n_tokens)]
    idx = np.array(rows, np.int32).reshape(n_tokens, k)
    offsets, token_idx, perm = ops.expert_sort(idx, n_experts)
    expected = counting_sort(idx, n_experts)
    assert (offsets.tolist(), token_idx.tolist(), perm.tolist()) == expected


def test_experts_by_bucket_equal_experts_one_by_one() -> None:
    n_tokens, n_experts, k = 11, 6, 2
    x, up, down = normal(n_tokens, 8), normal(n_experts, 4, 8), normal(n_experts, 8, 4)
    logits, scale = normal(n_tokens, n_experts), normal(n_experts)
    idx, weights = ops.router_top_k(logits, scale, k)
    expected = np.zeros((n_tokens, 8))
    for t, j in np.ndindex(n_tokens, k):
        inner = up[idx[t, j]].astype(float) @ x[t]
        expected[t] += weights[t, j] * (down[idx[t, j]] @ inner)

    offsets, token_idx, perm = ops.expert_sort(idx, n_experts)
    inner = ops.expert_matmul(x, offsets, token_idx, up)
    bucketed = ops.expert_matmul(inner, offsets, None, down)
    got = ops.expert_combine(bucketed, perm, weights)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_experts_of_a_token_by_definition() -> None:
    n_experts, k = 6, 2
    x, down = normal(3, 8), normal(n_experts, 8, 4)
    gate, up = normal(n_experts, 4, 8), normal(n_experts, 4, 8)
    idx, weights = np.array([[5, 0], [2, 5], [1, 3]]), normal(3, k)
    silent = ops.expert_gate_up(x, idx, gate, up, "swiglu")
    first = ops.silu(gate[5] @ x[0]) * (up[5] @ x[0])
    np.testing.assert_allclose(silent[0], first, rtol=1e-5, atol=1e-6)
    hidden = ops.expert_gate_up(x, idx, gate, up)
    got = ops.expert_down(hidden, idx, weights, down)
    for t, token in enumerate(x):
        total = np.zeros(8)
        for j, expert in enumerate(idx[t]):
            inner = ops.gelu_tanh(gate[expert] @ token) * (up[expert] @ token)
            np.testing.assert_allclose(hidden[t * k + j], inner, rtol=1e-5, atol=1e-6)
            total += weights[t, j] * (down[expert] @ inner)
        np.testing.assert_allclose(got[t], total, rtol=1e-4, atol=1e-5)


def test_router_by_definition() -> None:
    x, scale, weight, norm_weight = normal(3, 7), normal(7), normal(5, 7), normal(7)
    normed = np.stack([rms(row) for row in x])
    logits, y = ops.router(x, weight, norm_weight, EPS, scale)
    close(logits, normed * scale / math.sqrt(7) @ weight.T)
    close(y, normed * norm_weight)
    logits, same = ops.router(x, weight, norm_weight, EPS)
    close(logits, y.astype(float) @ weight.T)
    close(same, y)


def test_ple_combine_norms_each_layer_alone() -> None:
    pp, pe, weight = normal(2, 12), normal(2, 12), normal(4)
    got = ops.ple_combine(pp, pe, weight, 0.5, 2.0, EPS)
    for t, layer in np.ndindex(2, 3):
        part = slice(4 * layer, 4 * layer + 4)
        expected = rms(pp[t, part] * 0.5) * weight + pe[t, part] * 2.0
        close(got[t, part], expected / math.sqrt(2))


def test_softcap_bounds_and_keeps_small_logits() -> None:
    got = ops.softcap(np.array([-1e9, 0.0, 15.0, 1e9]), 30.0)
    assert got.tolist() == [-30.0, 0.0, pytest.approx(30 * math.tanh(0.5)), 30.0]


def test_repack_moves_scales_behind_bodies() -> None:
    raw = np.arange(12, dtype=np.uint8)  # two blocks of six bytes, the scale at 4
    bodies, scales = ops.repack(raw, 6, 4, 2)
    assert bodies.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert scales.tolist() == [4, 5, 10, 11]
    bodies, scales = ops.repack(raw, 6, 0, 2)
    assert bodies.tolist() == [2, 3, 4, 5, 8, 9, 10, 11]
    assert scales.tolist() == [0, 1, 6, 7]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_results_have_the_type_of_the_activations(kind: type) -> None:
    x, weight = normal(2, 4).astype(kind), normal(4)
    assert ops.rms_norm(x, weight, EPS).dtype == kind
    assert ops.matmul(x, normal(3, 4)).dtype == kind
    assert ops.geglu(x, x).dtype == kind
    assert ops.softcap(x, 30.0).dtype == kind
    assert ops.add_norm(x, x, weight, None, None, EPS)[0].dtype == kind
    heads = x.reshape(2, 1, 4)
    assert ops.attention(heads, heads, heads, np.arange(2), None).dtype == kind
