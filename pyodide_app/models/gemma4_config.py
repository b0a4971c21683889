"""Gemma 4's sizes, read from GGUF metadata, and the tensors that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pyodide_app import errors
from pyodide_app.gguf.metadata import FLOAT32_MAX, Metadata
from pyodide_app.gguf.reader import TensorInfo

ARCHITECTURE = "gemma4"
T = TypeVar("T")

_MAX_LAYERS = 1024
_MAX_EXPERTS = 1024  # of shaders/router_top_k.wgsl and expert_sort.wgsl
_SMALLEST_CONTEXT = 131072  # of the released models, where a file names none
_LONGEST_CONTEXT = 1 << 30
_SMALLEST_FLOAT = 1.2e-38  # above it float32 has all its digits
_MAX_SIZE = 1 << 24  # of any dimension: far above every released model

# Names that other converters wrote, by the name used here (within a layer).
_ALIASES = {
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
class Layer:
    """What differs from layer to layer."""

    index: int
    is_sliding: bool
    head_dim: int
    n_heads: int
    n_kv_heads: int
    ffn_dim: int
    donor: int  # the layer whose keys and values are read; the layer itself if own
    has_experts: bool

    @property
    def owns_cache(self) -> bool:
        """Say whether the layer computes keys and values of its own."""
        return self.donor == self.index


@dataclass(frozen=True, slots=True)
class Config:
    """A Gemma 4 text model's sizes, in the field's words (see gemma4.py)."""

    n_vocab: int
    dim: int
    n_ctx_train: int
    sliding_window: int
    per_layer_dim: int
    n_experts: int
    top_k: int
    expert_ffn_dim: int
    norm_eps: float
    rope_theta: float
    rope_theta_swa: float
    rotated_share: float  # of a global head's pairs, where the file has no rope_freqs
    logit_softcap: float
    layers: tuple[Layer, ...]

    @property
    def n_layers(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def head_dim(self, is_sliding: bool) -> int:
        """Return the size of a head of one kind of layer; 8 where there is none."""
        found = (x.head_dim for x in self.layers if x.is_sliding == is_sliding)
        return next(found, 8)

    @classmethod
    def from_file(cls, metadata: Metadata, tensors: Mapping[str, TensorInfo]) -> Config:
        """Read a file's metadata; sizes that tensors show best are taken from them.

        Raises FileFormatError or ShapeError naming the key or tensor at fault.
        """
        read = _Reader(metadata)
        embedding = _require(tensors, "token_embd.weight")
        dim = read.size("embedding_length")
        n_layers = read.size("block_count", most=_MAX_LAYERS)
        return cls(
            n_vocab=embedding.dims[-1],
            dim=dim,
            n_ctx_train=read.context(),
            sliding_window=read.size("attention.sliding_window"),
            per_layer_dim=read.count("embedding_length_per_layer_input"),
            n_experts=read.count("expert_count"),
            top_k=read.count("expert_used_count"),
            expert_ffn_dim=read.count("expert_feed_forward_length"),
            norm_eps=read.positive("attention.layer_norm_rms_epsilon", 1e-6, most=1.0),
            rope_theta=read.positive("rope.freq_base", 1e6),
            rope_theta_swa=read.positive(
                "rope.freq_base_swa", read.positive("rope.local.freq_base", 1e4)
            ),
            rotated_share=read.positive("rope.partial_rotary_factor", 0.25, most=1.0),
            logit_softcap=read.softcap(),
            layers=_layers(read, tensors, n_layers),
        ).checked()

    def checked(self) -> Config:
        """Return the config, or raise when its numbers contradict each other."""
        if self.n_experts > _MAX_EXPERTS:
            raise errors.UnsupportedArchitectureError(
                "metadata key gemma4.expert_count",
                found=str(self.n_experts),
                expected=f"at most {_MAX_EXPERTS}, what the router's kernel holds",
            )
        if self.n_experts and not 0 < self.top_k <= self.n_experts:
            raise errors.FileFormatError(
                "metadata key gemma4.expert_used_count",
                found=str(self.top_k),
                expected=f"1 to {self.n_experts}, the number of experts",
            )
        for layer in self.layers:
            if layer.has_experts and not (self.n_experts and self.expert_ffn_dim):
                raise errors.FileFormatError(
                    f"blk.{layer.index} has a router but the metadata no experts",
                    found=f"expert_count {self.n_experts}, "
                    f"expert_feed_forward_length {self.expert_ffn_dim}",
                    expected="both above zero",
                )
        return self


class _Reader:
    """Typed access to the architecture's keys, with bounds."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    def size(self, key: str, default: int | None = None, most: int = _MAX_SIZE) -> int:
        name = f"{ARCHITECTURE}.{key}"
        if default is not None and name not in self.metadata:
            return default
        return self.metadata.get_int(name, minimum=1, maximum=most)

    def count(self, key: str) -> int:
        name = f"{ARCHITECTURE}.{key}"
        return self.metadata.get_int(name, 0, minimum=0, maximum=_MAX_SIZE)

    def context(self) -> int:
        """Return the longest context; it is advice, for no tensor depends on it."""
        read = partial(self.metadata.get_int, minimum=1, maximum=_LONGEST_CONTEXT)
        key = f"{ARCHITECTURE}.context_length"
        return self.metadata.advised(key, read, _SMALLEST_CONTEXT)

    def positive(self, key: str, default: float, most: float = FLOAT32_MAX) -> float:
        name = f"{ARCHITECTURE}.{key}"
        return self.metadata.get_float(
            name, default, minimum=_SMALLEST_FLOAT, maximum=most
        )

    def softcap(self) -> float:
        """Return the cap of the logits; 0 stands for none."""
        name = f"{ARCHITECTURE}.final_logit_softcapping"
        if self.metadata.get_float(name, 0.0) == 0:
            return 0.0
        # Logits are divided by it: a tiny one would make infinities of them.
        return self.metadata.get_float(name, 0.0, minimum=1e-3)

    def per_layer(self, key: str, n_layers: int) -> list[int]:
        """Return one integer per layer from a scalar or an array."""
        name = f"{ARCHITECTURE}.{key}"
        values = self.metadata.get_ints(
            name, minimum=1, maximum=_MAX_SIZE, most=_MAX_LAYERS
        )
        return _spread(name, values, n_layers)

    def pattern(self, n_layers: int) -> list[bool]:
        """Return which layers slide: a bool each, or a period of which one does not."""
        name = f"{ARCHITECTURE}.attention.sliding_window_pattern"
        value = self.metadata[name] if name in self.metadata else None
        if isinstance(value, int) and not isinstance(value, bool):
            period = self.metadata.get_int(name, minimum=1, maximum=_MAX_LAYERS)
            return [(i + 1) % period != 0 for i in range(n_layers)]
        return _spread(name, self.metadata.get_bools(name, most=_MAX_LAYERS), n_layers)


