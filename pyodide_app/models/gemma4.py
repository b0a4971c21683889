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
    top_k           expert_used_count                 top_k_experts
    rope_theta      rope.freq_base(_swa)              rope_theta
    logit_softcap   final_logit_softcapping           final_logit_softcapping

Weights carry the GGUF's own tensor names. Attention scores are not scaled; norms
multiply by the plain weight; the residual stream is float32 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View
from pyodide_app.graph.tensors import (
    ExpertSlots,
    Heads,
    Normed,
    Residual,
    Rope,
    Tensor,
    Weight,
)
from pyodide_app.kv_cache import LayerCache, make_layer
from pyodide_app.models.gemma4_config import Config, Layer

QUERY, KEY_VALUE = "q", "kv"  # what to project
_VIEW_ALIGNMENT = 256  # bytes; of a storage binding's offset


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A config with everything a pass reads that outlives it."""

    config: Config
    weights: Mapping[str, Weight]
    caches: Mapping[int, LayerCache]  # by layer, only those that own one
    rope: Rope  # of the global layers
    rope_swa: Rope  # of the sliding layers
    slots: Mapping[int, ExpertSlots]  # by layer
    # Where per-layer embeddings stay in the file: the numbers 0, 1, … of the rows that
    # the host gathers, one per token of a pass.
    gathered: Buffer | None = None

    def get(self, name: str, layer: int) -> Weight | None:
        """Return a layer's weight, or None where the file has none."""
        return self.weights.get(f"blk.{layer}.{name}")

    def weight(self, name: str, layer: int) -> Weight:
        """Return a layer's weight."""
        return self.weights[f"blk.{layer}.{name}"]


def make_caches(
    config: Config, kv: str, n_ctx: int, chunk: int
) -> dict[int, LayerCache]:
    """Describe the KV cache of every layer that owns one."""
    return {
        layer.index: make_layer(
            f"blk.{layer.index}",
            kv,
            n_ctx=n_ctx,
            chunk=chunk,
            window=config.sliding_window if layer.is_sliding else 0,
            n_kv_heads=layer.n_kv_heads,
            head_dim=layer.head_dim,
        )
        for layer in config.layers
        if layer.owns_cache
    }


