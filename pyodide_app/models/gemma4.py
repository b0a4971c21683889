"""Gemma 4's text decoder: dense, with per-layer embeddings, or mixture-of-experts.

    ours            GGUF                              Hugging Face
    n_layers        block_count                       num_hidden_layers
    dim             embedding_length                  hidden_size
    n_heads         attention.head_count              num_attention_heads
    n_kv_heads      attention.head_count_kv           num_key_value_heads
    head_dim        attention.key_length(_swa)        (global_)head_dim
    ffn_dim         feed_forward_length               intermediate_size
    per_layer_dim   embedding_length_per_layer_input  hidden_size_per_layer_input
    n_experts       expert_count                      num_experts
    n_experts_used  expert_used_count                 top_k_experts
    rope_theta      rope.freq_base(_swa)              rope_theta
    logit_softcap   final_logit_softcapping           final_logit_softcapping

Weights carry the GGUF's own tensor names. Attention scores are not scaled; norms
multiply by the plain weight; the residual stream is float32 throughout.
"""

from __future__ import annotations

from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import View
from pyodide_app.graph.tensors import Normed, Residual, Tensor
from pyodide_app.models import gemma4_config as sizes
from pyodide_app.models.blocks import attention, gated_mlp, routed
from pyodide_app.models.config import Layer
from pyodide_app.models.family import Family, Model


def per_layer_inputs(
    ops: Ops, model: Model, tokens: Tensor, x: Tensor
) -> Tensor | None:
    """Return all layers' own inputs [n, n_layers * per_layer_dim], if it has any."""
    config, width = model.config, sizes.per_layer_dim(model.config)
    if not width:
        return None
    if model.gathered is not None:
        tokens = Tensor(tokens.shape, View(model.gathered, 0, tokens.size))
    embedded = ops.embed(tokens, model.weights[sizes.PER_LAYER_TABLE], 1.0)
    projected = ops.linear(x, model.weights["per_layer_model_proj.weight"])
    inputs = ops.ple_combine(
        projected,
        embedded,
        model.weights["per_layer_proj_norm.weight"],
        config.norm_eps,
        scale_projected=config.dim**-0.5,
        scale_embedded=width**0.5,
    )
    return ops.name("inp_per_layer", inputs)


def run_layer(
    ops: Ops, model: Model, layer: Layer, x: Residual, inputs: Tensor | None
) -> Residual:
    """Run one layer on the residual stream [n, dim]."""
    i = layer.index
    x, h = ops.norm(x, model.weight("attn_norm.weight", i))
    branch = attention(ops, model, layer, ops.name("attn_norm", h))
    x = ops.add(x, branch, model.weight("post_attention_norm.weight", i), "attn_out")
    x, branch = feed_forward(ops, model, layer, x)
    norm = model.weight("post_ffw_norm.weight", i)
    if inputs is not None:
        x, h = ops.norm(ops.add(x, branch, norm, "pe_in"), None)
        branch = per_layer_branch(ops, model, layer, h, inputs)
        norm = model.weight("post_norm.weight", i)
    return ops.add(x, branch, norm, "l_out", model.get("layer_output_scale.weight", i))


def feed_forward(
    ops: Ops, model: Model, layer: Layer, x: Residual
) -> tuple[Residual, Tensor]:
    """Return the residual, and the branch [n, dim]: the MLP, the experts beside it."""
    i, eps = layer.index, model.config.norm_eps
    x, h = ops.norm(x, model.weight("ffn_norm.weight", i))
    ops.name("ffn_norm_1" if layer.has_experts else "ffn_norm", h)
    dense = gated_mlp(ops, model, layer, h)
    if not layer.has_experts:
        return x, ops.name("ffn_out", dense)
    _, h = ops.norm(x, model.weight("pre_ffw_norm_2.weight", i))
    branch = ops.norm_sum(
        dense,
        model.weight("post_ffw_norm_1.weight", i),
        routed(ops, model, layer, ops.name("ffn_norm_2", h)),
        model.weight("post_ffw_norm_2.weight", i),
        eps,
    )
    return x, ops.name("ffn_moe_combined", branch)


def per_layer_branch(
    ops: Ops, model: Model, layer: Layer, x: Normed, inputs: Tensor
) -> Tensor:
    """Gate the layer's own input by the residual: [n, dim] -> [n, dim]."""
    i, width = layer.index, sizes.per_layer_dim(model.config)
    gated = ops.gated(x, model.weight("inp_gate.weight", i), inputs, i * width)
    return ops.linear(gated, model.weight("proj.weight", i))


FAMILY = Family(
    architecture="gemma4",
    title=sizes.TITLE,
    read=sizes.read,
    layer_tensors=sizes.layer_tensors,
    run_layer=run_layer,
    more_tensors=sizes.more_tensors,
    inputs=per_layer_inputs,
    aliases=sizes.ALIASES,
    host_table=sizes.PER_LAYER_TABLE,
    chat="Gemma 4",
)
