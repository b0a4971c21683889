"""Writes tiny models with routed layers, of any kind that files come in, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

from tests.samples.toy_models import N_VOCAB, weight

DIM, N_HEADS, N_KV_HEADS, HEAD_DIM, N_LAYERS = 32, 4, 2, 16, 3
DENSE_FFN_DIM = 40
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class RoutedToy:
    """What the toys differ in."""

    architecture: str = "qwen3moe"
    n_experts: int = 6
    n_used: int = 2
    ffn_dim: int = 12  # of an expert
    fused: bool = False  # gate and up in one tensor
    dense: tuple[int, ...] = ()  # layers without a router
    # More keys of the architecture's, or others in place of what is written; None: not.
    keys: Mapping[str, int | float | bool | None] = field(default_factory=dict)


def tensors(toy: RoutedToy) -> Tensors:
    """Make all tensors of a file; what they hold follows from their names."""
    shapes = {"token_embd.weight": (N_VOCAB, DIM), "output_norm.weight": (DIM,)}
    for layer in range(N_LAYERS):
        named = {**_attention(toy), **_feed_forward(toy, layer)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in named.items()}
    return {name: weight(name, s).astype(np.float32) for name, s in shapes.items()}


def _attention(toy: RoutedToy) -> dict[str, tuple[int, ...]]:
    q, kv = N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (DIM,),
        "attn_q.weight": (q, DIM),
        "attn_k.weight": (kv, DIM),
        "attn_v.weight": (kv, DIM),
        "attn_output.weight": (DIM, q),
        "ffn_norm.weight": (DIM,),
    }
    if toy.architecture != "llama":
        shapes["attn_q_norm.weight"] = shapes["attn_k_norm.weight"] = (HEAD_DIM,)
    return shapes


def _feed_forward(toy: RoutedToy, layer: int) -> dict[str, tuple[int, ...]]:
    if layer in toy.dense:
        return {
            "ffn_gate.weight": (DENSE_FFN_DIM, DIM),
            "ffn_up.weight": (DENSE_FFN_DIM, DIM),
            "ffn_down.weight": (DIM, DENSE_FFN_DIM),
        }
    n, ffn = toy.n_experts, toy.ffn_dim
    shapes: dict[str, tuple[int, ...]] = {
        "ffn_gate_inp.weight": (n, DIM),
        "ffn_down_exps.weight": (n, DIM, ffn),
    }
    if toy.fused:
        return shapes | {"ffn_gate_up_exps.weight": (n, 2 * ffn, DIM)}
    halves = {f"ffn_{name}_exps.weight": (n, ffn, DIM) for name in ("gate", "up")}
    return shapes | halves


def write(path: Path, toy: RoutedToy, values: Tensors | None = None) -> Path:
    """Write a toy, or other tensors under its metadata."""
    writer = gguf.GGUFWriter(path, toy.architecture)
    keys = {
        "block_count": N_LAYERS,
        "context_length": 256,
        "embedding_length": DIM,
        "feed_forward_length": DENSE_FFN_DIM if toy.dense else toy.ffn_dim,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": N_KV_HEADS,
        "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
        "expert_count": toy.n_experts,
        "expert_used_count": toy.n_used,
        "expert_feed_forward_length": toy.ffn_dim,
        **toy.keys,
    }
    for key, value in keys.items():
        name = f"{toy.architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif value is not None:
            writer.add_float32(name, value)
    for name, array in (values or tensors(toy)).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