def make_slots(config: Config) -> dict[int, ExpertSlots]:
    """Describe each routed layer's slot table, all in one buffer."""
    routed = [layer.index for layer in config.layers if layer.has_experts]
    size = 4 * config.n_experts
    stride = -(-size // _VIEW_ALIGNMENT) * _VIEW_ALIGNMENT
    buffer = Buffer("expert_slots", stride * len(routed))
    return {
        layer: ExpertSlots(View(buffer, i * stride, size), config.n_experts)
        for i, layer in enumerate(routed)
    }


def forward(ops: Ops, model: Model, tokens: Tensor, n_wanted: int) -> Residual:
    """Run the layers: tokens [n] u32 -> the residual stream [n_wanted, dim].

    Of the tokens before these nothing but keys and values is ever read: they go no
    further than into the last layer that owns a cache.
    """
    config = model.config
    x = ops.embed(tokens, model.weights["token_embd.weight"], config.dim**0.5)
    ops.name("inp_scaled", x)
    inputs = per_layer_inputs(ops, model, tokens, x)
    stream = Residual(x, config.norm_eps)
    for layer in config.layers:
        ops.scope(f"blk.{layer.index}")
        if layer.index == max(model.caches) and n_wanted < ops.n_tokens:
            stream = store(ops, model, layer, stream, n_wanted)
            inputs = inputs and ops.last_rows(inputs, n_wanted)
            if not n_wanted:
                break
        stream = run_layer(ops, model, layer, stream, inputs)
    ops.scope("")
    return stream


def logits(ops: Ops, model: Model, x: Residual) -> Tensor:
    """Return the capped logits: the residual stream [n, dim] -> [n, n_vocab]."""
    tied = model.weights["token_embd.weight"]
    output_norm = model.weights["output_norm.weight"]
    _, h = ops.norm(x, output_norm)
    output = model.weights.get("output.weight", tied)
    y = ops.linear(ops.name("result_norm", h), output, cap=model.config.logit_softcap)
    return ops.name("result_output", y)


def per_layer_inputs(
    ops: Ops, model: Model, tokens: Tensor, x: Tensor
) -> Tensor | None:
    """Return all layers' own inputs [n, n_layers * per_layer_dim], if it has any."""
    config = model.config
    if not config.per_layer_dim:
        return None
    if model.gathered is not None:
        tokens = Tensor(tokens.shape, View(model.gathered, 0, tokens.size))
    embedded = ops.embed(tokens, model.weights["per_layer_token_embd.weight"], 1.0)
    projected = ops.linear(x, model.weights["per_layer_model_proj.weight"])
    inputs = ops.ple_combine(
        projected,
        embedded,
        model.weights["per_layer_proj_norm.weight"],
        config.norm_eps,
        scale_projected=config.dim**-0.5,
        scale_embedded=config.per_layer_dim**0.5,
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


def store(ops: Ops, model: Model, layer: Layer, x: Residual, n_wanted: int) -> Residual:
    """Store a layer's keys and values, and leave all tokens but the last `n_wanted`."""
    x, h = ops.norm(x, model.weight("attn_norm.weight", layer.index))
    ops.store(project(ops, model, layer, h, KEY_VALUE), model.caches[layer.index])
    return Residual(ops.last_rows(x.tensor, n_wanted), x.eps)


def attention(ops: Ops, model: Model, layer: Layer, h: Normed) -> Tensor:
    """Attend: the normed residual [n, dim] -> the branch [n, dim], before its norm."""
    is_stored = not layer.owns_cache or h.shape[0] < ops.n_tokens
    heads = project(ops, model, layer, h, QUERY + ("" if is_stored else KEY_VALUE))
    mixed = ops.name("kqv_out", ops.attention(heads, model.caches[layer.donor]))
    return ops.linear(mixed, model.weight("attn_output.weight", layer.index))


def project(ops: Ops, model: Model, layer: Layer, h: Normed, parts: str) -> Heads:
    """Return the raw heads of some of q, k and v; where V is K, there is no third."""
    found = {part: model.get(f"attn_{part}.weight", layer.index) for part in parts}
    weights = {part: weight for part, weight in found.items() if weight}
    raw = dict(zip(weights, ops.linears(h, list(weights.values())), strict=True))
    return Heads(
        raw.get("q"),
        raw.get("k"),
        raw.get("v", raw.get("k")),
        model.weight("attn_q_norm.weight", layer.index),
        model.get("attn_k_norm.weight", layer.index),
        model.rope_swa if layer.is_sliding else model.rope,
        model.config.norm_eps,
    )


def feed_forward(
    ops: Ops, model: Model, layer: Layer, x: Residual
) -> tuple[Residual, Tensor]:
    """Return the residual, and the branch [n, dim]: the MLP, the experts beside it."""
    i, eps = layer.index, model.config.norm_eps
    x, h = ops.norm(x, model.weight("ffn_norm.weight", i))
    ops.name("ffn_norm_1" if layer.has_experts else "ffn_norm", h)
    dense = mlp(ops, model, layer, h)
    if not layer.has_experts:
        return x, ops.name("ffn_out", dense)
    branch = ops.norm_sum(
        dense,
        model.weight("post_ffw_norm_1.weight", i),
        experts(ops, model, layer, x.tensor),
        model.weight("post_ffw_norm_2.weight", i),
        eps,
    )
    return x, ops.name("ffn_moe_combined", branch)


def mlp(ops: Ops, model: Model, layer: Layer, h: Normed) -> Tensor:
    """Run the gated MLP: [n, dim] -> [n, dim]."""
    i = layer.index
    gate, up = model.weight("ffn_gate.weight", i), model.weight("ffn_up.weight", i)
    hidden = ops.gated(h, gate, up)
    return ops.linear(hidden, model.weight("ffn_down.weight", i))


def experts(ops: Ops, model: Model, layer: Layer, x: Tensor) -> Tensor:
    """Route each token and sum its experts; `x` is the un-normed residual [n, dim]."""
    config, i, slots = model.config, layer.index, model.slots[layer.index]
    scores, h = ops.expert_scores(
        x,
        model.weight("ffn_gate_inp.scale", i),
        model.weight("ffn_gate_inp.weight", i),
        model.weight("pre_ffw_norm_2.weight", i),
        config.norm_eps,
    )
    ops.name("ffn_moe_logits", scores)
    ops.name("ffn_norm_2", h)
    hidden, routing = ops.expert_hidden(
        h,
        _gate_up(model, i),
        scores,
        model.weight("ffn_down_exps.scale", i),
        slots,
        config.top_k,
    )
    ops.name("ffn_moe_topk", routing.idx)
    ops.name("ffn_moe_weights", routing.weight)
    down = model.weight("ffn_down_exps.weight", i)
    return ops.expert_output(hidden, down, routing, slots)


def _gate_up(model: Model, layer: int) -> tuple[Weight, ...]:
    """Return the experts' gate and up: one fused weight, or two."""
    fused = model.get("ffn_gate_up_exps.weight", layer)
    if fused is not None:
        return (fused,)
    return (
        model.weight("ffn_gate_exps.weight", layer),
        model.weight("ffn_up_exps.weight", layer),
    )


def per_layer_branch(
    ops: Ops, model: Model, layer: Layer, x: Normed, inputs: Tensor
) -> Tensor:
    """Gate the layer's own input by the residual: [n, dim] -> [n, dim]."""
    i, width = layer.index, model.config.per_layer_dim
    gated = ops.gated(x, model.weight("inp_gate.weight", i), inputs, i * width)
    return ops.linear(gated, model.weight("proj.weight", i))
