"""Gemma 4's sizes, read from GGUF metadata, and the tensors that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyodide_app import errors
from pyodide_app.gguf.reader import FileTensor
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
from pyodide_app.models.family import Expected, attention_tensors, mlp_tensors

TITLE = "Gemma 4"
PER_LAYER_TABLE = "per_layer_token_embd.weight"
_SMALLEST_CONTEXT = 131072  # of the released models, where a file names none
_GLOBAL, _SLIDING = 0, 1  # which of the config's ropes

# Names that other converters wrote, by the name used here (within a layer).
ALIASES = {
    "post_attention_norm.weight": "attn_post_norm.weight",
    "ffn_norm.weight": "ffn_pre_norm.weight",
    "post_ffw_norm.weight": "ffn_post_norm.weight",
    "post_ffw_norm_1.weight": "ffn_post_norm_1.weight",
    "pre_ffw_norm_2.weight": "ffn_pre_norm_2.weight",
    "post_ffw_norm_2.weight": "ffn_post_norm_2.weight",
    "layer_output_scale.weight": "layer_scalar",
    "ffn_down_exps.scale": "ffn_gate_inp.per_expert_scale",
}


@dataclass(frozen=True, slots=True)
class Own:
    """What Gemma 4 alone has."""

    per_layer_dim: int  # of each layer's own input, 0 without any


def per_layer_dim(config: Config) -> int:
    """Return the size of each layer's own input, 0 without any."""
    assert isinstance(config.own, Own)
    return config.own.per_layer_dim


def read(reader: Reader) -> Config:
    """Read a file's metadata; sizes that tensors show best are taken from them.

    Raises FileFormatError or ShapeError naming the key or tensor at fault.
    """
    n_vocab = reader.n_vocab(TITLE)
    dim = reader.size("embedding_length")
    n_layers = reader.size("block_count", most=MAX_LAYERS)
    head_dims = {
        False: reader.size("attention.key_length", 512),
        True: reader.size("attention.key_length_swa", 256),
    }
    config = Config(
        n_vocab=n_vocab,
        dim=dim,
        n_ctx_train=reader.context(_SMALLEST_CONTEXT),
        norm_eps=reader.positive("attention.layer_norm_rms_epsilon", 1e-6, most=1.0),
        logit_softcap=reader.softcap(),
        embed_scale=dim**0.5,
        unit="geglu",
        v_norm=True,
        ropes=_ropes(reader, head_dims),
        layers=_layers(reader, head_dims, n_layers),
        experts=read_experts(reader),
        own=Own(reader.count("embedding_length_per_layer_input")),
    )
    return check_routed(config)


def _ropes(reader: Reader, head_dims: Mapping[bool, int]) -> tuple[RopeSpec, RopeSpec]:
    """Return how heads of global and of sliding layers turn.

    Of a global head a share of the pairs does: the file's factors say which, or a key.
    """
    global_dim, sliding_dim = head_dims[False], head_dims[True]
    theta_swa = reader.positive("rope.local.freq_base", 1e4)
    share = reader.positive("rope.partial_rotary_factor", 0.25, most=1.0)
    return (
        RopeSpec(
            "rope",
            reader.positive("rope.freq_base", 1e6),
            global_dim,
            min(global_dim // 2, int(global_dim // 2 * share)),
            scale=reader.linear_rope_scale(),
            from_file=True,
        ),
        RopeSpec(
            "rope_swa",
            reader.positive("rope.freq_base_swa", theta_swa),
            sliding_dim,
            sliding_dim // 2,
        ),
    )


def _layers(
    reader: Reader, head_dims: Mapping[bool, int], n_layers: int
) -> tuple[Layer, ...]:
    sliding = reader.pattern(n_layers)
    window = reader.size("attention.sliding_window")
    n_heads = reader.per_layer("attention.head_count", n_layers)
    n_kv_heads = reader.per_layer("attention.head_count_kv", n_layers)
    global_kv = reader.count("attention.global_head_count_kv")  # older converters
    ffn_dims = reader.per_layer("feed_forward_length", n_layers)
    donors = _donors(reader, sliding)
    layers = []
    for i, slides in enumerate(sliding):
        legacy = global_kv and not slides
        layer = Layer(
            index=i,
            head_dim=head_dims[slides],
            n_heads=n_heads[i],
            n_kv_heads=global_kv if legacy else n_kv_heads[i],
            ffn_dim=ffn_dims[i],
            window=window if slides else 0,
            rope=_SLIDING if slides else _GLOBAL,
            donor=donors[i],
            score_scale=1.0,
            has_experts=has_experts(reader, i),
        )
        layers.append(check_heads(layer))
    return tuple(layers)


def _donors(reader: Reader, sliding: list[bool]) -> list[int]:
    """Return whose keys and values each layer reads: the last owner of its kind."""
    n_layers, n_shared = len(sliding), reader.count("attention.shared_kv_layers")
    first_shared = n_layers - n_shared
    owners = {sliding[j]: j for j in range(max(first_shared, 0))}  # the last by kind
    donors = []
    for i, kind in enumerate(sliding):
        if i >= first_shared and kind not in owners:
            raise errors.FileFormatError(
                f"metadata key {reader.key('attention.shared_kv_layers')}",
                found=f"{n_shared} of {n_layers} layers",
                expected=f"a layer of blk.{i}'s kind before them to share from",
            )
        donors.append(i if i < first_shared else owners[kind])
    return donors


def more_tensors(config: Config) -> list[Expected]:
    """List what all layers' own inputs are made of, if a model has them."""
    per_layer = per_layer_dim(config)
    if not per_layer:
        return []
    width = per_layer * config.n_layers
    return [
        (PER_LAYER_TABLE, (width, config.n_vocab), False),
        ("per_layer_model_proj.weight", (config.dim, width), False),
        ("per_layer_proj_norm.weight", (per_layer,), False),
    ]


def layer_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer."""
    dim, head = config.dim, layer.head_dim
    not_owned = ("attn_k.weight", "attn_v.weight")
    rows = [
        # Without V, it is the K projection.
        (name, dims, name == "attn_v.weight")
        for name, dims, _ in attention_tensors(config, layer)
        if layer.owns_cache or name not in not_owned
    ]
    rows += [
        ("attn_q_norm.weight", (head,), False),
        ("post_attention_norm.weight", (dim,), False),
        *mlp_tensors(config, layer),
        ("post_ffw_norm.weight", (dim,), False),
        ("layer_output_scale.weight", (1,), True),
    ]
    if layer.owns_cache:
        rows += [("attn_k_norm.weight", (head,), False)]
    if per_layer := per_layer_dim(config):
        rows += [
            ("inp_gate.weight", (dim, per_layer), False),
            ("proj.weight", (per_layer, dim), False),
            ("post_norm.weight", (dim,), False),
        ]
    if layer.has_experts:
        assert config.experts
        rows += [
            *expert_tensors(config, layer, tensors),
            ("ffn_gate_inp.scale", (dim,), False),
            ("ffn_down_exps.scale", (config.experts.n,), False),
            ("post_ffw_norm_1.weight", (dim,), False),
            ("pre_ffw_norm_2.weight", (dim,), False),
            ("post_ffw_norm_2.weight", (dim,), False),
        ]
    return rows
