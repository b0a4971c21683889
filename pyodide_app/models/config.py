"""Sizes of a text model, in the field's words, and the reader of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pyodide_app import errors
from pyodide_app.gguf.metadata import FLOAT32_MAX, Metadata
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gguf.strings import quote

T = TypeVar("T")

MAX_LAYERS = 1024
_LONGEST_CONTEXT = 1 << 30
_SMALLEST_FLOAT = 1.2e-38  # above it float32 has all its digits
_MAX_SIZE = 1 << 24  # of any dimension: far above every released model


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """How heads turn: pair i by position * scale * theta^(-2 i / n_dims) / factor i."""

    label: str
    theta: float
    n_dims: int  # that the exponent counts
    n_pairs: int  # that turn, the first ones
    pairs: str = "halves"  # or "neighbours": a file shaders/common/rope_*.wgsl
    scale: float = 1.0
    factors: tuple[float, ...] | None = None  # None: 1 for each
    from_file: bool = False  # the tensor rope_freqs.weight has the factors


@dataclass(frozen=True, slots=True)
class Experts:
    """Sizes of the routed layers."""

    n: int
    n_used: int  # by each token
    ffn_dim: int
    renormalised: bool = True  # the weights of those used add up to 1


@dataclass(frozen=True, slots=True)
class Layer:
    """What differs from layer to layer."""

    index: int
    head_dim: int
    n_heads: int
    n_kv_heads: int
    ffn_dim: int
    window: int  # keys that a token sees, itself included; 0: all
    rope: int  # which of the config's
    donor: int  # the layer whose keys and values are read; the layer itself if own
    score_scale: float
    has_experts: bool = False

    @property
    def owns_cache(self) -> bool:
        """Say whether the layer computes keys and values of its own."""
        return self.donor == self.index


@dataclass(frozen=True, slots=True)
class Config:
    """A text model's sizes."""

    n_vocab: int
    dim: int
    n_ctx_train: int
    norm_eps: float
    logit_softcap: float  # 0: none
    embed_scale: float
    unit: str  # the gated unit of its MLPs: a file shaders/common/unit_*.wgsl
    v_norm: bool  # values are normed, without a weight
    ropes: tuple[RopeSpec, ...]
    layers: tuple[Layer, ...]
    experts: Experts | None = None
    own: object = None  # what this family alone has

    @property
    def n_layers(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @property
    def n_experts(self) -> int:
        """Return the number of experts of a routed layer, 0 without any."""
        return self.experts.n if self.experts else 0

    @property
    def n_experts_used(self) -> int:
        """Return how many of them a token takes."""
        return self.experts.n_used if self.experts else 0


class Reader:
    """Typed access to an architecture's keys, with bounds."""

    def __init__(self, metadata: Metadata, tensors: Mapping[str, FileTensor]) -> None:
        self.metadata = metadata
        self.tensors = tensors

    def key(self, name: str) -> str:
        """Return the architecture's own key."""
        return self.metadata.key(name)

    def has(self, key: str) -> bool:
        """Say whether the file has a key of the architecture's."""
        return self.key(key) in self.metadata

    def size(self, key: str, default: int | None = None, most: int = _MAX_SIZE) -> int:
        """Return an integer of at least 1."""
        if default is not None and not self.has(key):
            return default
        return self.metadata.get_int(self.key(key), minimum=1, maximum=most)

    def count(self, key: str) -> int:
        """Return an integer of at least 0; 0 where the file has none."""
        return self.metadata.get_int(self.key(key), 0, minimum=0, maximum=_MAX_SIZE)

    def n_vocab(self, family: str) -> int:
        """Return the rows of the embedding table; ShapeError where there is none."""
        if "token_embd.weight" not in self.tensors:
            raise errors.ShapeError(
                "the file has no tensor token_embd.weight",
                expected=f"a complete {family} text model",
                remedy="Choose the model itself, not a projector, adapter or "
                "vocabulary",
            )
        return self.tensors["token_embd.weight"].dims[-1]

    def context(self, default: int) -> int:
        """Return the longest context; it is advice, for no tensor depends on it."""
        read = partial(self.metadata.get_int, minimum=1, maximum=_LONGEST_CONTEXT)
        return self.metadata.advised(self.key("context_length"), read, default)

    def positive(
        self, key: str, default: float | None = None, most: float = FLOAT32_MAX
    ) -> float:
        """Return a number above 0 that float32 holds; required without a default."""
        name = self.key(key)
        if default is not None and name not in self.metadata:
            return default
        return self.metadata.get_float(name, minimum=_SMALLEST_FLOAT, maximum=most)

    def softcap(self) -> float:
        """Return the cap of the logits; 0 stands for none."""
        name = self.key("final_logit_softcapping")
        if self.metadata.get_float(name, 0.0) == 0:
            return 0.0
        # Logits are divided by it: a tiny one would make infinities of them.
        return self.metadata.get_float(name, 0.0, minimum=1e-3)

    def per_layer(self, key: str, n_layers: int) -> list[int]:
        """Return one integer per layer from a scalar or an array."""
        name = self.key(key)
        values = self.metadata.get_ints(
            name, minimum=1, maximum=_MAX_SIZE, most=MAX_LAYERS
        )
        return _spread(name, values, n_layers)

    def pattern(self, n_layers: int, period: int | None = None) -> list[bool]:
        """Return which layers slide: a bool each, or a period of which one does not.

        `period` is that of a file without the key.
        """
        name = self.key("attention.sliding_window_pattern")
        value = self.metadata[name] if name in self.metadata else period
        if isinstance(value, int) and not isinstance(value, bool):
            if name in self.metadata:
                value = self.metadata.get_int(name, minimum=1, maximum=MAX_LAYERS)
            return [(i + 1) % value != 0 for i in range(n_layers)]
        return _spread(name, self.metadata.get_bools(name, most=MAX_LAYERS), n_layers)

    def linear_rope_scale(self, default: float = 1.0) -> float:
        """Return what a linear scaling multiplies angles by.

        Raises UnsupportedArchitectureError for another kind of scaling: passed over, it
        would give another model.
        """
        name = self.key("rope.scaling.type")
        kind = self.metadata.get_str(name, "linear")
        if kind not in ("none", "linear"):
            raise errors.UnsupportedArchitectureError(
                f"metadata key {name}",
                found=quote(kind),
                expected="none or linear",
                remedy="Choose a model whose context is not stretched that way",
            )
        if kind == "none":
            return 1.0
        old = self.positive("rope.scale_linear", 1 / default)
        return 1 / self.positive("rope.scaling.factor", old)


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


def check_heads(layer: Layer) -> Layer:
    """Return the layer; raise FileFormatError for heads that no kernel serves."""
    if layer.head_dim % 8 or layer.n_heads % layer.n_kv_heads:
        raise errors.FileFormatError(
            f"blk.{layer.index}: heads",
            found=f"{layer.n_heads} heads, {layer.n_kv_heads} key/value heads "
            f"of {layer.head_dim}",
            expected="key/value heads that divide the heads, a size divisible by 8",
        )
    return layer
