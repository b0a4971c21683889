"""Gemma 3's text decoder: sliding and global layers, norms on both sides of a branch.

    sliding_window  attention.sliding_window          sliding_window
    is_sliding      attention.sliding_window_pattern  layer_types
    rope_thetas     rope.freq_base(_swa)              rope_theta, rope_local_base_freq
    rope_scale      1 / rope.scaling.factor           rope_scaling, of global layers

The keys that published files leave out have defaults: five sliding layers to a global
one, the bases 1e6 and 1e4, and for 4b, 12b and 27b a linear scaling by 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oracle import ops
from oracle.decoder import Cache, Decoder, Double, Ints, Trace, double, keys_of
from oracle.gguf_file import GGUFFile
from oracle.llama import linear_scale

PERIOD = 6
SCALED_LAYERS = (34, 48, 62)  # of the sizes with a linear scaling: 4b, 12b, 27b
LARGEST = 62  # layers of 27b, whose scores are scaled by dim / n_heads


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a model; pairs are (global, sliding)."""

    n_layers: int
    dim: int
    head_dim: int
    is_sliding: tuple[bool, ...]
    sliding_window: int
    rope_thetas: tuple[float, float]
    rope_scale: float  # of a global layer's angles
    score_scale: float
    norm_eps: float
    logit_softcap: float

    @classmethod
    def from_file(cls, file: GGUFFile) -> Config:
        """Read the metadata, with the defaults of files that leave a key out."""
        keys = keys_of(file)
        n_layers, dim = int(keys["block_count"]), int(keys["embedding_length"])
        n_heads = int(keys["attention.head_count"])
        head_dim = int(keys.get("attention.key_length", dim // n_heads))
        theta = keys.get("rope.freq_base", keys.get("rope.global.freq_base", 1e6))
        theta_swa = keys.get(
            "rope.freq_base_swa", keys.get("rope.local.freq_base", 1e4)
        )
        default_scale = 1 / 8 if n_layers in SCALED_LAYERS else 1.0
        scored = dim // n_heads if n_layers == LARGEST else head_dim
        return cls(
            n_layers=n_layers,
            dim=dim,
            head_dim=head_dim,
            is_sliding=_pattern(keys, n_layers),
            sliding_window=int(keys["attention.sliding_window"]),
            rope_thetas=(float(theta), float(theta_swa)),
            rope_scale=linear_scale(keys, default_scale),
            score_scale=scored**-0.5,
            norm_eps=float(keys.get("attention.layer_norm_rms_epsilon", 1e-6)),
            logit_softcap=float(keys.get("final_logit_softcapping", 0)),
        )


def _pattern(keys: dict[str, Any], n_layers: int) -> tuple[bool, ...]:
    """Return which layers slide: as listed, or all but each n-th."""
    value = keys.get("attention.sliding_window_pattern", PERIOD)
    if isinstance(value, list):
        return tuple(bool(v) for v in value)
    return tuple((layer + 1) % value != 0 for layer in range(n_layers))


class Gemma3(Decoder[Config]):
    """A Gemma 3 text model."""

    CONFIG = Config

    def _embed(self, ids: Sequence[int], trace: Trace) -> Double:
        """Scale the embeddings."""
        return self._lookup("token_embd.weight", ids, self.config.dim**0.5)

    def _layer(
        self, x: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Add the attention branch, then the feed-forward branch, each normed."""
        h = trace.keep("attn_norm", layer, self._norm(x, "attn_norm", layer))
        branch = self._attention(h, layer, positions, cache, trace)
        branch = self._norm(branch, "post_attention_norm", layer)
        x = trace.keep("attn_out", layer, x + branch)
        h = trace.keep("ffn_norm", layer, self._norm(x, "ffn_norm", layer))
        branch = trace.keep("ffn_out", layer, self._mlp(h, layer))
        return x + self._norm(branch, "post_ffw_norm", layer)

    def _attention(
        self, h: Double, layer: int, positions: Ints, cache: Cache, trace: Trace
    ) -> Double:
        """Attend to the keys of the window, or to all; values are not normed."""
        config = self.config
        q = self._heads(h, "attn_q", layer, positions)
        k = self._heads(h, "attn_k", layer, positions)
        v = self._linear(h, "attn_v", layer).reshape(len(h), -1, config.head_dim)
        trace.keep("Qcur_pos", layer, q * config.score_scale)
        trace.keep("Kcur_pos", layer, k)
        trace.keep("Vcur_normed", layer, v)
        k, v = self._remember(k, v, layer, cache)
        window = config.sliding_window if config.is_sliding[layer] else None
        o = ops.attention(q, k, v, positions, window, config.score_scale)
        flat = trace.keep("kqv_out", layer, o.reshape(len(positions), -1))
        return self._linear(flat, "attn_output", layer)

    def _heads(self, h: Double, name: str, layer: int, positions: Ints) -> Double:
        """Project to heads, norm each and turn it by its layer's kind."""
        config, is_sliding = self.config, self.config.is_sliding[layer]
        x = self._linear(h, name, layer).reshape(len(h), -1, config.head_dim)
        x = self._norm(x, f"{name}_norm", layer)
        scale = 1.0 if is_sliding else config.rope_scale
        theta = config.rope_thetas[is_sliding]
        frequencies = ops.rope_frequencies(theta, config.head_dim, scale=scale)
        return ops.rotate(x, positions, frequencies)

    def _mlp(self, h: Double, layer: int) -> Double:
        """Apply the gated MLP."""
        gate = self._linear(h, "ffn_gate", layer)
        up = self._linear(h, "ffn_up", layer)
        return self._linear(double(ops.geglu(gate, up)), "ffn_down", layer)
