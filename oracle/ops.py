"""Every kernel as a plain NumPy function: the definition of what a shader computes.

Sums run in float64. Results have the type of the activations that come in: float32
where a shader is compared, float64 where a whole model is evaluated as exactly as
possible.
Words in shapes: n_tokens, dim (hidden size), n_heads, n_kv_heads, head_dim, n_experts,
k (experts per token), n_rows (outputs of an expert).
"""

from __future__ import annotations

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
    """Divide by the root mean square of the last axis, in float64."""
    wide = _double(x)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
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
    weight: Array,
    layer_scale: float | None,
    next_weight: Array | None,
    eps: float,
) -> tuple[Array, Array | None]:
    """Add a normed branch to the residual and norm the sum for the next branch.

    x' = (x + rms(branch) * weight) * layer_scale and y = rms(x') * next_weight; y is
    None without a next weight.
    Shapes: x, branch, x', y [n_tokens, dim]; weight, next_weight [dim].
    """
    total = _double(x) + _rms(branch, eps) * weight
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


def _rotate(x: Double, positions: Ints, theta: float, n_rotated_pairs: int) -> Double:
    """Turn pairs (i, i + head_dim / 2), i < n_rotated_pairs, by their angle.

    The angle is position * theta^(-2 i / head_dim): the exponent always counts the
    whole head, however few pairs rotate.
    Shapes: x, result [n_tokens, n_heads, head_dim]; positions [n_tokens].
    """
    half = x.shape[-1] // 2
    pair = np.arange(n_rotated_pairs)
    frequency = theta ** (-2.0 * pair / x.shape[-1])
    angle = positions.astype(np.float64)[:, None, None] * frequency
    u, v = x[..., :n_rotated_pairs], x[..., half : half + n_rotated_pairs]
    rotated = x.copy()
    rotated[..., :n_rotated_pairs] = u * np.cos(angle) - v * np.sin(angle)
    rotated[..., half : half + n_rotated_pairs] = v * np.cos(angle) + u * np.sin(angle)
    return rotated


def head_norm_rope(
    q: Array,
    weight: Array,
    positions: Ints,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
) -> Array:
    """Norm each head with the weight, then rotate it by its position.

    Shapes: q, result [n_tokens, n_heads, head_dim]; weight [head_dim]; positions
    [n_tokens].
    """
    normed = _rms(q, eps) * weight
    return _rotate(normed, positions, theta, n_rotated_pairs).astype(q.dtype)


def kv_write(
    k_raw: Array,
    v_raw: Array,
    weight: Array,
    positions: Ints,
    theta: float,
    n_rotated_pairs: int,
    eps: float,
) -> tuple[Array, Array]:
    """Return what the cache stores: K normed with weight and rotated, V only normed.

    Shapes: k_raw, v_raw, K, V [n_tokens, n_kv_heads, head_dim]; weight [head_dim];
    positions [n_tokens].
    """
    k = head_norm_rope(k_raw, weight, positions, theta, n_rotated_pairs, eps)
    return k, rms_norm(v_raw, None, eps)


def attention(
    q: Array, k: Array, v: Array, positions: Ints, window: int | None
) -> Array:
    """Attend causally with scale 1; with a window, to exactly that many keys.

    Key j has position j. The query at position p sees keys p - window < j <= p. Query
    head h reads key head h / (n_heads / n_kv_heads).
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
    weights = softmax(np.where(hidden, -np.inf, queries @ keys))
    return (weights @ values).transpose(1, 0, 2).astype(q.dtype)


def softmax(x: Array) -> Double:
    """Exponentiate and normalise the last axis, in float64.

    Entries of +inf share the mass equally; a row of -inf alone gives zeros.
    """
    wide = _double(x)
    top = wide.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shifted = np.where(wide == top, 0.0, wide - top)
    exps = np.where(np.isneginf(wide), 0.0, np.exp(shifted))
    total = exps.sum(axis=-1, keepdims=True)
    result: Double = exps / np.where(total > 0, total, 1.0)
    return result


def gelu_tanh(x: Array) -> Double:
    """Compute the tanh form of GELU, in float64."""
    z = _double(x)
    result: Double = 0.5 * z * (1 + np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3)))
    return result


def geglu(gate: Array, up: Array) -> Array:
    """Multiply gelu_tanh(gate) by up; all shapes equal."""
    return (gelu_tanh(gate) * up).astype(gate.dtype)


def router_top_k(
    logits: Array, per_expert_scale: Array, k: int
) -> tuple[npt.NDArray[np.int32], Array]:
    """Choose k experts per token and their weights.

    Softmax over all experts, the k largest (ties: the lower index) in falling order,
    renormalised to sum 1, then times the scale of each expert. NaN counts as -inf; a
    sum of 0 gives equal weights.
    Shapes: logits [n_tokens, n_experts]; per_expert_scale [n_experts]; results
    [n_tokens, k].
    """
    p = softmax(np.where(np.isnan(logits), -np.inf, logits))
    idx = np.argsort(-p, axis=-1, kind="stable")[:, :k]
    chosen = np.take_along_axis(p, idx, axis=-1)
    total = chosen.sum(axis=-1, keepdims=True)
    chosen = np.where(total > 0, chosen / np.where(total > 0, total, 1.0), 1.0 / k)
    weights = chosen * _double(per_expert_scale)[idx]
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


def expert_matvec(x: Array, idx: Ints, weight: Array) -> Array:
    """Multiply by the matrix of each assigned expert, in the order of assignment.

    Shapes: x [n_tokens, dim_in] (one vector for all experts of a token) or
    [n_tokens * k, dim_in] (one per assignment); idx [n_tokens, k]; weight
    [n_experts, n_rows, dim_in]; result [n_tokens * k, n_rows], row t * k + j.
    """
    flat = idx.reshape(-1)
    per_assignment = x if x.shape[0] == flat.size else np.repeat(x, idx.shape[1], 0)
    y = np.empty((flat.size, weight.shape[1]), x.dtype)
    for expert in np.unique(flat):
        rows = flat == expert
        y[rows] = matmul(per_assignment[rows], weight[expert])
    return y


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
    """Squash into (-cap, cap) by tanh."""
    return (cap * np.tanh(_double(logits) / cap)).astype(logits.dtype)


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
