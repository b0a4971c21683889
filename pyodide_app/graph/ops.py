"""Ops: one method per kernel; each call records one dispatch per part of its weight.

A model is written with these and nothing else. Nothing here touches a GPU: the result
of `finish` is a `Plan`. Activations are float32 [n_tokens, width]; weights have any
ggml type.
"""

from __future__ import annotations

from pyodide_app.graph.attention_ops import AttentionOps
from pyodide_app.graph.expert_ops import ExpertOps
from pyodide_app.graph.step_ops import StepOps


class Ops(ExpertOps, AttentionOps, StepOps):
    """The kernels, as methods of a recorder."""
