"""The demonstration model in Hugging Face's Gemma 4, and its experts for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

PATTERN = "SSGSSG"
N_EXPERTS = 8


def config(n_vocab: int, ids: dict[str, int], **changes: Any) -> Gemma4TextConfig:
    """Return the sizes: every row is a multiple of 32, Q8_0's block."""
    sizes: dict[str, Any] = {
        "vocab_size": n_vocab,
        "vocab_size_per_layer_input": n_vocab,
        "hidden_size": 160,
        "intermediate_size": 320,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "global_head_dim": 64,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "sliding_window": 64,
        "enable_moe_block": True,
        "num_experts": N_EXPERTS,
        "top_k_experts": 2,
        "moe_intermediate_size": 64,
        "max_position_embeddings": 2048,
        "final_logit_softcapping": 30.0,
        "rms_norm_eps": 1e-6,
        "hidden_size_per_layer_input": 0,
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "tie_word_embeddings": True,
        "use_bidirectional_attention": None,
        **changes,
    }
    names = {"S": "sliding_attention", "G": "full_attention"}
    layer_types = [names[kind] for kind in sizes.pop("pattern", PATTERN)]
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {
            "rope_type": "proportional",
            "rope_theta": 1e6,
            "partial_rotary_factor": 0.25,
        },
    }
    return Gemma4TextConfig(
        num_hidden_layers=len(layer_types),
        layer_types=layer_types,
        rope_parameters=rope,
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<bos>"],
        eos_token_id=ids["<eos>"],
        **sizes,
    )


def build(sizes: Gemma4TextConfig, seed: int = 0) -> Gemma4ForCausalLM:
    """Return a model with fresh weights, its layer scales made trainable."""
    torch.manual_seed(seed)
    model = Gemma4ForCausalLM(sizes)
    for layer in model.model.layers:
        scale = layer.layer_scalar
        del layer.layer_scalar
        layer.layer_scalar = nn.Parameter(torch.ones_like(scale))
        # Scores are not divided by sqrt(head_dim): the norm of K has to do it.
        nn.init.constant_(layer.self_attn.k_norm.weight, layer.self_attn.head_dim**-0.5)
        for weight in matrices(layer):
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
        nn.init.normal_(layer.router.proj.weight, std=0.5)
    nn.init.normal_(model.model.embed_tokens.weight, std=sizes.hidden_size**-0.5)
    return model


def matrices(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Yield a layer's matrices, those of the experts stacked, without the router's."""
    for name, weight in layer.named_parameters():
        if weight.ndim >= 2 and "router" not in name:
            yield weight


def all_experts(
    self: nn.Module, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Compute every expert for every token and weight what the router left out by 0.

    The same sum as Hugging Face's loop over experts; two large products instead of
    many small ones, which a CPU does faster while experts are few.
    """
    n_experts, hidden = self.num_experts, self.intermediate_dim
    share = torch.zeros(len(x), n_experts, dtype=weights.dtype, device=x.device)
    share = share.scatter(1, indices, weights)
    both = x @ self.gate_up_proj.reshape(n_experts * 2 * hidden, -1).T
    gate, up = both.view(len(x), n_experts, 2, hidden).unbind(2)
    inner = self.act_fn(gate) * up * share[:, :, None].to(x.dtype)
    down = self.down_proj.transpose(1, 2).reshape(n_experts * hidden, -1)
    return inner.reshape(len(x), -1) @ down


class Routing:
    """Watches the routers: how the tokens of a batch spread over the experts."""

    def __init__(self, model: Gemma4ForCausalLM) -> None:
        self.valid: torch.Tensor | None = None
        self.is_watching = True
        self.losses: list[torch.Tensor] = []
        self.shares: list[torch.Tensor] = []
        for layer in model.model.layers:
            layer.router.register_forward_hook(self._watch)

    def begin(self, valid: torch.Tensor | None) -> None:
        """Forget the last batch; `valid` tells real tokens from padding."""
        self.valid = None if valid is None else valid.reshape(-1)
        self.losses, self.shares = [], []

    def _watch(self, module: nn.Module, args: Any, outputs: Any) -> None:
        if not self.is_watching:
            return
        probabilities, _, indices = outputs
        chosen = torch.zeros_like(probabilities).scatter(1, indices, 1.0)
        if self.valid is not None:
            chosen, probabilities = chosen[self.valid], probabilities[self.valid]
        share = chosen.mean(0) / indices.shape[-1]
        self.shares.append(share.detach())
        self.losses.append(len(share) * (share * probabilities.mean(0)).sum())

    def loss(self) -> torch.Tensor:
        """Return the load-balancing loss: 1 when all experts serve equally."""
        return torch.stack(self.losses).mean()
