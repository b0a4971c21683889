"""Llama's text decoder: Llama 2 and 3, Mistral, SmolLM2 and others are such files.

Mixtral is one with routed layers, whose experts are as wide as `feed_forward_length`.

    ours         GGUF                      Hugging Face
    n_layers     block_count               num_hidden_layers
    head_dim     attention.key_length      head_dim, or dim / n_heads
    n_dims       rope.dimension_count      (of a head's elements, those that turn)
    rope_theta   rope.freq_base            rope_theta

Queries and keys turn in neighbouring pairs: the converter has permuted the rows of
attn_q and attn_k for it. Llama 3.1 and later stretch angles by the tensor rope_freqs.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyodide_app import errors
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Residual, Tensor
from pyodide_app.models.blocks import attention, gated_mlp, routed
from pyodide_app.models.config import (
    MAX_LAYERS,
    Config,
    Layer,
    Reader,
    RopeSpec,
    check_heads,
)
from pyodide_app.models.experts import (
    check_routed,
    expert_tensors,
    has_experts,
    read_experts,
)
from pyodide_app.models.family import (
    Expected,
    Family,
    Model,
    attention_tensors,
    mlp_tensors,
)

_SMALLEST_CONTEXT = 2048  # where a file names none
_THETA = 1e4


def read(reader: Reader) -> Config:
    """Read a file's metadata.

    Raises FileFormatError or ShapeError naming the key or tensor at fault.
    """
    return read_plain(reader, "Llama", "neighbours")


def read_plain(reader: Reader, title: str, pairs: str, theta: float = _THETA) -> Config:
    """Read a model of full attention, SwiGLU and plain norms, dense or routed."""
    n_vocab = reader.n_vocab(title)
    dim = reader.size("embedding_length")
    n_layers = reader.size("block_count", most=MAX_LAYERS)
    n_heads = reader.per_layer("attention.head_count", n_layers)
    head_dim = read_head_dim(reader, dim, n_heads[0])
    n_kv_heads = n_heads
    if reader.has("attention.head_count_kv"):
        n_kv_heads = reader.per_layer("attention.head_count_kv", n_layers)
    ffn_dims = reader.per_layer("feed_forward_length", n_layers)
    layers = [
        check_heads(
            Layer(
                index=i,
                head_dim=head_dim,
                n_heads=n_heads[i],
                n_kv_heads=n_kv_heads[i],
                ffn_dim=ffn_dims[i],
                window=0,
                rope=0,
                donor=i,
                score_scale=head_dim**-0.5,
                has_experts=has_experts(reader, i),
            )
        )
        for i in range(n_layers)
    ]
    config = Config(
        n_vocab=n_vocab,
        dim=dim,
        n_ctx_train=reader.context(_SMALLEST_CONTEXT),
        norm_eps=reader.positive("attention.layer_norm_rms_epsilon", most=1.0),
        logit_softcap=0.0,
        embed_scale=1.0,
        unit="swiglu",
        v_norm=False,
        ropes=(_rope(reader, head_dim, pairs, theta),),
        layers=tuple(layers),
        experts=read_experts(reader),
    )
    return check_routed(config)


def read_head_dim(reader: Reader, dim: int, n_heads: int) -> int:
    """Return the size of a head: a key says it where it is not dim / n_heads."""
    head_dim = reader.size("attention.key_length", max(1, dim // n_heads))
    value_dim = reader.size("attention.value_length", head_dim)
    if value_dim != head_dim:
        raise errors.UnsupportedArchitectureError(
            f"metadata key {reader.key('attention.value_length')}",
            found=str(value_dim),
            expected=f"{head_dim}, the size of a query's and key's head",
        )
    return head_dim


def _rope(reader: Reader, head_dim: int, pairs: str, theta: float) -> RopeSpec:
    n_dims = reader.size("rope.dimension_count", head_dim)
    if n_dims > head_dim or n_dims % 2 or (n_dims < head_dim and pairs == "halves"):
        raise errors.UnsupportedArchitectureError(
            f"metadata key {reader.key('rope.dimension_count')}",
            found=str(n_dims),
            expected=f"{head_dim}, the size of a head",
        )
    return RopeSpec(
        "rope",
        reader.positive("rope.freq_base", theta),
        n_dims,
        n_dims // 2,
        pairs,
        reader.linear_rope_scale(),
        from_file=True,
    )


def layer_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer; queries, keys and values may have biases."""
    has_biases = f"blk.{layer.index}.attn_q.bias" in tensors
    plain = plain_tensors(config, layer, tensors)
    return plain + (biases(layer) if has_biases else [])


def plain_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer that has nothing beside matrices and their norms."""
    attention = attention_tensors(config, layer)
    if not layer.has_experts:
        return [*attention, *mlp_tensors(config, layer)]
    norm = ("ffn_norm.weight", (config.dim,), False)
    return [*attention, norm, *expert_tensors(config, layer, tensors)]


def biases(layer: Layer) -> list[Expected]:
    """List the biases of a layer's queries, keys and values."""
    q, kv = layer.n_heads * layer.head_dim, layer.n_kv_heads * layer.head_dim
    widths = {"attn_q.bias": q, "attn_k.bias": kv, "attn_v.bias": kv}
    return [(name, (width,), False) for name, width in widths.items()]


def run_layer(
    ops: Ops, model: Model, layer: Layer, x: Residual, inputs: Tensor | None
) -> Residual:
    """Run one layer on the residual stream [n, dim]."""
    i = layer.index
    x, h = ops.norm(x, model.weight("attn_norm.weight", i))
    branch = attention(ops, model, layer, ops.name("attn_norm", h))
    x = ops.add(x, branch, None, "attn_out")
    x, h = ops.norm(x, model.weight("ffn_norm.weight", i))
    feed_forward = routed if layer.has_experts else gated_mlp
    branch = feed_forward(ops, model, layer, ops.name("ffn_norm", h))
    return ops.add(x, ops.name("ffn_out", branch), None, "l_out")


FAMILY = Family(
    architecture="llama",
    title="Llama",
    read=read,
    layer_tensors=layer_tensors,
    run_layer=run_layer,
    is_strict=True,
    # Many makers' models are such files: what Ollama takes where none is said.
    sampling={"temperature": 0.8, "top_k": 40, "top_p": 0.9},
)
