"""Llama's text decoder, and what Qwen 2, Qwen 3 and Qwen 3 MoE have in common with it.

Llama 2 and 3, Mistral, SmolLM2 and others are files of architecture `llama`. Queries
and keys turn in neighbouring pairs, for whose sake the converter has permuted the rows
of attn_q and attn_k. Llama 3.1 and later scale the angles by the tensor rope_freqs.

    n_layers   block_count              num_hidden_layers
    head_dim   attention.key_length     head_dim, or dim / n_heads
    n_rotated  rope.dimension_count     (rotary_dim)
    rope_theta rope.freq_base           rope_theta

Mixtral is a `llama` whose layers have a router and experts in place of the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from oracle import ops
from oracle.decoder import Cache, Decoder, Double, Ints, Trace, double, keys_of
from oracle.gguf_file import GGUFFile


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a model without layers of several kinds."""

    n_layers: int
    dim: int
    head_dim: int
    n_rotated: int  # elements of a head that turn
    rope_theta: float
    rope_scale: float  # of all angles
    norm_eps: float
    n_experts_used: int
    renormalised: bool  # the weights of the experts that a token uses add up to 1
    logit_softcap: float = 0.0

    @classmethod
    def from_file(cls, file: GGUFFile) -> Config:
        """Read the metadata, with the defaults of files that leave a key out."""
        keys = keys_of(file)
        dim, n_heads = int(keys["embedding_length"]), int(keys["attention.head_count"])
        head_dim = int(keys.get("attention.key_length", dim // n_heads))
        return cls(
            n_layers=int(keys["block_count"]),
            dim=dim,
            head_dim=head_dim,
            n_rotated=int(keys.get("rope.dimension_count", head_dim)),
            rope_theta=float(keys.get("rope.freq_base", 1e4)),
            rope_scale=linear_scale(keys),
            norm_eps=float(keys["attention.layer_norm_rms_epsilon"]),
            n_experts_used=int(keys.get("expert_used_count", 0)),
            renormalised=bool(keys.get("expert_weights_norm", True)),
        )


def linear_scale(keys: dict[str, Any], default: float = 1.0) -> float:
    """Return what a file's linear scaling multiplies angles by."""
    kind = keys.get("rope.scaling.type", "linear")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise ValueError(f"rope.scaling.type: {kind!r} is not known here")
    factor = keys.get("rope.scaling.factor", keys.get("rope.scale_linear"))
    return default if factor is None else 1.0 / float(factor)


class Llama(Decoder[Config]):
    """A model of architecture `llama`."""

    CONFIG = Config
    NEIGHBOURS: ClassVar[bool] = True  # turn (2 i, 2 i + 1), not (i, i + half)

    def _embed(self, ids: Sequence[int], trace: Trace) -> Double:
        """Look the embeddings up; they are not scaled."""
        return self._lookup("token_embd.weight", ids, 1.0)

    def _layer(
        self, x: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Add the attention branch, then the feed-forward branch."""
        h = trace.keep("attn_norm", layer, self._norm(x, "attn_norm", layer))
        branch = self._attention(h, layer, positions, cache, trace)
        x = trace.keep("attn_out", layer, x + branch)
        h = trace.keep("ffn_norm", layer, self._norm(x, "ffn_norm", layer))
        return x + trace.keep("ffn_out", layer, self._feed_forward(h, layer, trace))

    def _attention(
        self, h: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Attend to all keys so far; where a file has norms of q and k, they apply."""
        q = self._heads(h, "attn_q", layer, positions)
        k = self._heads(h, "attn_k", layer, positions)
        v = self._split(self._linear(h, "attn_v", layer))
        scale = self.config.head_dim**-0.5
        trace.keep("Qcur_pos", layer, q * scale)
        trace.keep("Kcur_pos", layer, k)
        trace.keep("Vcur_normed", layer, v)
        k, v = self._remember(k, v, layer, cache)
        o = ops.attention(q, k, v, positions, None, scale)
        flat = trace.keep("kqv_out", layer, o.reshape(len(positions), -1))
        return self._linear(flat, "attn_output", layer)

    def _split(self, x: Double) -> Double:
        """Split into heads; result [n_tokens, heads, head_dim]."""
        return x.reshape(x.shape[0], -1, self.config.head_dim)

    def _heads(self, h: Double, name: str, layer: int, positions: Ints) -> Double:
        """Project to heads, norm each if the file has a weight for it, and turn it."""
        x = self._split(self._linear(h, name, layer))
        if self._has(f"{name}_norm.weight", layer):
            x = self._norm(x, f"{name}_norm", layer)
        return ops.rotate(x, positions, self._frequencies(), self.NEIGHBOURS)

    def _frequencies(self) -> Double:
        config = self.config
        has_factors = "rope_freqs.weight" in self.file
        factors = self._weight("rope_freqs.weight") if has_factors else None
        return ops.rope_frequencies(
            config.rope_theta, config.n_rotated, factors, config.rope_scale
        )

    def _feed_forward(self, h: Double, layer: int, trace: Trace) -> Double:
        """Apply the gated MLP, or where the layer has a router its experts."""
        if self._has("ffn_gate_inp.weight", layer):
            return self._routed(h, layer, trace)
        gate = self._linear(h, "ffn_gate", layer)
        up = self._linear(h, "ffn_up", layer)
        return self._linear(double(ops.swiglu(gate, up)), "ffn_down", layer)

    def _routed(self, h: Double, layer: int, trace: Trace) -> Double:
        """Run each token through its experts and sum by the router's weights."""
        config = self.config
        logits = ops.matmul(h, self._weight("ffn_gate_inp.weight", layer))
        trace.keep("ffn_moe_logits", layer, logits)
        idx, weights = ops.router_top_k(
            logits, None, config.n_experts_used, config.renormalised
        )
        trace.nodes[f"ffn_moe_topk-{layer}"] = idx
        trace.keep("ffn_moe_weights", layer, weights)
        offsets, token_idx, perm = ops.expert_sort(idx, logits.shape[-1])
        left, right = (
            ops.expert_matmul(h, offsets, token_idx, weight)
            for weight in self._gate_up(layer)
        )
        down = self._weight("ffn_down_exps.weight", layer)
        y = ops.expert_matmul(ops.swiglu(left, right), offsets, None, down)
        return double(ops.expert_combine(y, perm, weights))

    def _gate_up(self, layer: int) -> Sequence[Double]:
        """Return the experts' gate and up, which a file may hold in one tensor."""
        if self._has("ffn_gate_up_exps.weight", layer):
            return np.split(self._weight("ffn_gate_up_exps.weight", layer), 2, axis=1)
        names = ("ffn_gate_exps.weight", "ffn_up_exps.weight")
        return [self._weight(name, layer) for name in names]
