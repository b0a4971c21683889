"""The kernels of attention: norms and rotation of heads, the KV cache, attention."""

from __future__ import annotations

from collections.abc import Mapping

from pyodide_app.graph.attention_shape import decode_shape, prefill_shape
from pyodide_app.graph.kv_cache import LayerCache
from pyodide_app.graph.plan import whole
from pyodide_app.graph.recorder import Recorder
from pyodide_app.graph.tensors import Heads, Splits, Tensor, Weight, place_of

_Raw = tuple[dict[str, Tensor], dict[str, int | float], dict[str, int]]
_STATS = 2  # numbers per row beside its sums, in the partials of a split


class AttentionKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def head_norm_rope(self, heads: Heads, cache: LayerCache) -> Tensor:
        """Norm and rotate the queries, and store keys and values: the shape of q."""
        y = Tensor((4,) if heads.q is None else heads.q.shape)
        n_heads = 0 if heads.q is None else heads.q.shape[1] // cache.head_dim
        n_stored = 0 if heads.k is None else 2 * cache.n_kv_heads
        bindings, params, overrides = self._raw(heads, cache)
        self.record(
            "head_norm_rope",
            {**bindings, "y": y},
            {**params, "n_heads": n_heads},
            (n_heads + n_stored, heads.n_tokens, 1),
            slots={"kv": self._kv(cache), "pairs": heads.rope.pairs},
            consts={"HEAD_DIM": cache.head_dim},
            overrides={"WG": min(64, self.tuning.threads), **overrides},
        )
        return y

    def attention_decode(self, heads: Heads, cache: LayerCache) -> Tensor | Splits:
        """Attend with one token: raw heads in, [1, n_heads * head_dim] out."""
        assert heads.q
        n_heads = heads.q.shape[1] // cache.head_dim
        shape = decode_shape(self.tuning, cache, n_heads)
        y = _results(heads.q, cache, shape.n_splits)
        bindings, params, overrides = self._raw(heads, cache)
        self.record(
            "attention_decode",
            {**bindings, "y": y},
            {
                **params,
                "window": cache.window,
                "owns_cache": int(heads.k is not None),
            },
            (cache.n_kv_heads, shape.n_splits, 1),
            slots={"kv": self._kv(cache), "pairs": heads.rope.pairs},
            consts={
                "HEAD_DIM": cache.head_dim,
                "GROUP": shape.group,
                "HEADS": shape.heads,
                "LANES": shape.lanes,
                "TEAMS": shape.teams,
                "KEYS": shape.keys,
            },
            overrides=overrides,
        )
        if shape.n_splits == 1:
            return y
        return Splits(y, heads.q.shape, cache.head_dim, shape.n_splits)

    def attention_prefill(self, q: Tensor, cache: LayerCache) -> Tensor | Splits:
        """Attend to the cache: q [n, n_heads * head_dim], rotated -> the same shape."""
        n, width = q.shape
        n_heads = width // cache.head_dim
        shape = prefill_shape(self.tuning, cache, n_heads)
        y = _results(q, cache, shape.n_splits)
        self.record(
            "attention_prefill",
            {
                "state": self.state,
                "q": q,
                "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
                "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
                "y": y,
            },
            {
                "n_tokens": n,
                "first_token": self.n_tokens - n,
                "n_heads": n_heads,
                "n_kv_heads": cache.n_kv_heads,
                "n_slots": cache.n_slots,
                "window": cache.window,
                "split_keys": shape.split_keys,
            },
            (n_heads // shape.heads, -(-n // shape.tokens), shape.n_splits),
            slots={"kv": self._kv(cache)},
            consts={
                "HEAD_DIM": cache.head_dim,
                "HEADS": shape.heads,
                "TOKENS": shape.tokens,
                "ROWS": shape.rows,
                "KEYS": shape.keys,
                "SPAN": shape.span,
                "COLUMNS": shape.columns,
            },
        )
        if shape.n_splits == 1:
            return y
        return Splits(y, q.shape, cache.head_dim, shape.n_splits)

    def attention_merge(
        self, partials: Tensor, shape: tuple[int, ...], head_dim: int, n_splits: int
    ) -> Tensor:
        """Add up the splits of attention: a tensor of `shape`, in rows of heads."""
        y, threads = Tensor(shape), min(64, self.tuning.threads)
        n_rows = y.size // (4 * head_dim)
        self.record(
            "attention_merge",
            {"partials": partials, "y": y},
            {"n_rows": n_rows},
            (n_rows, -(-head_dim // threads), 1),
            consts={"HEAD_DIM": head_dim, "SPLITS": n_splits, "WG": threads},
        )
        return y

    def _kv(self, cache: LayerCache) -> str:
        """Return how keys and values are read, by a file of shaders/common/."""
        return self.tuning.kv_f16 if cache.kv == "f16" else cache.kv

    def _raw(self, heads: Heads, cache: LayerCache) -> _Raw:
        """Return bindings, params and overrides of a kernel that reads raw heads."""
        some = heads.q or heads.k
        assert some
        # What is missing is not read.
        q, k, v = heads.q or some, heads.k or some, heads.v or some
        raw = some.parent or some
        if any((piece.parent or piece) is not raw for piece in (q, k, v)):
            raise ValueError("queries, keys and values must be pieces of one tensor")
        vectors, places = self._places(
            {
                "q_norm": heads.q_norm,
                "k_norm": heads.k_norm,
                **{f"{part}_bias": heads.biases.get(part) for part in "qkv"},
            }
        )
        bindings = {
            "state": self.state,
            "raw": raw,
            "vectors": vectors,
            "rope": Tensor((heads.rope.table.size // 4,), heads.rope.table),
            "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
            "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
        }
        params = {
            "n_kv_heads": cache.n_kv_heads,
            "q_begin": q.begin,
            "k_begin": k.begin,
            "v_begin": v.begin,
            "first_token": self.n_tokens - heads.n_tokens,
            "n_slots": cache.n_slots,
            "n_pairs": heads.rope.n_pairs,
            "fine": heads.rope.fine,
            **places,
            "eps": heads.eps,
            "scale": heads.scale,
        }
        overrides = {
            "HAS_NORM": int(heads.q_norm is not None or heads.k_norm is not None),
            "V_NORM": int(heads.v_norm),
            "HAS_BIAS": int(bool(heads.biases)),
        }
        return bindings, params, overrides

    def _places(
        self, vectors: Mapping[str, Weight | None]
    ) -> tuple[Tensor, dict[str, int]]:
        """Return the buffer of all these vectors, and where each begins, in words."""
        found = [vector for vector in vectors.values() if vector is not None]
        buffers = {vector.parts[0].view.buffer for vector in found}
        if len(buffers) > 1:
            raise ValueError(f"vectors of {len(buffers)} buffers: {sorted(vectors)}")
        places = {name: place_of(vector) for name, vector in vectors.items()}
        if not buffers:
            return self.none, places
        view = whole(buffers.pop())
        return Tensor((view.size // 4,), view), places


def _results(q: Tensor, cache: LayerCache, n_splits: int) -> Tensor:
    """Return room for the result, or for the sums and statistics of several splits."""
    if n_splits == 1:
        return Tensor(q.shape)
    n_rows = q.size // (4 * cache.head_dim)
    return Tensor((n_splits, n_rows, cache.head_dim + _STATS))
