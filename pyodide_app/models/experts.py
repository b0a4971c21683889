"""Routed layers, which many families have: sizes, tensors, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

from pyodide_app import errors
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.models.config import Config, Experts, Layer, Reader
from pyodide_app.models.family import Expected

_MOST = 1024  # of shaders/router_top_k.wgsl and expert_sort.wgsl
# Keys of other ways to choose, and up to which number they change nothing.
_NEUTRAL = {
    "expert_gating_func": 1,  # softmax; 0: not said
    "expert_group_count": 1,
    "expert_group_used_count": 1,
    "expert_shared_count": 0,
}


def read_experts(reader: Reader) -> Experts | None:
    """Return the sizes of routed layers, None for a model without experts.

    A file that does not say how wide an expert is has tensors that show it.
    Raises FileFormatError where keys contradict each other, and
    UnsupportedArchitectureError for what the router's kernels do not do.
    """
    n, used = reader.count("expert_count"), reader.count("expert_used_count")
    if not n:
        return None
    if n > _MOST:
        raise errors.UnsupportedArchitectureError(
            f"metadata key {reader.key('expert_count')}",
            found=str(n),
            expected=f"at most {_MOST}, what the router's kernel holds",
        )
    if not 0 < used <= n:
        raise errors.FileFormatError(
            f"metadata key {reader.key('expert_used_count')}",
            found=str(used),
            expected=f"1 to {n}, the number of experts",
        )
    _check_softmax(reader)
    ffn_dim = reader.count("expert_feed_forward_length") or _width(reader.tensors)
    renormalised = reader.metadata.get_bool(reader.key("expert_weights_norm"), True)
    return Experts(n, used, ffn_dim, renormalised)


def _width(tensors: Mapping[str, FileTensor]) -> int:
    """Return the width of an expert that the first layer with any has, 0 without."""
    found = (t for name, t in tensors.items() if name.endswith(".ffn_down_exps.weight"))
    return next((tensor.dims[0] for tensor in found), 0)


def _check_softmax(reader: Reader) -> None:
    """Raise UnsupportedArchitectureError for another way to choose than softmax."""
    strange = [name for name, most in _NEUTRAL.items() if reader.count(name) > most]
    scale = reader.metadata.get_float(reader.key("expert_weights_scale"), 1.0)
    if scale not in (0.0, 1.0):
        strange.append("expert_weights_scale")
    if strange:
        name = reader.key(strange[0])
        raise errors.UnsupportedArchitectureError(
            f"metadata key {name}",
            found=str(reader.metadata[name]),
            expected="experts chosen by softmax, among all, and nothing beside them",
            remedy="Choose a model whose router does no more than that",
        )


def has_experts(reader: Reader, layer: int) -> bool:
    """Say whether a layer of the file is routed: it has a router."""
    return f"blk.{layer}.ffn_gate_inp.weight" in reader.tensors


def check_routed(config: Config) -> Config:
    """Return the config; raise FileFormatError for a router without experts."""
    for layer in config.layers:
        if layer.has_experts and not (config.experts and config.experts.ffn_dim):
            ffn_dim = config.experts.ffn_dim if config.experts else 0
            raise errors.FileFormatError(
                f"blk.{layer.index} has a router but the file no experts",
                found=f"expert_count {config.n_experts}, "
                f"expert_feed_forward_length {ffn_dim}",
                expected="both above zero",
            )
    return config


def expert_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer's router and experts; gate and up may be one.

    Raises UnsupportedFormatError for a file from before experts were stacked.
    """
    assert config.experts
    dim, ffn, n = config.dim, config.experts.ffn_dim, config.experts.n
    prefix = f"blk.{layer.index}."
    if f"{prefix}ffn_gate.0.weight" in tensors:
        raise errors.UnsupportedFormatError(
            f"tensor {prefix}ffn_gate.0.weight",
            found="a tensor for each expert, as files of before April 2024 have",
            expected=f"one for all of a layer's, {prefix}ffn_gate_exps.weight",
            remedy="Choose a newer conversion of the model",
        )
    rows: list[Expected] = [
        ("ffn_gate_inp.weight", (dim, n), False),
        ("ffn_down_exps.weight", (ffn, dim, n), False),
    ]
    if f"{prefix}ffn_gate_up_exps.weight" in tensors:
        return [*rows, ("ffn_gate_up_exps.weight", (dim, 2 * ffn, n), False)]
    return [
        *rows,
        ("ffn_gate_exps.weight", (dim, ffn, n), False),
        ("ffn_up_exps.weight", (dim, ffn, n), False),
    ]
