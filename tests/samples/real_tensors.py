"""The released models' sizes, and the tensors of a file: names, shapes, types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from oracle.quant import FORMATS

Dims = tuple[int, ...]  # in ggml order


class Sized(Protocol):
    """What every model's sizes say: how many layers there are, and share keys."""

    @property
    def n_layers(self) -> int:
        """Return the number of layers."""

    @property
    def n_shared(self) -> int:
        """Return how many layers at the end have no keys and values of their own."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a released model; pairs are (global, sliding)."""

    n_layers: int
    period: int  # every period-th layer is global
    dim: int
    ffn_dim: int
    n_heads: int
    n_kv_heads: tuple[int, int]
    window: int
    n_ctx: int
    n_shared: int = 0  # layers at the end without keys and values of their own
    shared_ffn_dim: int = 0
    per_layer_dim: int = 0
    n_experts: int = 0
    top_k: int = 0
    expert_ffn_dim: int = 0
    head_dims: tuple[int, int] = (512, 256)


MODELS = {
    "e2b": Shape(
        *(35, 5, 1536, 6144, 8, (1, 1), 512, 131072),
        n_shared=20,
        shared_ffn_dim=12288,
        per_layer_dim=256,
    ),
    "e4b": Shape(
        *(42, 6, 2560, 10240, 8, (2, 2), 512, 131072), n_shared=18, per_layer_dim=256
    ),
    "12b": Shape(48, 6, 3840, 15360, 16, (1, 8), 1024, 262144),
    "26b-a4b": Shape(
        *(30, 6, 2816, 2112, 16, (2, 8), 1024, 262144),
        n_experts=128,
        top_k=8,
        expert_ffn_dim=704,
    ),
    "31b": Shape(60, 6, 5376, 21504, 32, (4, 16), 1024, 262144),
}

# By type of a file: its number, what is chosen for embeddings, for the attn_v and
# ffn_down that deserve more bits, and for everything else.
FILE_TYPES = {
    "Q4_K_M": (15, "Q6_K", "Q6_K", "Q4_K"),
    "Q8_0": (7, "Q8_0", "Q8_0", "Q8_0"),
    "Q4_0": (2, "Q6_K", "Q4_0", "Q4_0"),
}
FALLBACKS = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}  # for rows that are not whole blocks


def is_sliding(shape: Shape, layer: int) -> bool:
    """Say whether a layer of the whole model slides."""
    return (layer + 1) % shape.period != 0


def kept_layers(shape: Sized, layers: int | Sequence[int] | None) -> list[int]:
    """Choose layers of the whole model: those named, or so many, or all.

    So many are the last, then those that it needs first: layers that share keys and
    values come with their donors, both kinds.
    """
    if isinstance(layers, Sequence):
        return sorted(layers)
    last, first_shared = shape.n_layers - 1, shape.n_layers - shape.n_shared
    order = [last, *range(last)]
    if shape.n_shared:
        donors = [first_shared - 1, first_shared - 2]
        order = [*donors, last, last - 1, *range(last)]
    chosen = list(dict.fromkeys(order))
    return sorted(chosen[: shape.n_layers if layers is None else max(layers, 1)])


def n_shared(shape: Shape, kept: list[int]) -> int:
    """Return how many of the kept layers share keys and values."""
    return sum(layer >= shape.n_layers - shape.n_shared for layer in kept)


def ffn_dim(shape: Shape, layer: int) -> int:
    """Return a layer's feed-forward width."""
    shared = layer >= shape.n_layers - shape.n_shared
    return shape.shared_ffn_dim if shared and shape.shared_ffn_dim else shape.ffn_dim


