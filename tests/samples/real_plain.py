"""The sizes of released models of other families, and the tensors of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.samples.gguf_bytes import typed
from tests.samples.real_tensors import Dims, fitted, gets_more_bits


@dataclass(frozen=True, slots=True)
class Plain:
    """The sizes of a model whose layers are all alike."""

    architecture: str
    n_layers: int
    dim: int
    ffn_dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_vocab: int
    n_ctx: int
    theta: float
    is_tied: bool
    eps: float = 1e-5
    rope_freqs: bool = False
    head_norms: bool = False
    n_experts: int = 0  # then ffn_dim is of no tensor
    n_experts_used: int = 0
    expert_ffn_dim: int = 0
    window: int = 0  # then every sixth layer is global, and branches are normed
    n_shared = 0  # layers without keys and values of their own


PLAIN = {
    "llama3.2-3b": Plain(
        *("llama", 28, 3072, 8192, 24, 8, 128, 128_256, 131_072, 5e5, True),
        rope_freqs=True,
    ),
    "llama3.1-8b": Plain(
        *("llama", 32, 4096, 14336, 32, 8, 128, 128_256, 131_072, 5e5, False),
        rope_freqs=True,
    ),
    "qwen3-8b": Plain(
        *("qwen3", 36, 4096, 12288, 32, 8, 128, 151_936, 40_960, 1e6, False),
        eps=1e-6,
        head_norms=True,
    ),
    "qwen3-30b-a3b": Plain(
        *("qwen3moe", 48, 2048, 6144, 32, 4, 128, 151_936, 40_960, 1e6, False),
        eps=1e-6,
        head_norms=True,
        n_experts=128,
        n_experts_used=8,
        expert_ffn_dim=768,
    ),
    "gemma3-4b": Plain(
        *("gemma3", 34, 2560, 10240, 8, 4, 256, 262_144, 131_072, 1e6, True),
        eps=1e-6,
        head_norms=True,
        window=1024,
    ),
    "gemma3-12b": Plain(
        *("gemma3", 48, 3840, 15360, 16, 8, 256, 262_144, 131_072, 1e6, True),
        eps=1e-6,
        head_norms=True,
        window=1024,
    ),
}


def tensors(
    shape: Plain, kept: list[int], n_vocab: int, types: tuple[int, str, str, str]
) -> Iterator[tuple[str, Dims, str]]:
    """Yield name, dims and type of every tensor.

    The matrix that gives the logits gets the bits of embeddings, whichever it is.
    """
    _, embedding, more, common = types
    yield "output_norm.weight", (shape.dim,), "F32"
    table = embedding if shape.is_tied else common
    yield "token_embd.weight", (shape.dim, n_vocab), fitted(table, shape.dim)
    if not shape.is_tied:
        yield "output.weight", (shape.dim, n_vocab), fitted(embedding, shape.dim)
    if shape.rope_freqs:
        yield "rope_freqs.weight", (shape.head_dim // 2,), "F32"
    for number, layer in enumerate(kept):
        for name, dims in layer_tensors(shape).items():
            kind = "F32"
            if len(dims) > 1 and name != "ffn_gate_inp.weight":
                is_chosen = name.startswith(("attn_v.", "ffn_down"))
                is_more = is_chosen and gets_more_bits(layer, shape.n_layers)
                kind = fitted(more if is_more else common, dims[0])
            yield f"blk.{number}.{name}", dims, kind


def layer_tensors(shape: Plain) -> dict[str, Dims]:
    """Return a layer's tensors by name."""
    dim, ffn, head = shape.dim, shape.ffn_dim, shape.head_dim
    q, kv = shape.n_heads * head, shape.n_kv_heads * head
    named: dict[str, Dims] = {
        "attn_k.weight": (dim, kv),
        "attn_norm.weight": (dim,),
        "attn_output.weight": (q, dim),
        "attn_q.weight": (dim, q),
        "attn_v.weight": (dim, kv),
        "ffn_norm.weight": (dim,),
    }
    if n := shape.n_experts:
        ffn = shape.expert_ffn_dim
        named |= {
            "ffn_down_exps.weight": (ffn, dim, n),
            "ffn_gate_exps.weight": (dim, ffn, n),
            "ffn_gate_inp.weight": (dim, n),
            "ffn_up_exps.weight": (dim, ffn, n),
        }
    else:
        named |= {
            "ffn_down.weight": (ffn, dim),
            "ffn_gate.weight": (dim, ffn),
            "ffn_up.weight": (dim, ffn),
        }
    if shape.head_norms:
        named |= {"attn_k_norm.weight": (head,), "attn_q_norm.weight": (head,)}
    if shape.window:
        named |= {"post_attention_norm.weight": (dim,), "post_ffw_norm.weight": (dim,)}
    return named


def sizes(shape: Plain, kept: list[int]) -> dict[str, Any]:
    """Return the architecture's own keys, as llama.cpp's converter writes them."""
    keys: dict[str, Any] = {
        "block_count": len(kept),
        "context_length": shape.n_ctx,
        "embedding_length": shape.dim,
        "feed_forward_length": shape.ffn_dim,
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": shape.n_kv_heads,
        "rope.freq_base": shape.theta,
        "attention.layer_norm_rms_epsilon": shape.eps,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
    }
    if shape.architecture == "llama":
        keys["rope.dimension_count"] = shape.head_dim
        keys["vocab_size"] = shape.n_vocab
    if shape.n_experts:
        keys |= {
            "expert_count": shape.n_experts,
            "expert_used_count": shape.n_experts_used,
            "expert_feed_forward_length": shape.expert_ffn_dim,
        }
    if shape.window:
        keys |= {
            "attention.sliding_window": shape.window,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            # A cut file says itself which of its layers slide.
            "attention.sliding_window_pattern": typed(
                "bool", [(layer + 1) % 6 != 0 for layer in kept]
            ),
        }
    return keys
