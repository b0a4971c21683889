"""Gemma 4's text decoder, evaluated in float64 with every intermediate named.

Words of this project, of GGUF metadata, and of Hugging Face's configuration:

    n_layers            block_count                  num_hidden_layers
    dim                 embedding_length             hidden_size
    n_heads             attention.head_count         num_attention_heads
    head_dim            attention.key_length(_swa)   (global_)head_dim
    sliding_window      attention.sliding_window     sliding_window
    n_kv_shared_layers  attention.shared_kv_layers   num_kv_shared_layers
    per_layer_dim       embedding_length_per_layer_input
                                                     hidden_size_per_layer_input
    rope_theta          rope.freq_base(_swa)         rope_theta
    logit_softcap       final_logit_softcapping      final_logit_softcapping
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import ops
from oracle.decoder import Cache, Decoder, Double, Ints, Trace, double, keys_of
from oracle.gguf_file import GGUFFile

# Names that other converters wrote, by the name used here (without its layer).
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
NO_ROTATION = 1e20  # frequency factors above this stop a pair from turning


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a model; pairs are (global, sliding)."""

    n_layers: int
    dim: int
    n_heads: int
    head_dims: tuple[int, int]
    is_sliding: tuple[bool, ...]
    sliding_window: int
    n_kv_shared_layers: int
    per_layer_dim: int
    n_experts_used: int
    rope_thetas: tuple[float, float]
    n_rotated_pairs: tuple[int, int]
    norm_eps: float
    logit_softcap: float

    @classmethod
    def from_file(cls, file: GGUFFile) -> Config:
        """Read the metadata, with the defaults of files that leave a key out."""
        keys = keys_of(file)
        n_layers = int(keys["block_count"])
        head_dims = (
            int(keys.get("attention.key_length", 512)),
            int(keys.get("attention.key_length_swa", 256)),
        )
        sliding_theta = keys.get("rope.local.freq_base", 1e4)
        return cls(
            n_layers=n_layers,
            dim=int(keys["embedding_length"]),
            n_heads=_first(keys["attention.head_count"]),
            head_dims=head_dims,
            is_sliding=_pattern(keys["attention.sliding_window_pattern"], n_layers),
            sliding_window=int(keys["attention.sliding_window"]),
            n_kv_shared_layers=int(keys.get("attention.shared_kv_layers", 0)),
            per_layer_dim=int(keys.get("embedding_length_per_layer_input", 0)),
            n_experts_used=int(keys.get("expert_used_count", 0)),
            rope_thetas=(
                float(keys.get("rope.freq_base", 1e6)),
                float(keys.get("rope.freq_base_swa", sliding_theta)),
            ),
            n_rotated_pairs=(
                _n_global_pairs(file, keys, head_dims[0]),
                head_dims[1] // 2,
            ),
            norm_eps=float(keys.get("attention.layer_norm_rms_epsilon", 1e-6)),
            logit_softcap=float(keys.get("final_logit_softcapping", 0)),
        )

    @property
    def first_shared(self) -> int:
        """Return the first layer that reads another layer's cache."""
        return self.n_layers - self.n_kv_shared_layers

    def donor(self, layer: int) -> int:
        """Return the layer whose cache a layer reads: the last of its kind."""
        if layer < self.first_shared:
            return layer
        kind = self.is_sliding[layer]
        return max(j for j in range(self.first_shared) if self.is_sliding[j] == kind)

    def window(self, layer: int) -> int | None:
        """Return the number of keys a sliding layer sees, None for a global one."""
        return self.sliding_window if self.is_sliding[layer] else None


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)


def _pattern(value: Any, n_layers: int) -> tuple[bool, ...]:
    """Expand a period n: every n-th layer is global."""
    if isinstance(value, list):
        return tuple(bool(v) for v in value)
    return tuple((layer + 1) % value != 0 for layer in range(n_layers))


def _n_global_pairs(file: GGUFFile, keys: Mapping[str, Any], head_dim: int) -> int:
    """Count the pairs that rotate in a global head: a quarter if nothing says so."""
    if "rope_freqs.weight" not in file:
        factor = float(keys.get("rope.partial_rotary_factor", 0.25))
        return int(head_dim * factor) // 2
    turns = file.tensor("rope_freqs.weight") < NO_ROTATION
    count = int(turns.sum())
    if not turns[:count].all():
        raise ValueError("rope_freqs: pairs that rotate are not the first ones")
    return count