def tensors(
    shape: Shape,
    kept: list[int],
    n_vocab: int,
    types: tuple[int, str, str, str],
    ollama: bool = False,
) -> Iterator[tuple[str, Dims, str]]:
    """Yield name, dims and type of every tensor, in file order.

    Ollama's quantiser leaves the table of per-layer embeddings as it is, and quantises
    their projection; llama.cpp does the opposite.
    """
    _, embedding, _, common = types
    yield "output_norm.weight", (shape.dim,), "F32"
    if shape.per_layer_dim:
        width = shape.per_layer_dim * len(kept)
        name = "per_layer_token_embd.weight"
        kind = "BF16" if ollama else fitted(embedding, width)
        yield name, (width, n_vocab), kind
        kind = common if ollama else "BF16"
        yield "per_layer_model_proj.weight", (shape.dim, width), kind
        yield "per_layer_proj_norm.weight", (shape.per_layer_dim,), "F32"
    yield "rope_freqs.weight", (shape.head_dims[0] // 2,), "F32"
    yield "token_embd.weight", (shape.dim, n_vocab), fitted(embedding, shape.dim)
    for number, layer in enumerate(kept):
        for name, dims in layer_tensors(shape, layer).items():
            kind = "F32"
            if len(dims) > 1 and name != "ffn_gate_inp.weight":
                more = deserves_more_bits(shape, layer, name)
                kind = fitted(types[2] if more else common, dims[0])
            yield f"blk.{number}.{name}", dims, kind


def fitted(kind: str, row: int) -> str:
    """Return a type, or what stands in for it where rows are not whole blocks."""
    return FALLBACKS[kind] if row % FORMATS[kind].block_size else kind


def deserves_more_bits(shape: Shape, layer: int, name: str) -> bool:
    """Say whether `_K_M` files give this matrix six bits instead of four.

    `ffn_down` is counted by layer, `attn_v` among the layers that have one.
    """
    n, i = shape.n_layers, layer
    if name == "attn_v.weight":
        owners = [j for j in range(n) if has_v(shape, j)]
        n, i = len(owners), owners.index(layer)
    elif name not in ("ffn_down.weight", "ffn_down_exps.weight"):
        return False
    return gets_more_bits(i, n)


def gets_more_bits(i: int, n: int) -> bool:
    """Say whether the one numbered i of n matrices is among those with six bits."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def has_v(shape: Shape, layer: int) -> bool:
    """Say whether a layer projects values; else they are its keys."""
    return is_sliding(shape, layer) or bool(shape.per_layer_dim)


def layer_tensors(shape: Shape, layer: int) -> dict[str, Dims]:
    """Return a layer's tensors by name."""
    slides = is_sliding(shape, layer)
    dim, ffn, head = shape.dim, ffn_dim(shape, layer), shape.head_dims[slides]
    q, kv = shape.n_heads * head, shape.n_kv_heads[slides] * head
    named: dict[str, Dims] = {
        "attn_k.weight": (dim, kv),
        "attn_k_norm.weight": (head,),
        "attn_norm.weight": (dim,),
        "attn_output.weight": (q, dim),
        "attn_q.weight": (dim, q),
        "attn_q_norm.weight": (head,),
        **({"attn_v.weight": (dim, kv)} if has_v(shape, layer) else {}),
        "ffn_down.weight": (ffn, dim),
        "ffn_gate.weight": (dim, ffn),
        "ffn_norm.weight": (dim,),
        "ffn_up.weight": (dim, ffn),
        "layer_output_scale.weight": (1,),
        "post_attention_norm.weight": (dim,),
        "post_ffw_norm.weight": (dim,),
    }
    if shape.per_layer_dim:
        named["inp_gate.weight"] = (dim, shape.per_layer_dim)
        named["post_norm.weight"] = (dim,)
        named["proj.weight"] = (shape.per_layer_dim, dim)
    return named | (expert_tensors(shape) if shape.n_experts else {})


def expert_tensors(shape: Shape) -> dict[str, Dims]:
    """Return what a layer with experts has besides."""
    dim, ffn, n = shape.dim, shape.expert_ffn_dim, shape.n_experts
    return {
        "ffn_down_exps.scale": (n,),
        "ffn_down_exps.weight": (ffn, dim, n),
        "ffn_gate_inp.scale": (dim,),
        "ffn_gate_inp.weight": (dim, n),
        "ffn_gate_up_exps.weight": (dim, 2 * ffn, n),
        "post_ffw_norm_1.weight": (dim,),
        "post_ffw_norm_2.weight": (dim,),
        "pre_ffw_norm_2.weight": (dim,),
    }
