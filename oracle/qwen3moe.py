"""Qwen 3's mixture of experts: its decoder with routed experts in place of the MLP.

Softmax over all experts, the k largest, renormalised to sum 1.
"""

from __future__ import annotations

import numpy as np

from oracle import ops
from oracle.decoder import Double, Trace, double
from oracle.qwen3 import Qwen3


class Qwen3Moe(Qwen3):
    """A model of architecture `qwen3moe`."""

    def _feed_forward(self, h: Double, layer: int, trace: Trace) -> Double:
        """Run each token through its experts and sum by the router's weights."""
        logits = ops.matmul(h, self._weight("ffn_gate_inp.weight", layer))
        trace.keep("ffn_moe_logits", layer, logits)
        ones = np.ones(logits.shape[-1])
        idx, weights = ops.router_top_k(logits, ones, self.config.n_experts_used)
        trace.nodes[f"ffn_moe_topk-{layer}"] = idx
        trace.keep("ffn_moe_weights", layer, weights)
        offsets, token_idx, perm = ops.expert_sort(idx, logits.shape[-1])
        gate, up, down = (
            self._weight(f"ffn_{name}_exps.weight", layer)
            for name in ("gate", "up", "down")
        )
        left = ops.expert_matmul(h, offsets, token_idx, gate)
        right = ops.expert_matmul(h, offsets, token_idx, up)
        y = ops.expert_matmul(ops.swiglu(left, right), offsets, None, down)
        return double(ops.expert_combine(y, perm, weights))