def _spread(name: str, values: list[T], n_layers: int) -> list[T]:
    if len(values) == 1:
        return values * n_layers
    if len(values) != n_layers:
        raise errors.FileFormatError(
            f"metadata key {name}",
            found=f"{len(values)} elements",
            expected=f"{n_layers}, one per layer",
        )
    return values


def _require(tensors: Mapping[str, TensorInfo], name: str) -> TensorInfo:
    if name not in tensors:
        raise errors.ShapeError(
            f"the file has no tensor {name}",
            expected="a complete Gemma 4 text model",
            remedy="Choose the model itself, not a projector, adapter or vocabulary",
        )
    return tensors[name]


def _layers(
    read: _Reader, tensors: Mapping[str, TensorInfo], n_layers: int
) -> tuple[Layer, ...]:
    sliding = read.pattern(n_layers)
    head_dims = {
        False: read.size("attention.key_length", 512),
        True: read.size("attention.key_length_swa", 256),
    }
    n_heads = read.per_layer("attention.head_count", n_layers)
    n_kv_heads = read.per_layer("attention.head_count_kv", n_layers)
    global_kv = read.count("attention.global_head_count_kv")  # older converters
    ffn_dims = read.per_layer("feed_forward_length", n_layers)
    donors = _donors(read, sliding)
    layers = []
    for i in range(n_layers):
        legacy = global_kv and not sliding[i]
        layer = Layer(
            index=i,
            is_sliding=sliding[i],
            head_dim=head_dims[sliding[i]],
            n_heads=n_heads[i],
            n_kv_heads=global_kv if legacy else n_kv_heads[i],
            ffn_dim=ffn_dims[i],
            donor=donors[i],
            has_experts=f"blk.{i}.ffn_gate_inp.weight" in tensors,
        )
        _check_heads(layer)
        layers.append(layer)
    return tuple(layers)


def _check_heads(layer: Layer) -> None:
    if layer.head_dim % 8 or layer.n_heads % layer.n_kv_heads:
        raise errors.FileFormatError(
            f"blk.{layer.index}: heads",
            found=f"{layer.n_heads} heads, {layer.n_kv_heads} key/value heads "
            f"of {layer.head_dim}",
            expected="key/value heads that divide the heads, a size divisible by 8",
        )


def _donors(read: _Reader, sliding: list[bool]) -> list[int]:
    """Return whose keys and values each layer reads: the last owner of its kind."""
    n_layers, n_shared = len(sliding), read.count("attention.shared_kv_layers")
    first_shared = n_layers - n_shared
    owners = {sliding[j]: j for j in range(max(first_shared, 0))}  # the last by kind
    donors = []
    for i, kind in enumerate(sliding):
        if i >= first_shared and kind not in owners:
            raise errors.FileFormatError(
                "metadata key gemma4.attention.shared_kv_layers",
                found=f"{n_shared} of {n_layers} layers",
                expected=f"a layer of blk.{i}'s kind before them to share from",
            )
        donors.append(i if i < first_shared else owners[kind])
    return donors


