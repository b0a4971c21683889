"""Caches with keys and values in them, rotary tables, and raw heads in one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oracle.ops import HeadRules
from pyodide_app.graph import rope as tables
from pyodide_app.graph.kv_cache import LayerCache, make_layer
from pyodide_app.graph.tensors import Heads, Rope, Tensor
from tests.support.gpu import Bench, random_input

KINDS = {"f16": np.float16, "f32": np.float32}
# What storage may move an element by: half a unit in the last place, and below 2^-14 an
# f16 is subnormal, its spacing 2^-24.
STORAGE = {"f32": (0.0, 0.0), "f16": (2.0**-11, 2.0**-24)}
EPS = 1e-6
THETA = 1e6
# What other families do with raw heads, for make_heads.
RULES: dict[str, dict[str, Any]] = {
    "llama": {"neighbours": True, "v_norm": False, "scale": 0.125, "normed": False},
    "qwen2": {"v_norm": False, "scale": 0.125, "normed": False, "biased": True},
    "qwen3": {"v_norm": False, "scale": 0.125},
    "all": {"neighbours": True, "v_norm": True, "scale": 3.0, "biased": True},
}


def make_cache(
    bench: Bench, kv: str, n_ctx: int, chunk: int, window: int, heads: int, dim: int
) -> LayerCache:
    """Describe a layer's cache, freed with the bench."""
    cache = make_layer(
        "test",
        kv,
        n_ctx=n_ctx,
        chunk=chunk,
        window=window,
        n_kv_heads=heads,
        head_dim=dim,
    )
    bench.buffers += [cache.k, cache.v]
    return cache


def representable(rows: np.ndarray, kv: str) -> np.ndarray:
    """Round to what the cache can hold."""
    return rows.astype(KINDS[kv]).astype(np.float32)


def fill(bench: Bench, cache: LayerCache, keys: np.ndarray, values: np.ndarray) -> None:
    """Store positions 0.. in their slots; later ones overwrite, as in a ring.

    Other slots hold what an earlier request may have left there.
    """
    shape = (cache.n_slots, cache.n_kv_heads, cache.head_dim)
    for buffer, rows in ((cache.k, keys), (cache.v, values)):
        slots = np.full(shape, np.nan, KINDS[cache.kv])
        begin = max(0, len(rows) - cache.n_slots)
        slots[np.arange(begin, len(rows)) % cache.n_slots] = rows[begin:]
        bench.device.write(buffer, 0, slots.tobytes())


def stored(bench: Bench, cache: LayerCache) -> tuple[np.ndarray, np.ndarray]:
    """Return the slots of keys and values, [n_slots, n_kv_heads, head_dim]."""
    shape = (cache.n_slots, cache.n_kv_heads, cache.head_dim)
    kind = KINDS[cache.kv]
    k, v = (bench.read(buffer, kind).reshape(shape) for buffer in (cache.k, cache.v))
    return k.astype(np.float32), v.astype(np.float32)


def assert_stored(
    got: np.ndarray, wanted: np.ndarray, kv: str, rtol: float, atol: float
) -> None:
    """Compare what a cache holds: the tolerance, and the rounding of its type."""
    relative, absolute = STORAGE[kv]
    scale = np.abs(wanted).max(axis=-1, keepdims=True)
    bound = atol + rtol * scale + relative * np.abs(wanted) + absolute
    assert (np.abs(got.astype(np.float64) - wanted) <= bound).all()


def make_rope(
    bench: Bench,
    theta: float,
    head_dim: int,
    n_pairs: int,
    n_ctx: int,
    pairs: str = "halves",
) -> Rope:
    """Upload rotary tables of a head whose first pairs rotate."""
    factors = [1.0] * n_pairs + [1e30] * (head_dim // 2 - n_pairs)
    data = tables.make_table(theta, head_dim, factors, n_ctx) or bytes(16)
    tensor = bench.tensor(np.frombuffer(data, np.float32))
    assert tensor.fixed is not None
    return Rope(tensor.fixed, n_pairs, tables.fine_positions(n_ctx), pairs)


def pieces(bench: Bench, arrays: list[np.ndarray]) -> list[Tensor]:
    """Put arrays into one tensor, each at a multiple of 64 elements."""
    begins, flat = [], np.zeros(0, np.float32)
    for array in arrays:
        begins.append(flat.size)
        padding = np.full(-array.size % 64, np.nan, np.float32)
        flat = np.concatenate([flat, array.reshape(-1), padding])
    together = bench.tensor(flat)
    return [
        together.piece(begin, (len(array), array.size // len(array)))
        for begin, array in zip(begins, arrays, strict=True)
    ]


@dataclass(frozen=True)
class RawHeads:
    """What the oracle is given: [n, heads, head_dim], norms, and what else is done."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_norm: np.ndarray | None
    k_norm: np.ndarray | None
    rules: HeadRules


def make_heads(
    bench: Bench,
    wanted: Mapping[str, Any],
    n: int,
    n_heads: int,
    n_kv_heads: int,
    dim: int,
    n_pairs: int,
    n_ctx: int = 1024,
) -> tuple[Heads, RawHeads]:
    """Make random heads of a family, on the device and for the oracle.

    `wanted` are fields of HeadRules, and whether heads are `normed` and `biased`.
    """
    rules = dict(wanted)
    normed, biased = rules.pop("normed", True), rules.pop("biased", False)
    counts = (n_heads, n_kv_heads, n_kv_heads)
    arrays = [random_input(i, n, h * dim, scale=3.0) for i, h in enumerate(counts)]
    norms = [random_input(i, dim) for i in (3, 4)] if normed else []
    biases = [random_input(5 + i, h * dim) for i, h in enumerate(counts)]
    biases = biases if biased else []
    placed = bench.vectors(*norms, *biases) if norms or biases else []
    q_norm, k_norm = placed[: len(norms)] or (None, None)
    rope = make_rope(
        bench,
        THETA,
        dim,
        n_pairs,
        n_ctx,
        "neighbours" if rules.get("neighbours") else "halves",
    )
    heads = Heads(
        *pieces(bench, arrays),
        q_norm,
        k_norm,
        rope,
        EPS,
        rules.get("v_norm", True),
        rules.get("scale", 1.0),
        dict(zip("qkv", placed[len(norms) :], strict=False)) if biased else {},
    )
    names = ("q_bias", "k_bias", "v_bias")
    all_rules = HeadRules(**rules, **dict(zip(names, biases, strict=False)))
    shaped = [a.reshape(n, h, dim) for a, h in zip(arrays, counts, strict=True)]
    return heads, RawHeads(*shaped, *(norms or (None, None)), all_rules)
