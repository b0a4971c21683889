"""Qwen 3's mixtures of experts, Qwen3-Coder's too: its decoder with routed layers.

    ours         GGUF                          Hugging Face
    n_experts    expert_count                  num_experts
    n_used       expert_used_count             num_experts_per_tok
    ffn_dim      expert_feed_forward_length    moe_intermediate_size
    renormalised expert_weights_norm           norm_topk_prob

The router sees what the experts see; their weights add up to 1. `feed_forward_length`
is of dense layers, which no released model has; a layer without a router would be one.
"""

from __future__ import annotations

from pyodide_app.models import llama, qwen3
from pyodide_app.models.config import Config, Reader
from pyodide_app.models.family import Family

_TITLE = "Qwen 3 MoE"


def read(reader: Reader) -> Config:
    """Read a file's metadata.

    Raises FileFormatError or ShapeError naming the key or tensor at fault, and
    UnsupportedArchitectureError for a router of another kind.
    """
    return llama.read_plain(reader, _TITLE, "halves", theta=1e6)


FAMILY = Family(
    architecture="qwen3moe",
    title=_TITLE,
    read=read,
    layer_tensors=qwen3.layer_tensors,
    run_layer=llama.run_layer,
    is_strict=True,
    sampling={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
)
