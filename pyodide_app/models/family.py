"""What a family of models is to the driver, and a model of one with all its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pyodide_app import errors
from pyodide_app.gguf.floats import FLOATS
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.graph.kv_cache import LayerCache, make_layer
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View
from pyodide_app.graph.tensors import ExpertSlots, Residual, Rope, Tensor, Weight
from pyodide_app.models.config import Config, Layer, Reader

_VIEW_ALIGNMENT = 256  # bytes; of a storage binding's offset

Expected = tuple[str, tuple[int, ...], bool]  # name, dims in ggml order, optional


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """An architecture: how its files are read, and what its layers do."""

    architecture: str  # of `general.architecture`
    title: str
    read: Callable[[Reader], Config]
    # Of a layer, without `blk.N.`; what all layers share is known.
    layer_tensors: Callable[[Config, Layer, Mapping[str, FileTensor]], list[Expected]]
    run_layer: Callable[[Ops, Model, Layer, Residual, Tensor | None], Residual]
    more_tensors: Callable[[Config], list[Expected]] = lambda config: []
    # What layers read beside the stream: from the tokens and the embeddings.
    inputs: Callable[[Ops, Model, Tensor, Tensor], Tensor | None] | None = None
    # As published, by the names of SamplingOptions: what a file does not advise itself.
    sampling: Mapping[str, float] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)  # of layers' tensors
    # A layer with a tensor that is not expected is refused: what is passed over might
    # belong to the model.
    is_strict: bool = False
    # The format of its conversations where a file names none that its tokens allow.
    chat: str = ""
    # A table that may stay in the file, its rows gathered for each pass.
    host_table: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A config with everything a pass reads that outlives it."""

    family: Family
    config: Config
    weights: Mapping[str, Weight]
    caches: Mapping[int, LayerCache]  # by layer, only those that own one
    ropes: tuple[Rope, ...]  # as the config lists them
    slots: Mapping[int, ExpertSlots]  # by layer
    # Where the family's table stays in the file: the numbers 0, 1, … of the rows that
    # the host gathers, one per token of a pass.
    gathered: Buffer | None = None

    def get(self, name: str, layer: int) -> Weight | None:
        """Return a layer's weight, or None where the file has none."""
        return self.weights.get(f"blk.{layer}.{name}")

    def weight(self, name: str, layer: int) -> Weight:
        """Return a layer's weight."""
        return self.weights[f"blk.{layer}.{name}"]


def make_caches(
    config: Config, kv: str, n_ctx: int, chunk: int
) -> dict[int, LayerCache]:
    """Describe the KV cache of every layer that owns one."""
    return {
        layer.index: make_layer(
            f"blk.{layer.index}",
            kv,
            n_ctx=n_ctx,
            chunk=chunk,
            window=layer.window,
            n_kv_heads=layer.n_kv_heads,
            head_dim=layer.head_dim,
        )
        for layer in config.layers
        if layer.owns_cache
    }


