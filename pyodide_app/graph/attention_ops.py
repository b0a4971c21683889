"""Attention ops: rotary position, the KV cache, attention itself."""

from __future__ import annotations

from pyodide_app.graph.plan import whole
from pyodide_app.graph.recorder import Recorder
from pyodide_app.graph.tensors import Rope, Tensor, Weight
from pyodide_app.kv_cache import LayerCache


class AttentionOps(Recorder):
    """Part of `Ops`."""

    def head_norm_rope(
        self, x: Tensor, weight: Weight, rope: Rope, head_dim: int, eps: float
    ) -> Tensor:
        """Norm each head and rotate it by position: [n, n_heads * head_dim]."""
        n, width = x.shape
        y = Tensor((n, width))
        self._record(
            "head_norm_rope",
            {
                "state": self._state,
                "x": x,
                "weight": self._vector(weight),
                "rope": Tensor((rope.table.size // 4,), rope.table),
                "y": y,
            },
            {
                "head_dim": head_dim,
                "n_pairs": rope.n_pairs,
                "fine": rope.fine,
                "eps": eps,
            },
            (width // head_dim, n, 1),
            overrides={"WG": min(64, self.tuning.threads)},
        )
        return y

    def kv_write(
        self,
        k: Tensor,
        v: Tensor,
        weight: Weight,
        rope: Rope,
        cache: LayerCache,
        eps: float,
    ) -> None:
        """Norm and rotate keys, norm values, and store both in the cache.

        Shapes: k, v [n, n_kv_heads * head_dim], as the projections left them.
        """
        self._record(
            "kv_write",
            {
                "state": self._state,
                "k": k,
                "v": v,
                "weight": self._vector(weight),
                "rope": Tensor((rope.table.size // 4,), rope.table),
                "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
                "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
            },
            {
                "head_dim": cache.head_dim,
                "n_kv_heads": cache.n_kv_heads,
                "n_pairs": rope.n_pairs,
                "fine": rope.fine,
                "n_slots": cache.n_slots,
                "eps": eps,
            },
            (cache.n_kv_heads, k.shape[0], 2),
            slots={"kv": cache.kv},
            overrides={"WG": min(64, self.tuning.threads)},
        )

    def attention(self, q: Tensor, cache: LayerCache) -> Tensor:
        """Attend to the cache: q [n, n_heads * head_dim] -> the same shape."""
        n, width = q.shape
        n_heads = width // cache.head_dim
        y = Tensor((n, width))
        self._record(
            "attention",
            {
                "state": self._state,
                "q": q,
                "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
                "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
                "y": y,
            },
            {
                "n_heads": n_heads,
                "n_kv_heads": cache.n_kv_heads,
                "n_slots": cache.n_slots,
                "window": cache.window,
            },
            (n_heads, n, 1),
            slots={"kv": cache.kv},
            consts={"HEAD_DIM": cache.head_dim, "WG": self.tuning.attention_threads},
        )
        return y
