"""Every kernel as a plain NumPy function: the definition of what a shader computes.

Sums run in float64. Results have the type of the activations that come in: float32
where a shader is compared, float64 where a whole model is evaluated as exactly as
possible.
Words in shapes: n_tokens, dim (hidden size), n_heads, n_kv_heads, head_dim, n_experts,
k (experts per token), n_rows (outputs of an expert).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Double = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
U8 = npt.NDArray[np.uint8]

SQRT_2_OVER_PI = 0.7978845608028654


def _double(x: Array) -> Double:
    return np.asarray(x, np.float64)


def _rms(x: Array, eps: float) -> Double:
    """Divide by the root mean square of the last axis, in float64; NaN if infinite."""
    wide = _double(x)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
    mean_square = np.where(np.isfinite(mean_square), mean_square, np.nan)
    normed: Double = wide / np.sqrt(mean_square + eps)
    return normed


def embed(tokens: Ints, weight: Array, scale: float) -> Array:
    """Look up rows and scale them.

    Shapes: tokens [n_tokens]; weight [n_vocab, dim]; result [n_tokens, dim].
    """
    return (_double(weight[tokens]) * scale).astype(weight.dtype)


def rms_norm(x: Array, weight: Array | None, eps: float, scale: float = 1.0) -> Array:
    """Normalise the last axis by its root mean square, then multiply by the weight.

    Shapes: x, result [..., dim]; weight [dim], or None for 1.
    """
    normed = _rms(x, eps) * scale
    return (normed if weight is None else normed * weight).astype(x.dtype)


def add_norm(
    x: Array,
    branch: Array,
    weight: Array | None,
    layer_scale: float | None,
    next_weight: Array | None,
    eps: float,
) -> tuple[Array, Array | None]:
    """Add a branch to the residual and norm the sum for the next branch.

    x' = (x + rms(branch) * weight) * layer_scale, or x + branch there without a weight,
    and y = rms(x') * next_weight; y is None without a next weight.
    Shapes: x, branch, x', y [n_tokens, dim]; weight, next_weight [dim].
    """
    added = _double(branch) if weight is None else _rms(branch, eps) * weight
    total = _double(x) + added
    if layer_scale is not None:
        total = total * layer_scale
    if next_weight is None:
        return total.astype(x.dtype), None
    return total.astype(x.dtype), rms_norm(total, next_weight, eps).astype(x.dtype)


def norm_sum(a: Array, weight_a: Array, b: Array, weight_b: Array, eps: float) -> Array:
    """Add two branches, each normed with its own weight.

    Shapes: a, b, result [n_tokens, dim]; weight_a, weight_b [dim].
    """
    return (_rms(a, eps) * weight_a + _rms(b, eps) * weight_b).astype(a.dtype)


def matmul(x: Array, weight: Array) -> Array:
    """Multiply by a transposed matrix: y[t, o] = sum_i x[t, i] * weight[o, i].

    Shapes: x [n_tokens, dim_in]; weight [dim_out, dim_in]; y [n_tokens, dim_out].
    """
    return (_double(x) @ _double(weight).T).astype(x.dtype)


def matvec(x: Array, weight: Array) -> Array:
    """Do what matmul does, for few tokens.

    Shapes: x [n_tokens, dim_in]; weight [dim_out, dim_in]; y [n_tokens, dim_out].
    """
    return matmul(x, weight)


def quantise_int8(x: Array) -> Double:
    """Round each 16 elements to multiples of their largest magnitude / 127.

    Sums of such integers are exact, so that a product with them is the product with the
    result. Ties go to the even multiple. Shapes: x [n_tokens, dim], as the result.
    """
    halves = np.asarray(x, np.float32).reshape(*x.shape[:-1], -1, 16)
    top = np.abs(halves).max(axis=-1, keepdims=True)
    is_zero = top < np.float32(1e-30)
    factor = np.where(is_zero, 0, np.float32(127) / np.where(is_zero, 1, top))
    rounded = np.rint(halves * factor.astype(np.float32)).astype(np.float64)
    result: Double = (rounded * (top / np.float32(127))).reshape(x.shape)
    return result


def matvec_many(
    x: Array, weights: Sequence[Array], cap: float | None = None
) -> list[Array]:
    """Multiply one vector by several matrices; with a cap, squash the results.

    Shapes: x [1, dim_in]; weights [dim_out, dim_in] each; results [1, dim_out].
    """
    products = [matmul(x, weight) for weight in weights]
    return products if cap is None else [softcap(y, cap) for y in products]


def matvec_glu(x: Array, gate: Array, up: Array, unit: str = "geglu") -> Array:
    """Multiply by both matrices of a gated unit, or by one where up is given.

    Shapes: x [1, dim_in]; gate [dim, dim_in]; up [dim, dim_in] or [dim]; result
    [1, dim].
    """
    factor = up[None, :] if up.ndim == 1 else matmul(x, up)
    return glu(matmul(x, gate), factor, unit)


def rope_frequencies(
    theta: float, n_dims: int, factors: Array | None = None, scale: float = 1.0
) -> Double:
    """Return by how much each pair turns per position: theta^(-2 i / n_dims) / factor.

    `scale` multiplies all angles: 1 / factor of a linear scaling. Factors divide them
    (the tensor rope_freqs). Shapes: factors, result [n_dims / 2].
    """
    pair = np.arange(n_dims // 2)
    frequency: Double = theta ** (-2.0 * pair / n_dims) * scale
    return frequency if factors is None else frequency / _double(factors)


def rotate(
    x: Array, positions: Ints, frequencies: Double, neighbours: bool = False
) -> Double:
    """Turn pairs of elements by position * frequency.

    Pair i is (i, i + n_pairs) or, as neighbours, (2 i, 2 i + 1), within the first
    2 * n_pairs elements; the others stay.
    Shapes: x, result [n_tokens, n_heads, head_dim]; positions [n_tokens]; frequencies
    [n_pairs].
    """
    n = len(frequencies)
    angle = positions.astype(np.float64)[:, None, None] * frequencies
    first = slice(0, 2 * n, 2) if neighbours else slice(0, n)
    second = slice(1, 2 * n, 2) if neighbours else slice(n, 2 * n)
    rotated = _double(x).copy()
    u, v = _double(x)[..., first], _double(x)[..., second]
    rotated[..., first] = u * np.cos(angle) - v * np.sin(angle)
    rotated[..., second] = v * np.cos(angle) + u * np.sin(angle)
    return rotated


@dataclass(frozen=True, slots=True)
class HeadRules:
    """What a family does with raw heads besides the norms of queries and keys.

    Shapes: biases [heads * head_dim].
    """

    v_norm: bool = True  # values are normed, without a weight
    neighbours: bool = False  # pairs of rotation (see rotate)
    scale: float = 1.0  # of queries
    q_bias: Array | None = None
    k_bias: Array | None = None
    v_bias: Array | None = None


GEMMA4 = HeadRules()


def _biased(x: Array, bias: Array | None) -> Double:
    return _double(x) if bias is None else _double(x) + bias.reshape(x.shape[-2:])


def _turned(
    x: Double,
    weight: Array | None,
    positions: Ints,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
    neighbours: bool,
) -> Double:
    """Norm each head, if it has a weight, and turn its first pairs by their angle.

    The angle is position * theta^(-2 i / head_dim): the exponent always counts the
    whole head, however few pairs rotate.
    """
    normed = x if weight is None else _rms(x, eps) * weight
    frequencies = rope_frequencies(theta, x.shape[-1])
    frequencies[n_rotated_pairs:] = 0.0
    return rotate(normed, positions, frequencies, neighbours)


def head_norm_rope(
    q: Array,
    weight: Array | None,
    positions: Ints,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
    rules: HeadRules = GEMMA4,
) -> Array:
    """Norm each head with the weight, then rotate it by its position, then scale it.

    Shapes: q, result [n_tokens, n_heads, head_dim]; weight [head_dim], or None for no
    norm; positions [n_tokens].
    """
    turn = (weight, positions, theta, n_rotated_pairs, eps, rules.neighbours)
    return (_turned(_biased(q, rules.q_bias), *turn) * rules.scale).astype(q.dtype)


def kv_write(
    k_raw: Array,
    v_raw: Array,
    weight: Array | None,
    positions: Ints,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
    rules: HeadRules = GEMMA4,
) -> tuple[Array, Array]:
    """Return what the cache stores: K normed with weight and rotated, V only normed.

    Shapes: k_raw, v_raw, K, V [n_tokens, n_kv_heads, head_dim]; weight [head_dim], or
    None for no norm of K; positions [n_tokens].
    """
    turn = (weight, positions, theta, n_rotated_pairs, eps, rules.neighbours)
    k, v = _biased(k_raw, rules.k_bias), _biased(v_raw, rules.v_bias)
    v = _rms(v, eps) if rules.v_norm else v
    return _turned(k, *turn).astype(k_raw.dtype), v.astype(v_raw.dtype)


def attention(
    q: Array,
    k: Array,
    v: Array,
    positions: Ints,
    window: int | None,
    scale: float = 1.0,
) -> Array:
    """Attend causally, scores times `scale`; with a window, to exactly that many keys.

    Key j has position j. The query at position p sees keys p - window < j <= p. Query
    head h reads key head h / (n_heads / n_kv_heads). A score that is not finite is NaN.
    Shapes: q, result [n_tokens, n_heads, head_dim]; k, v
    [n_keys, n_kv_heads, head_dim]; positions [n_tokens].
    """
    n_groups = q.shape[1] // k.shape[1]
    queries = _double(q).transpose(1, 0, 2)  # [n_heads, n_tokens, head_dim]
    keys = np.repeat(_double(k), n_groups, axis=1).transpose(1, 2, 0)
    values = np.repeat(_double(v), n_groups, axis=1).transpose(1, 0, 2)
    distance = positions[:, None].astype(np.int64) - np.arange(k.shape[0])
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    scores = queries @ keys * scale
    scores = np.where(np.isfinite(scores), scores, np.nan)
    weights = softmax(np.where(hidden, -np.inf, scores))
    return (weights @ values).transpose(1, 0, 2).astype(q.dtype)


def attention_decode(
    q_raw: Array,
    new: tuple[Array, Array] | None,
    norms: tuple[Array | None, Array | None],
    keys: Array,
    values: Array,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
    window: int | None,
    rules: HeadRules = GEMMA4,
) -> tuple[Array, Array, Array]:
    """Attend with the last token alone, from its raw heads on; return y, K and V.

    `new` are the raw key and value of that token, at the position behind the keys;
    without them it is at the last key's. K and V are all that the cache holds then.
    Shapes: q_raw [n_heads, head_dim]; new [n_kv_heads, head_dim] each; norms [head_dim]
    each, of q and k; keys, values [n_keys, n_kv_heads, head_dim]; y as q_raw.
    """
    rest = (theta, n_rotated_pairs, eps, rules)
    if new is not None:
        end = np.array([keys.shape[0]])
        k, v = kv_write(new[0][None], new[1][None], norms[1], end, *rest)
        keys, values = np.concatenate([keys, k]), np.concatenate([values, v])
    last = np.array([keys.shape[0] - 1])
    q = head_norm_rope(_double(q_raw[None]), norms[0], last, *rest)
    y = attention(q, keys, values, last, window)[0]
    return y.astype(q_raw.dtype), keys, values


def attention_merge(sums: Array, highest: Array, total: Array) -> Array:
    """Add up attention over splits of the keys.

    A split's sums are of exp(score - highest) * value and its total of the
    exponentials; a total of 0 says that it holds no key.
    Shapes: sums [n_splits, n_rows, head_dim]; highest, total [n_splits, n_rows];
    result [n_rows, head_dim].
    """
    has_key = total != 0
    top = np.where(has_key, highest, -np.inf).max(axis=0)
    factor = np.where(has_key, np.exp(_double(highest) - top), 0.0)
    weighted = np.where(has_key[..., None], factor[..., None] * _double(sums), 0.0)
    merged: Double = weighted.sum(axis=0) / (factor * total).sum(axis=0)[:, None]
    return merged.astype(sums.dtype)


def softmax(x: Array) -> Double:
    """Exponentiate and normalise the last axis, in float64.

    Entries of -inf have no share, if there are others; one that is NaN spoils all.
    """
    wide = _double(x)
    exps = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Double = exps / exps.sum(axis=-1, keepdims=True)
    return result


def gelu_tanh(x: Array) -> Double:
    """Compute the tanh form of GELU, in float64."""
    z = _double(x)
    result: Double = 0.5 * z * (1 + np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3)))
    return result


def silu(x: Array) -> Double:
    """Compute x / (1 + exp(-x)), in float64."""
    z = _double(x)
    with np.errstate(over="ignore"):  # exp(-x) may be infinite, and x / it is 0
        result: Double = z / (1 + np.exp(-z))
    return result


def swiglu(gate: Array, up: Array) -> Array:
    """Multiply silu(gate) by up; all shapes equal."""
    return (silu(gate) * up).astype(gate.dtype)


def geglu(gate: Array, up: Array) -> Array:
    """Multiply gelu_tanh(gate) by up; all shapes equal."""
    return (gelu_tanh(gate) * up).astype(gate.dtype)


def glu(gate: Array, up: Array, unit: str = "geglu") -> Array:
    """Apply a gated unit by its name: geglu or swiglu."""
    return {"geglu": geglu, "swiglu": swiglu}[unit](gate, up)


def router(
    x: Array, weight: Array, norm_weight: Array, eps: float, scale: Array | None = None
) -> tuple[Array, Array]:
    """Score all experts for each token, and norm the tokens for the experts.

    The router sees what the experts see, unless it has a scale for a norm of its own.
    Shapes: x, y [n_tokens, dim]; scale, norm_weight [dim]; weight [n_experts, dim];
    logits [n_tokens, n_experts].
    """
    y = _rms(x, eps) * norm_weight
    z = y if scale is None else _rms(x, eps) * scale * x.shape[-1] ** -0.5
    return matmul(z, weight).astype(x.dtype), y.astype(x.dtype)


def router_top_k(
    logits: Array,
    per_expert_scale: Array | None,
    k: int,
    renormalised: bool = True,
) -> tuple[npt.NDArray[np.int32], Array]:
    """Choose k experts per token and their weights.

    Softmax over all experts, the k largest (ties: the lower index) in falling order,
    renormalised to sum 1 or not, then times the scale of each expert, if it has one.
    What is not finite is chosen first, and makes all weights of its token NaN.
    Shapes: logits [n_tokens, n_experts]; per_expert_scale [n_experts]; results
    [n_tokens, k].
    """
    finite = np.isfinite(logits)
    order = np.where(finite, logits, np.inf)
    idx = np.argsort(-order, axis=-1, kind="stable")[:, :k]
    known = np.where(finite, logits, np.nan)
    if renormalised:
        weights = softmax(np.take_along_axis(known, idx, axis=-1))
    else:
        weights = np.take_along_axis(softmax(known), idx, axis=-1)
    if per_expert_scale is not None:
        weights = weights * _double(per_expert_scale)[idx]
    return idx.astype(np.int32), weights.astype(logits.dtype)


def expert_sort(
    idx: Ints, n_experts: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Bucket the assignments of tokens to experts by a stable counting sort.

    Bucket e is rows offsets[e] to offsets[e + 1]; row r belongs to token token_idx[r];
    assignment (t, j) went to row perm[t, j].
    Shapes: idx, perm [n_tokens, k]; offsets [n_experts + 1]; token_idx [n_tokens * k].
    """
    n_tokens, k = idx.shape
    flat = idx.reshape(-1)
    order = np.argsort(flat, kind="stable")
    perm = np.empty(n_tokens * k, np.int32)
    perm[order] = np.arange(n_tokens * k)
    offsets = np.zeros(n_experts + 1, np.int32)
    offsets[1:] = np.cumsum(np.bincount(flat, minlength=n_experts))
    return offsets, (order // k).astype(np.int32), perm.reshape(n_tokens, k)


def expert_gate_up(
    x: Array, idx: Ints, gate: Array, up: Array, unit: str = "geglu"
) -> Array:
    """Compute the gated hidden vector of each assigned expert.

    Shapes: x [n_tokens, dim_in]; idx [n_tokens, k]; gate, up
    [n_experts, n_rows, dim_in]; result [n_tokens * k, n_rows], row t * k + j.
    """
    wide = _double(x)[:, None, :, None]  # [n_tokens, 1, dim_in, 1]
    left, right = _double(gate)[idx] @ wide, _double(up)[idx] @ wide
    return glu(left, right, unit).reshape(idx.size, -1).astype(x.dtype)


def expert_down(x: Array, idx: Ints, weights: Array, down: Array) -> Array:
    """Project each assigned expert's vector down, and sum by the weights.

    Shapes: x [n_tokens * k, dim_in]; idx, weights [n_tokens, k]; down
    [n_experts, n_rows, dim_in]; result [n_tokens, n_rows].
    """
    wide = _double(x).reshape(*idx.shape, -1, 1)
    each = (_double(down)[idx] @ wide)[..., 0]  # [n_tokens, k, n_rows]
    total: Double = (_double(weights)[..., None] * each).sum(axis=1)
    return total.astype(x.dtype)


def expert_matmul(
    x: Array, offsets: Ints, token_idx: Ints | None, weight: Array
) -> Array:
    """Multiply by the matrix of each expert, bucket by bucket (see expert_sort).

    Shapes: x [n_tokens, dim_in] gathered by token_idx [n_tokens * k], or already
    bucketed [n_tokens * k, dim_in] without one; offsets [n_experts + 1]; weight
    [n_experts, n_rows, dim_in]; result [n_tokens * k, n_rows] in bucket order.
    """
    gathered = x if token_idx is None else x[token_idx]
    y = np.empty((gathered.shape[0], weight.shape[1]), x.dtype)
    for expert in range(weight.shape[0]):
        rows = slice(int(offsets[expert]), int(offsets[expert + 1]))
        if rows.start < rows.stop:
            y[rows] = matmul(gathered[rows], weight[expert])
    return y


def expert_combine(y: Array, perm: Ints, weights: Array) -> Array:
    """Gather the weighted outputs of each token's experts, in slot order.

    Shapes: y [n_tokens * k, dim] in bucket order; perm, weights [n_tokens, k]; result
    [n_tokens, dim].
    """
    weighted: Double = _double(weights)[:, :, None] * y[perm]  # [n_tokens, k, dim]
    total: Double = weighted.sum(axis=1)
    return total.astype(y.dtype)


def ple_combine(
    pp: Array,
    pe: Array,
    weight: Array,
    scale_pp: float,
    scale_pe: float,
    eps: float,
) -> Array:
    """Combine projected and looked-up per-layer inputs.

    (rms(pp * scale_pp) * weight + pe * scale_pe) / sqrt(2), the norm per group of
    per_layer_dim; scale_pp is dim^-0.5 and scale_pe sqrt(per_layer_dim).
    Shapes: pp, pe, result [n_tokens, n_layers * per_layer_dim]; weight [per_layer_dim].
    """
    grouped = (pp.shape[0], -1, weight.shape[0])
    normed = _rms(_double(pp).reshape(grouped) * scale_pp, eps) * weight
    total = normed + _double(pe).reshape(grouped) * scale_pe
    return (total * 2**-0.5).reshape(pp.shape).astype(pp.dtype)


def softcap(logits: Array, cap: float) -> Array:
    """Squash into (-cap, cap) by tanh; what is not finite stays as it is."""
    capped = cap * np.tanh(_double(logits) / cap)
    return np.where(np.isfinite(logits), capped, logits).astype(logits.dtype)


def last_rows(x: Array, n: int) -> Array:
    """Return the last n rows.

    Shapes: x [n_rows, dim]; result [n, dim].
    """
    return x[x.shape[0] - n :].copy()


def copy(x: Array | Ints, n: int) -> Array | Ints:
    """Return the first n rows.

    Shapes: x [n_rows, 4]; result [n, 4].
    """
    return x[:n].copy()


def repack(
    raw: U8, block_bytes: int, scale_offset: int, scale_bytes: int
) -> tuple[U8, U8]:
    """Split blocks into two planes: the bodies of all blocks, and their scales.

    Shapes: raw [n_blocks * block_bytes]; bodies
    [n_blocks * (block_bytes - scale_bytes)]; scales [n_blocks * scale_bytes].
    """
    blocks = raw.reshape(-1, block_bytes)
    end = scale_offset + scale_bytes
    bodies = np.concatenate([blocks[:, :scale_offset], blocks[:, end:]], axis=1)
    return bodies.reshape(-1), blocks[:, scale_offset:end].reshape(-1)


def sample_keys(
    logits: Array,
    suppressed: Ints,
    counts: Ints,
    penalties: tuple[float, float, float],
    chunk: int,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Order logits by integers: 0 if suppressed, the numbers, infinities, NaN.

    Suppressed tokens whose logits are not finite are not below all others.
    Penalties are for repetition, presence and frequency, of tokens with a count above
    0: positive logits are divided by the first, others multiplied; the second is
    subtracted, and the third as often as the count says.
    Shapes: logits, counts [n_vocab]; suppressed: ids; keys [n_vocab], and the largest
    of each chunk of them.
    """
    values = logits.astype(np.float32)
    by, presence, frequency = np.array(penalties, np.float32)
    scaled = np.where(values > 0, values / by, values * by)
    less = counts.astype(np.float32) * frequency + presence
    values = np.where(counts > 0, scaled - less, values)
    largest = np.finfo(np.float32).max
    values = np.clip(values, -largest, largest) + np.float32(0)  # no -0
    bits = values.view(np.uint32)
    keys = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    keys[suppressed] = 0
    off = ~np.isfinite(logits)
    keys[off] = np.abs(logits.astype(np.float32)).view(np.uint32)[off] | 1 << 31
    starts = np.arange(0, len(keys), chunk)
    return keys, np.maximum.reduceat(keys, starts)
