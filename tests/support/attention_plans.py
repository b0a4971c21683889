"""Plans of one layer's attention, recorded without a GPU, for many sizes of heads."""

from __future__ import annotations

from collections.abc import Iterator

from pyodide_app.gguf.types import BY_NAME
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.kv_cache import make_layer
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, Dispatch, View
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Heads, Part, Rope, Tensor, Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning

# (n_heads, n_kv_heads, head_dim, window): those of the released models and of ours,
# then groups and sizes that no model has.
RELEASED = (
    *((8, 1, 256, 512), (8, 1, 512, 0), (8, 2, 256, 512), (8, 2, 512, 0)),
    *((16, 8, 256, 1024), (16, 2, 512, 0), (16, 1, 512, 0)),
    *((32, 16, 256, 1024), (32, 4, 512, 0), (4, 2, 32, 64), (4, 1, 64, 0)),
)
ODD = (
    *((1, 1, 8, 0), (64, 1, 8, 32), (6, 2, 24, 0), (5, 1, 40, 7), (12, 4, 96, 0)),
    *((32, 1, 512, 0), (64, 1, 512, 0), (128, 1, 256, 0), (1, 1, 1024, 0)),
)
CONTEXTS = (1, 100, 8192, 262144)


def attention_dispatches(
    tune: Tuning,
    sizes: tuple[int, int, int, int],
    n_tokens: int,
    n_ctx: int = 8192,
    kv: str = "f16",
) -> tuple[Dispatch, ...]:
    """Return what one layer's attention launches."""
    n_heads, n_kv_heads, head_dim, window = sizes
    cache = make_layer(
        "test",
        kv,
        n_ctx=n_ctx,
        chunk=tune.chunk,
        window=window,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
    )
    vector = Buffer("vector", 4 * head_dim)
    part = Part(View(vector, 0, vector.size), 0, 1)
    norm = Weight("norm", BY_NAME["F32"], (head_dim,), (part,))
    table = Buffer("rope", 4 * head_dim)
    rope = Rope(View(table, 0, table.size), head_dim // 2, 1)
    n_raw = n_tokens * (n_heads + 2 * n_kv_heads) * head_dim
    raw = Tensor((n_raw,), View(Buffer("raw", 4 * n_raw), 0, 4 * n_raw))
    q = raw.piece(0, (n_tokens, n_heads * head_dim))
    k = raw.piece(n_tokens * n_heads * head_dim, (n_tokens, n_kv_heads * head_dim))
    ops = Ops("test", tune, Arena(), Buffer("state", STATE_BYTES), n_tokens)
    ops.settle(ops.attention(Heads(q, k, k, norm, norm, rope, 1e-6), cache))
    return ops.finish()[0].dispatches


def every_dispatch() -> Iterator[Dispatch]:
    """Yield the launches of all sizes, contexts and tunings."""
    for tune in (SOFTWARE, HARDWARE):
        for sizes in (*RELEASED, *ODD):
            for n_ctx in CONTEXTS:
                for n_tokens in (1, 2, 256):
                    yield from attention_dispatches(tune, sizes, n_tokens, n_ctx)
