"""Writes two tiny Gemma 4 files whose weights follow from a hash of their names."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

DIM, N_HEADS, N_VOCAB = 32, 4, 64
HEAD_DIM_GLOBAL, HEAD_DIM_SLIDING = 16, 8
WINDOW, SOFTCAP = 4, 30.0
IDS = (2, 5, 17, 33, 8, 60, 41, 7, 7, 12)


@dataclass(frozen=True, slots=True)
class Toy:
    """The sizes in which the toys differ; n_kv_heads is (global, sliding)."""

    is_sliding: tuple[bool, ...]
    n_kv_heads: tuple[int, int]
    ffn_dims: tuple[int, ...]
    n_kv_shared_layers: int = 0
    per_layer_dim: int = 0
    n_experts: int = 0
    expert_ffn_dim: int = 0
    global_v_is_k: bool = False
    pattern_as_period: bool = False


S, G = True, False
# Like e2b: per-layer embeddings, shared KV, a double-wide MLP where it is shared.
TOY_A = Toy((S, S, G, S, S, G), (1, 1), (48,) * 3 + (96,) * 3, 3, per_layer_dim=8)
# Like 26b-a4b: experts beside a dense MLP, V = K in the global layer.
TOY_B = Toy(
    (S, S, G), (1, 2), (24,) * 3, n_experts=8, expert_ffn_dim=12, global_v_is_k=True
)


def hashed(name: str, n: int) -> np.ndarray:
    """Return n numbers in [-1, 1) that depend on the name and the index alone."""
    j = np.arange(n, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    u = (j * np.uint64(2654435761) + np.uint64(binascii.crc32(name.encode()))) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        u = ((u ^ (u >> np.uint64(shift))) * np.uint64(factor)) & mask
    u ^= u >> np.uint64(16)
    return u.astype(np.float64) / 2**32 * 2 - 1


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor, scaled by what its name says it is."""
    g = hashed(name, int(np.prod(shape))).reshape(shape)
    if name == "rope_freqs.weight":
        return np.where(np.arange(shape[0]) < 2, 1.0, 1e30)
    if "norm" in name:
        return 1 + 0.3 * g
    if "token_embd" in name:
        return 0.5 * g
    if "layer_output_scale" in name:
        return 0.8 + 0.1 * g
    if name.endswith(".scale"):
        return 1 + (0.5 if "ffn_gate_inp" in name else 0.3) * g
    router = 4 if name.endswith("ffn_gate_inp.weight") else 1
    return g * 1.2 / shape[-1] ** 0.5 * router


def layer_shapes(toy: Toy, layer: int) -> dict[str, tuple[int, ...]]:
    """List a layer's tensors in NumPy order, without their prefix."""
    sliding, ffn_dim = toy.is_sliding[layer], toy.ffn_dims[layer]
    head_dim = HEAD_DIM_SLIDING if sliding else HEAD_DIM_GLOBAL
    kv_dim = toy.n_kv_heads[sliding] * head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (DIM,),
        "attn_q.weight": (N_HEADS * head_dim, DIM),
        "attn_k.weight": (kv_dim, DIM),
        "attn_output.weight": (DIM, N_HEADS * head_dim),
        "attn_q_norm.weight": (head_dim,),
        "attn_k_norm.weight": (head_dim,),
        "post_attention_norm.weight": (DIM,),
        "ffn_norm.weight": (DIM,),
        "ffn_gate.weight": (ffn_dim, DIM),
        "ffn_up.weight": (ffn_dim, DIM),
        "ffn_down.weight": (DIM, ffn_dim),
        "post_ffw_norm.weight": (DIM,),
        "layer_output_scale.weight": (1,),
    }
    if sliding or not toy.global_v_is_k:
        shapes["attn_v.weight"] = (kv_dim, DIM)
    return shapes | expert_shapes(toy) | per_layer_shapes(toy)


def expert_shapes(toy: Toy) -> dict[str, tuple[int, ...]]:
    """List what a layer with experts has besides."""
    if not toy.n_experts:
        return {}
    n_experts, ffn_dim = toy.n_experts, toy.expert_ffn_dim
    return {
        "ffn_gate_inp.weight": (n_experts, DIM),
        "ffn_gate_inp.scale": (DIM,),
        "ffn_down_exps.scale": (n_experts,),
        "ffn_gate_up_exps.weight": (n_experts, 2 * ffn_dim, DIM),
        "ffn_down_exps.weight": (n_experts, DIM, ffn_dim),
        "post_ffw_norm_1.weight": (DIM,),
        "pre_ffw_norm_2.weight": (DIM,),
        "post_ffw_norm_2.weight": (DIM,),
    }


def per_layer_shapes(toy: Toy) -> dict[str, tuple[int, ...]]:
    """List what a layer with its own embedding has besides."""
    if not toy.per_layer_dim:
        return {}
    return {
        "inp_gate.weight": (toy.per_layer_dim, DIM),
        "proj.weight": (DIM, toy.per_layer_dim),
        "post_norm.weight": (DIM,),
    }


def tensor_shapes(toy: Toy) -> dict[str, tuple[int, ...]]:
    """List all tensors of a file."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (N_VOCAB, DIM),
        "output_norm.weight": (DIM,),
        "rope_freqs.weight": (HEAD_DIM_GLOBAL // 2,),
    }
    if toy.per_layer_dim:
        width = toy.per_layer_dim * len(toy.is_sliding)
        shapes["per_layer_token_embd.weight"] = (N_VOCAB, width)
        shapes["per_layer_model_proj.weight"] = (width, DIM)
        shapes["per_layer_proj_norm.weight"] = (toy.per_layer_dim,)
    for layer in range(len(toy.is_sliding)):
        named = layer_shapes(toy, layer).items()
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in named}
    return shapes


def write_metadata(writer: gguf.GGUFWriter, toy: Toy) -> None:
    """Write the sizes; constants that have a default are left to it."""
    writer.add_block_count(len(toy.is_sliding))
    writer.add_embedding_length(DIM)
    writer.add_feed_forward_length(list(toy.ffn_dims))
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv([toy.n_kv_heads[s] for s in toy.is_sliding])
    writer.add_key_length(HEAD_DIM_GLOBAL)
    writer.add_key_length_swa(HEAD_DIM_SLIDING)
    writer.add_sliding_window(WINDOW)
    # As an array, or, as some converters write it, the period of the global layers.
    periodic = toy.pattern_as_period
    writer.add_sliding_window_pattern(3 if periodic else list(toy.is_sliding))
    writer.add_final_logit_softcapping(SOFTCAP)
    writer.add_shared_kv_layers(toy.n_kv_shared_layers)
    if toy.per_layer_dim:
        writer.add_embedding_length_per_layer_input(toy.per_layer_dim)
    if toy.n_experts:
        writer.add_expert_count(toy.n_experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(toy.expert_ffn_dim)


def toy_tensors(toy: Toy) -> dict[str, np.ndarray]:
    """Make all tensors of a file, rounded to float32."""
    shapes = tensor_shapes(toy).items()
    return {name: weight(name, shape).astype(np.float32) for name, shape in shapes}


def write_toy(
    path: Path, toy: Toy, tensors: dict[str, np.ndarray] | None = None
) -> Path:
    """Write a toy in float32, or other tensors under its metadata."""
    writer = gguf.GGUFWriter(path, "gemma4")
    write_metadata(writer, toy)
    for name, values in (tensors or toy_tensors(toy)).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
