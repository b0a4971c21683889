"""The KV cache: one ring per layer that owns one, shared by the layers that do not."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.graph.plan import Buffer

KV_BYTES = {"f16": 2, "f32": 4}


@dataclass(frozen=True, slots=True, eq=False)
class LayerCache:
    """Keys and values of one layer.

    Shapes: k, v [n_slots, n_kv_heads, head_dim], position p in slot p % n_slots. A
    global layer has a slot for every position; a sliding one a ring of window + chunk,
    so that a whole chunk may be written before its first token attends.
    """

    k: Buffer
    v: Buffer
    kv: str  # "f16" | "f32": the element type
    n_slots: int
    n_kv_heads: int
    head_dim: int
    window: int  # 0: every earlier position is visible

    @property
    def size(self) -> int:
        """Return the bytes of keys and values together."""
        return self.k.size + self.v.size

    def reaches(self, position: int, n_stored: int) -> bool:
        """Return whether a pass may go on from a position, `n_stored` being written.

        A ring keeps a chunk more than its window: going back further than that, from
        the furthest position that was ever written, needs a fresh start.
        """
        is_ring = self.window > 0 and self.n_slots < n_stored
        return not is_ring or n_stored - position <= self.n_slots - self.window


def make_layer(
    label: str,
    kv: str,
    *,
    n_ctx: int,
    chunk: int,
    window: int,
    n_kv_heads: int,
    head_dim: int,
) -> LayerCache:
    """Describe one layer's cache; nothing is allocated until it is used."""
    n_slots = min(n_ctx, window + chunk) if window else n_ctx
    size = n_slots * n_kv_heads * head_dim * KV_BYTES[kv]
    return LayerCache(
        Buffer(f"{label}.k_cache", size),
        Buffer(f"{label}.v_cache", size),
        kv,
        n_slots,
        n_kv_heads,
        head_dim,
        window,
    )
