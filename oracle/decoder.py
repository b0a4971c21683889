"""What every text decoder's oracle shares: weights, trace, cache, greedy, logits.

Everything is evaluated in float64, with every intermediate named. One file per family
says what its layers do: `oracle/<architecture>.py`; `oracle/families.py` lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from oracle import ops
from oracle.gguf_file import GGUFFile

Double = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
Cache = dict[int, tuple[Double, Double]]  # layer: K and V of all positions so far

CACHED_ELEMENTS = 1 << 25  # models up to this size stay dequantised, as float64
LOGIT_ROWS = 1 << 14  # of the output matrix, dequantised at a time


@dataclass(slots=True)
class Trace:
    """What a pass computed, in float64.

    `logits` [n_wanted, n_vocab], after the soft cap; `hidden` [n_layers + 1, n_tokens,
    dim], the (scaled) embedding and the residual after every layer; and `nodes`, by
    name and layer as "attn_norm-0" in llama.cpp's words: inp_scaled, inp_per_layer
    [n_tokens, n_layers, per_layer_dim]; in each layer attn_norm, Qcur_pos (times the
    scale of scores), Kcur_pos, Vcur_normed [n_tokens, heads, head_dim], kqv_out (heads
    side by side), attn_post_norm, attn_out (residual after attention); ffn_norm,
    ffn_out, or with experts beside an MLP ffn_norm_1, ffn_mlp (dense branch, normed),
    ffn_moe_logits, ffn_moe_topk (indices), ffn_moe_weights (final), ffn_norm_2, ffn_moe
    (experts' sum, normed), ffn_moe_combined; ffn_post_norm; pe_in, per_layer_embd_out;
    l_out; and at the end result_norm.
    """

    nodes: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    hidden: list[Double] = field(default_factory=list)
    logits: Double = field(default_factory=lambda: np.zeros((0, 0)))

    def keep(self, name: str, layer: int, value: ops.Array) -> Double:
        """Record a node of a layer and return it."""
        self.nodes[f"{name}-{layer}"] = value
        return double(value)

    def _stack(self, name: str) -> npt.NDArray[Any]:
        layers = range(len(self.hidden) - 1)
        return np.stack([self.nodes[f"{name}-{layer}"] for layer in layers])

    @property
    def router_idx(self) -> Ints:
        """Return the chosen experts, [n_layers, n_tokens, k]."""
        return self._stack("ffn_moe_topk")

    @property
    def router_weights(self) -> Double:
        """Return their final weights, [n_layers, n_tokens, k]."""
        return self._stack("ffn_moe_weights")


class Sizes(Protocol):
    """What every family's configuration says."""

    @property
    def n_layers(self) -> int:
        """Return the number of layers."""

    @property
    def norm_eps(self) -> float:
        """Return what norms add to the mean square."""

    @property
    def logit_softcap(self) -> float:
        """Return the bound of the logits, 0 for none."""

    @classmethod
    def from_file(cls, file: GGUFFile) -> Self:
        """Read the metadata, with the defaults of files that leave a key out."""


C = TypeVar("C", bound=Sizes)


class Decoder(Generic[C]):
    """A model in a file, evaluated token by token or many at once.

    A family says what its configuration is, how tokens are embedded (`_embed`) and what
    a layer does (`_layer`).
    """

    CONFIG: ClassVar[type[Any]]
    ALIASES: ClassVar[Mapping[str, str]] = {}  # other converters' names, by ours
    SCALES: ClassVar[frozenset[str]] = frozenset()  # of matrices, that a layer applies

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.config: C = self.CONFIG.from_file(file)
        n_elements = sum(t.n_rows * t.shape[-1] for t in file.tensors.values())
        self._keep = n_elements <= CACHED_ELEMENTS
        self._kept: dict[str, Double] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a GGUF file."""
        return cls(GGUFFile(path))

    def forward(self, ids: Sequence[int], n_wanted: int | None = None) -> Trace:
        """Evaluate a prompt from its first position; logits of the last `n_wanted`."""
        return self._run(ids, 0, {}, n_wanted)

    def greedy(self, ids: Sequence[int], n: int) -> list[int]:
        """Continue a prompt by the n tokens of the largest logits."""
        cache: Cache = {}
        logits = self._run(ids, 0, cache, 1).logits
        chosen: list[int] = []
        while True:
            chosen.append(int(np.argmax(logits[-1])))
            if len(chosen) == n:
                return chosen
            position = len(ids) + len(chosen) - 1
            logits = self._run(chosen[-1:], position, cache, 1).logits

    # What a family gives

    def _embed(self, ids: Sequence[int], trace: Trace) -> Double:
        """Return the residual before the first layer, [n_tokens, dim]."""
        raise NotImplementedError

    def _layer(
        self, x: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Return the residual after a layer, [n_tokens, dim]."""
        raise NotImplementedError

    # Weights

    def _name(self, name: str, layer: int) -> str:
        ours = f"blk.{layer}.{name}"
        if ours in self.file or name not in self.ALIASES:
            return ours
        return f"blk.{layer}.{self.ALIASES[name]}"

    def _weight(self, name: str, layer: int | None = None) -> Double:
        """Dequantise a tensor, once if the model is small."""
        full = name if layer is None else self._name(name, layer)
        if full not in self._kept:
            value = self._scaled(full, self.file.tensor(full))
            if not self._keep:
                return value
            self._kept[full] = value
        return self._kept[full]

    def _scaled(self, full: str, values: ops.Array) -> Double:
        """Multiply by the scale beside a matrix: of all of it, or of each expert."""
        beside = f"{full.removesuffix('.weight')}.scale"
        if beside not in self.file or beside.split(".", 2)[-1] in self.SCALES:
            return values.astype(np.float64)
        scale = self.file.tensor(beside).astype(np.float64)
        return double(values * scale.reshape(-1, *[1] * (values.ndim - 1)))

    def _has(self, name: str, layer: int) -> bool:
        return self._name(name, layer) in self.file

    def _norm(self, x: Double, name: str, layer: int) -> Double:
        """Apply a norm of a layer."""
        weight = self._weight(f"{name}.weight", layer)
        return double(ops.rms_norm(x, weight, self.config.norm_eps))

    def _linear(self, x: Double, name: str, layer: int) -> Double:
        """Apply a matrix of a layer, and its bias where the file has one."""
        y = double(ops.matmul(x, self._weight(f"{name}.weight", layer)))
        if self._has(f"{name}.bias", layer):
            y = y + self._weight(f"{name}.bias", layer)
        return y

    def _lookup(self, name: str, ids: Sequence[int], scale: float) -> Double:
        """Gather rows of a table without dequantising the rest."""
        rows = np.concatenate([self.file.rows(name, i, i + 1) for i in ids])
        return double(ops.embed(np.arange(len(ids)), self._scaled(name, rows), scale))

    # The pass

    def _run(
        self, ids: Sequence[int], start: int, cache: Cache, n_wanted: int | None
    ) -> Trace:
        """Evaluate tokens at positions from start on, after those in the cache."""
        trace = Trace()
        positions = np.arange(start, start + len(ids))
        x = self._embed(ids, trace)
        trace.nodes["inp_scaled"] = x
        trace.hidden.append(x)
        for layer in range(self.config.n_layers):
            x = self._layer(x, layer, positions, cache, trace)
            trace.hidden.append(trace.keep("l_out", layer, x))
        trace.logits = self._logits(x, trace, n_wanted)
        return trace

    def _remember(
        self, k: ops.Array, v: ops.Array, layer: int, cache: Cache
    ) -> tuple[Double, Double]:
        """Append keys and values of new positions to a layer's cache; return all."""
        if layer in cache:
            old_k, old_v = cache[layer]
            k, v = np.concatenate([old_k, k]), np.concatenate([old_v, v])
        cache[layer] = (double(k), double(v))
        return cache[layer]

    def _logits(self, x: Double, trace: Trace, n_wanted: int | None) -> Double:
        """Norm the last residual, multiply by the output matrix, soft-cap."""
        weight = self._weight("output_norm.weight")
        h = ops.rms_norm(x, weight, self.config.norm_eps)
        trace.nodes["result_norm"] = h
        h = h if n_wanted is None else h[len(h) - n_wanted :]
        tied = "output.weight" not in self.file
        name = "token_embd.weight" if tied else "output.weight"
        n_vocab = self.file.tensors[name].n_rows
        parts = [
            ops.matmul(h, self._output_rows(name, begin, n_vocab))
            for begin in range(0, n_vocab, LOGIT_ROWS)
        ]
        logits = np.concatenate(parts, axis=-1)
        cap = self.config.logit_softcap
        return double(ops.softcap(logits, cap) if cap else logits)

    def _output_rows(self, name: str, begin: int, n_vocab: int) -> ops.Array:
        """Return a slice of the output matrix."""
        end = min(begin + LOGIT_ROWS, n_vocab)
        if self._keep:
            return self._weight(name)[begin:end]
        return self._scaled(name, self.file.rows(name, begin, end))


def keys_of(file: GGUFFile) -> dict[str, Any]:
    """Return the metadata of a file's architecture, without its prefix."""
    prefix = f"{file.metadata['general.architecture']}."
    return {
        key.removeprefix(prefix): value
        for key, value in file.metadata.items()
        if key.startswith(prefix)
    }


def double(x: npt.NDArray[Any]) -> Double:
    """Return an array as float64."""
    return np.asarray(x, np.float64)
