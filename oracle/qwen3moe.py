"""Qwen 3's mixture of experts: its decoder with routed experts in place of the MLP.

Softmax over all experts, the k largest, renormalised to sum 1.
"""

from __future__ import annotations

from oracle.qwen3 import Qwen3


class Qwen3Moe(Qwen3):
    """A model of architecture `qwen3moe`."""
