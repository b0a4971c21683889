"""Gemma 3's text decoder: sliding and global layers, norms on both sides of a branch.

    ours            GGUF                              Hugging Face
    window          attention.sliding_window          sliding_window
                    attention.sliding_window_pattern  layer_types
    theta           rope.freq_base(_swa)              rope_theta, rope_local_base_freq
    scale           1 / rope.scaling.factor           rope_scaling, of global layers

Published files leave keys out: then five sliding layers come before a global one, the
bases are 1e6 and 1e4, and global layers of 4b, 12b and 27b are stretched by 8. Norm
weights are used as they are: the converter has added the 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyodide_app import errors
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Residual, Tensor
from pyodide_app.models.blocks import attention, gated_mlp
from pyodide_app.models.config import (
    MAX_LAYERS,
    Config,
    Layer,
    Reader,
    RopeSpec,
    check_heads,
)
from pyodide_app.models.family import (
    Expected,
    Family,
    Model,
    attention_tensors,
    mlp_tensors,
)
from pyodide_app.models.llama import read_head_dim

_TITLE = "Gemma 3"
_SMALLEST_CONTEXT = 32768  # of the released models, where a file names none
_PERIOD = 6
_GLOBAL, _SLIDING = 0, 1  # which of the config's ropes
_STRETCHED = (34, 48, 62)  # layers of 4b, 12b and 27b
_STRETCH = 8
_LARGEST = 62  # layers of 27b, whose scores are scaled by dim / n_heads
_UNCAPPED = 26  # layers of 1b, of which old files carry a cap by mistake


def read(reader: Reader) -> Config:
    """Read a file's metadata.

    Raises FileFormatError or ShapeError naming the key or tensor at fault.
    """
    if "dense.0.weight" in reader.tensors or "dense_2.weight" in reader.tensors:
        raise errors.UnsupportedArchitectureError(
            "this is a model of embeddings",
            found="a projection behind the last layer",
            expected="a Gemma 3 text model",
            remedy="Choose a model that writes text",
        )
    n_vocab = reader.n_vocab(_TITLE)
    dim = reader.size("embedding_length")
    n_layers = reader.size("block_count", most=MAX_LAYERS)
    eps = reader.positive("attention.layer_norm_rms_epsilon", 1e-6, most=1.0)
    head_dim = read_head_dim(reader, dim, reader.size("attention.head_count"))
    return Config(
        n_vocab=n_vocab,
        dim=dim,
        n_ctx_train=reader.context(_SMALLEST_CONTEXT),
        norm_eps=eps,
        logit_softcap=0.0 if n_layers == _UNCAPPED else reader.softcap(),
        embed_scale=dim**0.5,
        unit="geglu",
        v_norm=False,
        ropes=_ropes(reader, head_dim, n_layers),
        layers=_layers(reader, head_dim, dim, n_layers),
    )


def _ropes(reader: Reader, head_dim: int, n_layers: int) -> tuple[RopeSpec, RopeSpec]:
    """Return how heads of global and of sliding layers turn."""
    theta = reader.positive("rope.global.freq_base", 1e6)
    theta_swa = reader.positive("rope.local.freq_base", 1e4)
    stretch = _STRETCH if n_layers in _STRETCHED else 1
    n_pairs = head_dim // 2
    return (
        RopeSpec(
            "rope",
            reader.positive("rope.freq_base", theta),
            head_dim,
            n_pairs,
            scale=reader.linear_rope_scale(1 / stretch),
        ),
        RopeSpec(
            "rope_swa",
            reader.positive("rope.freq_base_swa", theta_swa),
            head_dim,
            n_pairs,
        ),
    )


def _layers(
    reader: Reader, head_dim: int, dim: int, n_layers: int
) -> tuple[Layer, ...]:
    sliding = reader.pattern(n_layers, _PERIOD)
    window = reader.size("attention.sliding_window")
    n_heads = reader.size("attention.head_count")
    n_kv_heads = reader.size("attention.head_count_kv", n_heads)
    ffn_dim = reader.size("feed_forward_length")
    scored = dim // n_heads if n_layers == _LARGEST else head_dim
    return tuple(
        check_heads(
            Layer(
                index=i,
                head_dim=head_dim,
                n_heads=n_heads,
                n_kv_heads=n_kv_heads,
                ffn_dim=ffn_dim,
                window=window if slides else 0,
                rope=_SLIDING if slides else _GLOBAL,
                donor=i,
                score_scale=max(1, scored) ** -0.5,
            )
        )
        for i, slides in enumerate(sliding)
    )


def layer_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer."""
    head = (layer.head_dim,)
    return [
        *attention_tensors(config, layer),
        ("attn_q_norm.weight", head, False),
        ("attn_k_norm.weight", head, False),
        ("post_attention_norm.weight", (config.dim,), False),
        *mlp_tensors(config, layer),
        ("post_ffw_norm.weight", (config.dim,), False),
    ]


def run_layer(
    ops: Ops, model: Model, layer: Layer, x: Residual, inputs: Tensor | None
) -> Residual:
    """Run one layer on the residual stream [n, dim]."""
    i = layer.index
    x, h = ops.norm(x, model.weight("attn_norm.weight", i))
    branch = attention(ops, model, layer, ops.name("attn_norm", h))
    x = ops.add(x, branch, model.weight("post_attention_norm.weight", i), "attn_out")
    x, h = ops.norm(x, model.weight("ffn_norm.weight", i))
    branch = gated_mlp(ops, model, layer, ops.name("ffn_norm", h))
    branch = ops.name("ffn_out", branch)
    return ops.add(x, branch, model.weight("post_ffw_norm.weight", i), "l_out")


FAMILY = Family(
    architecture="gemma3",
    title=_TITLE,
    read=read,
    layer_tensors=layer_tensors,
    run_layer=run_layer,
    is_strict=True,
)