class Gemma4(Decoder[Config]):
    """A Gemma 4 text model."""

    CONFIG = Config
    ALIASES = ALIASES
    SCALES = frozenset({"ffn_gate_inp.scale", "ffn_down_exps.scale"})

    def _embed(self, ids: Sequence[int], trace: Trace) -> Double:
        """Scale the embeddings, and prepare all layers' own inputs."""
        x = self._lookup("token_embd.weight", ids, self.config.dim**0.5)
        if self.config.per_layer_dim:
            trace.nodes["inp_per_layer"] = self._per_layer_inputs(ids, x)
        return x

    def _layer(
        self, x: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Attend, feed forward, add the layer's own input, scale."""
        x = self._attention(x, layer, positions, cache, trace)
        x = self._feed_forward(x, layer, trace)
        x = self._per_layer_embedding(x, layer, trace)
        if self._has("layer_output_scale.weight", layer):
            x = x * self._weight("layer_output_scale.weight", layer).reshape(())
        return x

    def _per_layer_inputs(self, ids: Sequence[int], x: Double) -> Double:
        """Compute all layers' inputs; result [n_tokens, n_layers, per_layer_dim]."""
        config = self.config
        pp = ops.matmul(x, self._weight("per_layer_model_proj.weight"))
        pe = self._lookup("per_layer_token_embd.weight", ids, 1.0)
        weight = self._weight("per_layer_proj_norm.weight")
        scale_pp, scale_pe = config.dim**-0.5, config.per_layer_dim**0.5
        combined = ops.ple_combine(pp, pe, weight, scale_pp, scale_pe, config.norm_eps)
        return double(combined).reshape(len(ids), config.n_layers, -1)

    def _attention(
        self, x: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Add the attention branch to the residual."""
        config = self.config
        a = trace.keep("attn_norm", layer, self._norm(x, "attn_norm", layer))
        q = self._heads(self._linear(a, "attn_q", layer), layer)
        q_norm = self._weight("attn_q_norm.weight", layer)
        q = double(ops.head_norm_rope(q, q_norm, positions, *self._rope(layer)))
        trace.keep("Qcur_pos", layer, q)
        if layer < config.first_shared:
            self._extend_cache(a, layer, positions, cache, trace)
        k, v = cache[config.donor(layer)]
        o = ops.attention(q, k, v, positions, config.window(layer))
        flat = trace.keep("kqv_out", layer, o.reshape(len(positions), -1))
        branch = self._linear(flat, "attn_output", layer)
        branch = self._norm(branch, "post_attention_norm", layer)
        trace.keep("attn_post_norm", layer, branch)
        return trace.keep("attn_out", layer, x + branch)

    def _heads(self, x: Double, layer: int) -> Double:
        """Split into heads; result [n_tokens, heads, head_dim]."""
        head_dim = self.config.head_dims[self.config.is_sliding[layer]]
        return x.reshape(x.shape[0], -1, head_dim)

    def _rope(self, layer: int) -> tuple[float, int, float]:
        """Return theta, the number of pairs that rotate, and the norm's eps."""
        config, kind = self.config, self.config.is_sliding[layer]
        return config.rope_thetas[kind], config.n_rotated_pairs[kind], config.norm_eps

    def _extend_cache(
        self, a: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> None:
        """Append the K and V of the new positions; without attn_v, V is the raw K."""
        k_raw = v_raw = self._heads(self._linear(a, "attn_k", layer), layer)
        if self._has("attn_v.weight", layer):
            v_raw = self._heads(self._linear(a, "attn_v", layer), layer)
        k_norm = self._weight("attn_k_norm.weight", layer)
        k, v = ops.kv_write(k_raw, v_raw, k_norm, positions, *self._rope(layer))
        trace.keep("Kcur_pos", layer, k)
        trace.keep("Vcur_normed", layer, v)
        self._remember(k, v, layer, cache)

    def _feed_forward(self, x: Double, layer: int, trace: Trace) -> Double:
        """Add the feed-forward branch to the residual."""
        if self._has("ffn_gate_inp.weight", layer):
            branch = self._experts_and_mlp(x, layer, trace)
        else:
            h = trace.keep("ffn_norm", layer, self._norm(x, "ffn_norm", layer))
            branch = trace.keep("ffn_out", layer, self._mlp(h, layer))
        branch = self._norm(branch, "post_ffw_norm", layer)
        return x + trace.keep("ffn_post_norm", layer, branch)

    def _mlp(self, h: Double, layer: int) -> Double:
        """Apply the dense gated MLP."""
        gate = self._linear(h, "ffn_gate", layer)
        up = self._linear(h, "ffn_up", layer)
        return self._linear(double(ops.geglu(gate, up)), "ffn_down", layer)

    def _experts_and_mlp(self, r: Double, layer: int, trace: Trace) -> Double:
        """Sum the dense branch and the experts, each with its own norms."""
        eps = self.config.norm_eps
        h = trace.keep("ffn_norm_1", layer, self._norm(r, "ffn_norm", layer))
        dense = self._mlp(h, layer)
        experts = self._experts(r, layer, trace)
        weight_1 = self._weight("post_ffw_norm_1.weight", layer)
        weight_2 = self._weight("post_ffw_norm_2.weight", layer)
        trace.keep("ffn_mlp", layer, ops.rms_norm(dense, weight_1, eps))
        trace.keep("ffn_moe", layer, ops.rms_norm(experts, weight_2, eps))
        total = ops.norm_sum(dense, weight_1, experts, weight_2, eps)
        return trace.keep("ffn_moe_combined", layer, total)

    def _route(
        self, r: Double, layer: int, trace: Trace
    ) -> tuple[npt.NDArray[np.int32], Double]:
        """Choose experts from the residual, which no norm weight has touched."""
        config = self.config
        scale = self._weight("ffn_gate_inp.scale", layer)
        z = ops.rms_norm(r, scale, config.norm_eps, scale=config.dim**-0.5)
        logits = ops.matmul(z, self._weight("ffn_gate_inp.weight", layer))
        trace.keep("ffn_moe_logits", layer, logits)
        per_expert = self._weight("ffn_down_exps.scale", layer)
        idx, weights = ops.router_top_k(logits, per_expert, config.n_experts_used)
        trace.nodes[f"ffn_moe_topk-{layer}"] = idx
        trace.keep("ffn_moe_weights", layer, weights)
        return idx, double(weights)

    def _experts(self, r: Double, layer: int, trace: Trace) -> Double:
        """Run each token through its experts and sum by the router's weights."""
        idx, weights = self._route(r, layer, trace)
        h = self._norm(r, "pre_ffw_norm_2", layer)
        trace.keep("ffn_norm_2", layer, h)
        down = self._weight("ffn_down_exps.weight", layer)
        offsets, token_idx, perm = ops.expert_sort(idx, down.shape[0])
        if self._has("ffn_gate_up_exps.weight", layer):
            fused = self._weight("ffn_gate_up_exps.weight", layer)
            both = ops.expert_matmul(h, offsets, token_idx, fused)
            gate, up = np.split(both, 2, axis=-1)
        else:
            w_gate = self._weight("ffn_gate_exps.weight", layer)
            w_up = self._weight("ffn_up_exps.weight", layer)
            gate = ops.expert_matmul(h, offsets, token_idx, w_gate)
            up = ops.expert_matmul(h, offsets, token_idx, w_up)
        y = ops.expert_matmul(ops.geglu(gate, up), offsets, None, down)
        return double(ops.expert_combine(y, perm, weights))

    def _per_layer_embedding(self, x: Double, layer: int, trace: Trace) -> Double:
        """Add the branch gated by this layer's own input, where a model has them."""
        if not self.config.per_layer_dim:
            return x
        trace.keep("pe_in", layer, x)
        gate = self._linear(x, "inp_gate", layer)
        gated = ops.geglu(gate, trace.nodes["inp_per_layer"][:, layer])
        branch = self._linear(double(gated), "proj", layer)
        branch = self._norm(branch, "post_norm", layer)
        return x + trace.keep("per_layer_embd_out", layer, branch)