def select_tensors(
    config: Config, tensors: Mapping[str, TensorInfo]
) -> dict[str, TensorInfo]:
    """Return the tensors that the forward pass needs, under one name each.

    Vision and audio towers, unused keys and values of shared layers and the like are
    left out, whatever their types. Raises ShapeError for a missing tensor or a wrong
    shape, UnsupportedFormatError for a type that no kernel reads.
    """
    chosen: dict[str, TensorInfo] = {}
    for name, dims, optional in expected_tensors(config, tensors):
        info = tensors.get(name) or tensors.get(_alias(name))
        if info is None and optional:
            continue
        if info is None:
            raise errors.ShapeError(
                f"the file has no tensor {name}",
                expected=f"one of {list(dims)}",
                remedy="The file is not a complete Gemma 4 text model",
            )
        if info.dims != dims and (*info.dims, 1) != dims:
            raise errors.ShapeError(
                f"tensor {name}", found=str(list(info.dims)), expected=str(list(dims))
            )
        info.check_type()
        if len(dims) == 1 and info.type.name != "F32":
            raise errors.UnsupportedFormatError(
                f"tensor {name}", found=info.type.name, expected="F32 for a vector"
            )
        chosen[name] = info
    return chosen


def _alias(name: str) -> str:
    _, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".")
    return f"blk.{layer}.{_ALIASES[rest]}" if rest in _ALIASES else name


Expected = tuple[str, tuple[int, ...], bool]  # name, dims in ggml order, optional


def expected_tensors(
    config: Config, tensors: Mapping[str, TensorInfo]
) -> list[Expected]:
    """List the tensors of the forward pass with their dims, in layer order."""
    dim, per_layer = config.dim, config.per_layer_dim
    rows: list[Expected] = [
        ("token_embd.weight", (dim, config.n_vocab), False),
        ("output.weight", (dim, config.n_vocab), True),
        ("output_norm.weight", (dim,), False),
    ]
    if per_layer:
        width = per_layer * config.n_layers
        rows += [
            ("per_layer_token_embd.weight", (width, config.n_vocab), False),
            ("per_layer_model_proj.weight", (dim, width), False),
            ("per_layer_proj_norm.weight", (per_layer,), False),
        ]
    for layer in config.layers:
        named = _attention_tensors(config, layer) + _ffn_tensors(config, layer, tensors)
        rows += [(f"blk.{layer.index}.{n}", dims, maybe) for n, dims, maybe in named]
    return rows


def _attention_tensors(config: Config, layer: Layer) -> list[Expected]:
    dim, head = config.dim, layer.head_dim
    q, kv = layer.n_heads * head, layer.n_kv_heads * head
    rows: list[Expected] = [
        ("attn_norm.weight", (dim,), False),
        ("attn_q.weight", (dim, q), False),
        ("attn_q_norm.weight", (head,), False),
        ("attn_output.weight", (q, dim), False),
        ("post_attention_norm.weight", (dim,), False),
    ]
    if layer.owns_cache:
        rows += [
            ("attn_k.weight", (dim, kv), False),
            ("attn_k_norm.weight", (head,), False),
            ("attn_v.weight", (dim, kv), True),  # absent: V is the K projection
        ]
    return rows


def _ffn_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, TensorInfo]
) -> list[Expected]:
    dim, ffn = config.dim, layer.ffn_dim
    rows: list[Expected] = [
        ("ffn_norm.weight", (dim,), False),
        ("ffn_gate.weight", (dim, ffn), False),
        ("ffn_up.weight", (dim, ffn), False),
        ("ffn_down.weight", (ffn, dim), False),
        ("post_ffw_norm.weight", (dim,), False),
        ("layer_output_scale.weight", (1,), True),
    ]
    if config.per_layer_dim:
        rows += [
            ("inp_gate.weight", (dim, config.per_layer_dim), False),
            ("proj.weight", (config.per_layer_dim, dim), False),
            ("post_norm.weight", (dim,), False),
        ]
    if layer.has_experts:
        fused = f"blk.{layer.index}.ffn_gate_up_exps.weight" in tensors
        rows += _expert_tensors(config, fused)
    return rows


def _expert_tensors(config: Config, fused: bool) -> list[Expected]:
    dim, ffn, n = config.dim, config.expert_ffn_dim, config.n_experts
    rows: list[Expected] = [
        ("ffn_gate_inp.weight", (dim, n), False),
        ("ffn_gate_inp.scale", (dim,), False),
        ("ffn_down_exps.scale", (n,), False),
        ("ffn_down_exps.weight", (ffn, dim, n), False),
        ("post_ffw_norm_1.weight", (dim,), False),
        ("pre_ffw_norm_2.weight", (dim,), False),
        ("post_ffw_norm_2.weight", (dim,), False),
    ]
    if fused:
        return [*rows, ("ffn_gate_up_exps.weight", (dim, 2 * ffn, n), False)]
    return [
        *rows,
        ("ffn_gate_exps.weight", (dim, ffn, n), False),
        ("ffn_up_exps.weight", (dim, ffn, n), False),
    ]