def make_slots(config: Config) -> dict[int, ExpertSlots]:
    """Describe each routed layer's slot table, all in one buffer."""
    routed = [layer.index for layer in config.layers if layer.has_experts]
    size = 4 * config.n_experts
    stride = -(-size // _VIEW_ALIGNMENT) * _VIEW_ALIGNMENT
    buffer = Buffer("expert_slots", stride * len(routed))
    return {
        layer: ExpertSlots(View(buffer, i * stride, size), config.n_experts)
        for i, layer in enumerate(routed)
    }


def expected_tensors(
    family: Family, config: Config, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of the forward pass with their dims, in layer order."""
    dim = config.dim
    rows: list[Expected] = [
        ("token_embd.weight", (dim, config.n_vocab), False),
        ("output.weight", (dim, config.n_vocab), True),
        ("output_norm.weight", (dim,), False),
        *family.more_tensors(config),
    ]
    for layer in config.layers:
        named = family.layer_tensors(config, layer, tensors)
        rows += [(f"blk.{layer.index}.{n}", dims, maybe) for n, dims, maybe in named]
    return rows


def attention_tensors(config: Config, layer: Layer) -> list[Expected]:
    """List the tensors that every family's attention has."""
    dim, head = config.dim, layer.head_dim
    q, kv = layer.n_heads * head, layer.n_kv_heads * head
    return [
        ("attn_norm.weight", (dim,), False),
        ("attn_q.weight", (dim, q), False),
        ("attn_k.weight", (dim, kv), False),
        ("attn_v.weight", (dim, kv), False),
        ("attn_output.weight", (q, dim), False),
    ]


def mlp_tensors(config: Config, layer: Layer) -> list[Expected]:
    """List the tensors of a dense gated MLP and the norm before it."""
    dim, ffn = config.dim, layer.ffn_dim
    return [
        ("ffn_norm.weight", (dim,), False),
        ("ffn_gate.weight", (dim, ffn), False),
        ("ffn_up.weight", (dim, ffn), False),
        ("ffn_down.weight", (ffn, dim), False),
    ]


def select_tensors(
    family: Family, config: Config, tensors: Mapping[str, FileTensor]
) -> dict[str, FileTensor]:
    """Return the tensors that the forward pass needs, under one name each.

    Vision and audio towers, unused keys and values of shared layers and the like are
    left out, whatever their types. Raises ShapeError for a missing tensor or a wrong
    shape, UnsupportedFormatError for a type that no kernel reads.
    """
    chosen: dict[str, FileTensor] = {}
    expected = expected_tensors(family, config, tensors)
    own = {name for name, _, _ in expected}
    for name, dims, optional in expected:
        info = tensors.get(name) or tensors.get(_alias(family, name))
        if info is None and optional:
            continue
        if info is None:
            raise errors.ShapeError(
                f"the file has no tensor {name}",
                expected=f"one of {list(dims)}",
                remedy=f"The file is not a complete {family.title} text model",
            )
        if info.dims != dims and (*info.dims, 1) != dims:
            raise errors.ShapeError(
                f"tensor {name}", found=str(list(info.dims)), expected=str(list(dims))
            )
        info = replace(info, dims=dims)  # some writers leave a last one of 1 out
        info.check_type()
        if len(dims) == 1 and info.type.name not in FLOATS:
            raise errors.UnsupportedFormatError(
                f"tensor {name}",
                found=info.type.name,
                expected=f"one of {', '.join(FLOATS)} for a vector",
                remedy="Choose another conversion of the model",
            )
        scale = tensors.get(_companion(info, "scale"))
        if scale is not None and scale.name not in own:
            _check_scale(info, scale)
            info = replace(info, scale=scale)
        chosen[name] = info
    if family.is_strict:
        _check_known(family, chosen, tensors)
    return chosen


def _companion(info: FileTensor, what: str) -> str:
    """Return the name that a scale of a tensor goes by."""
    return f"{info.name.removesuffix('.weight')}.{what}"


def _check_scale(info: FileTensor, scale: FileTensor) -> None:
    """Raise UnsupportedFormatError for a scale that no kernel would multiply by."""
    per_expert = [info.dims[2:]] if len(info.dims) == 3 else []
    fits = scale.dims in [(1,), *per_expert] and scale.type.name in FLOATS
    if info.type.has_scales and fits:
        return
    raise errors.UnsupportedFormatError(
        f"tensor {scale.name}",
        found=f"{list(scale.dims)} {scale.type.name} beside a weight in "
        f"{info.type.name}, {list(info.dims)}",
        expected="one number for an NVFP4 matrix, or one for each of its experts",
        remedy="Choose another conversion of the model",
    )


def _check_known(
    family: Family,
    chosen: Mapping[str, FileTensor],
    tensors: Mapping[str, FileTensor],
) -> None:
    """Raise UnsupportedFormatError for a tensor of a layer that nobody would read."""
    read = {info.name for info in chosen.values()}
    read |= {info.scale.name for info in chosen.values() if info.scale}
    # That of a matrix's input is for arithmetic in four bits, which nobody does here.
    read |= {_companion(info, "input_scale") for info in chosen.values() if info.scale}
    for name in tensors:
        if name.startswith("blk.") and name not in read:
            raise errors.UnsupportedFormatError(
                f"tensor {name}",
                found=f"a tensor that {family.title} models are not known to have",
                expected="only those that the forward pass reads",
                remedy="Choose another conversion of the model",
            )


def _alias(family: Family, name: str) -> str:
    _, _, rest = name.partition(".")
    layer, _, rest = rest.partition(".")
    return f"blk.{layer}.{family.aliases[rest]}" if rest in family.aliases else name
