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
from pyodide_app.graph.tensors import ExpertSlots, Rope, Tensor, Weight
from pyodide_app.kv_cache import LayerCache, make_layer
from pyodide_app.models.gemma4_config import Config, Layer

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


def forward(ops: Ops, model: Model, tokens: Tensor) -> Tensor:
    """Run the layers: tokens [n] u32 -> the last residual [n, dim]."""
    config = model.config
    x = ops.embed(tokens, model.weights["token_embd.weight"], config.dim**0.5)
    ops.name("inp_scaled", x)
    inputs = per_layer_inputs(ops, model, tokens, x)
    h = ops.rms_norm(x, model.weight("attn_norm.weight", 0), config.norm_eps)
    for layer in config.layers:
        ops.scope(f"blk.{layer.index}")
        x, h = run_layer(ops, model, layer, x, h, inputs)
    ops.scope("")
    return x


def logits(ops: Ops, model: Model, x: Tensor, row_begin: int = 0) -> Tensor:
    """Return the capped logits of the rows from `row_begin` on: [n, n_vocab]."""
    config = model.config
    tied = model.weights["token_embd.weight"]
    h = ops.rms_norm(
        x, model.weights["output_norm.weight"], config.norm_eps, row_begin=row_begin
    )
    ops.name("result_norm", h)
    y = ops.linear(h, model.weights.get("output.weight", tied))
    if config.logit_softcap:
        y = ops.softcap(y, config.logit_softcap)
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
    ops: Ops, model: Model, layer: Layer, x: Tensor, h: Tensor, inputs: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run one layer: the residual and its norm in, the same for the next layer out."""
    i, eps = layer.index, model.config.norm_eps
    scale = model.get("layer_output_scale.weight", i)
    following = model.get("attn_norm.weight", i + 1)  # None after the last layer
    ops.name("attn_norm", h)
    x, h = ops.add_norm(
        x,
        attention(ops, model, layer, h),
        model.weight("post_attention_norm.weight", i),
        eps,
        next_weight=model.weight("ffn_norm.weight", i),
    )
    ops.name("attn_out", x)
    branch = feed_forward(ops, model, layer, x, h)
    weight = model.weight("post_ffw_norm.weight", i)
    if inputs is not None:
        x, _ = ops.add_norm(x, branch, weight, eps)
        branch = per_layer_branch(ops, model, layer, x, inputs)
        weight = model.weight("post_norm.weight", i)
    x, h = ops.add_norm(
        x, branch, weight, eps, layer_scale=scale, next_weight=following
    )
    ops.name("l_out", x)
    return x, h


def attention(ops: Ops, model: Model, layer: Layer, h: Tensor) -> Tensor:
    """Attend: the normed residual [n, dim] -> the branch [n, dim], before its norm."""
    i, eps = layer.index, model.config.norm_eps
    rope = model.rope_swa if layer.is_sliding else model.rope
    cache = model.caches[layer.donor]
    q = ops.linear(h, model.weight("attn_q.weight", i))
    q = ops.head_norm_rope(
        q, model.weight("attn_q_norm.weight", i), rope, layer.head_dim, eps
    )
    ops.name("Qcur_pos", q)
    if layer.owns_cache:
        k = ops.linear(h, model.weight("attn_k.weight", i))
        v_weight = model.get("attn_v.weight", i)
        v = k if v_weight is None else ops.linear(h, v_weight)
        k_norm = model.weight("attn_k_norm.weight", i)
        ops.kv_write(k, v, k_norm, rope, cache, eps)
    mixed = ops.name("kqv_out", ops.attention(q, cache))
    return ops.linear(mixed, model.weight("attn_output.weight", i))


def feed_forward(ops: Ops, model: Model, layer: Layer, x: Tensor, h: Tensor) -> Tensor:
    """Return the feed-forward branch [n, dim]: the MLP, and the experts beside it."""
    i, eps = layer.index, model.config.norm_eps
    ops.name("ffn_norm_1" if layer.has_experts else "ffn_norm", h)
    dense = mlp(ops, model, layer, h)
    if not layer.has_experts:
        return ops.name("ffn_out", dense)
    branch = ops.norm_sum(
        dense,
        model.weight("post_ffw_norm_1.weight", i),
        experts(ops, model, layer, x),
        model.weight("post_ffw_norm_2.weight", i),
        eps,
    )
    return ops.name("ffn_moe_combined", branch)


def mlp(ops: Ops, model: Model, layer: Layer, h: Tensor) -> Tensor:
    """Run the gated MLP: [n, dim] -> [n, dim]."""
    gate = ops.linear(h, model.weight("ffn_gate.weight", layer.index))
    up = ops.linear(h, model.weight("ffn_up.weight", layer.index))
    hidden = ops.geglu(gate, up, layer.ffn_dim)
    return ops.linear(hidden, model.weight("ffn_down.weight", layer.index))


def experts(ops: Ops, model: Model, layer: Layer, x: Tensor) -> Tensor:
    """Route each token and sum its experts; `x` is the un-normed residual [n, dim]."""
    config, i = model.config, layer.index
    z = ops.rms_norm(
        x,
        model.weight("ffn_gate_inp.scale", i),
        config.norm_eps,
        scale=config.dim**-0.5,
    )
    scores = ops.name(
        "ffn_moe_logits", ops.linear(z, model.weight("ffn_gate_inp.weight", i))
    )
    routing = ops.router_top_k(
        scores, model.weight("ffn_down_exps.scale", i), config.top_k
    )
    ops.name("ffn_moe_topk", routing.idx)
    ops.name("ffn_moe_weights", routing.weight)
    if x.shape[0] > 1:
        routing = ops.expert_sort(routing, config.n_experts)
    h = ops.rms_norm(x, model.weight("pre_ffw_norm_2.weight", i), config.norm_eps)
    ops.name("ffn_norm_2", h)
    slots, ffn_dim = model.slots[i], config.expert_ffn_dim
    both = ops.experts(h, _gate_up(model, i), routing, slots, gather=True)
    hidden = ops.geglu(both, both, ffn_dim, up_offset=ffn_dim)
    down = (model.weight("ffn_down_exps.weight", i),)
    return ops.expert_combine(
        ops.experts(hidden, down, routing, slots, gather=False), routing
    )


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
    ops: Ops, model: Model, layer: Layer, x: Tensor, inputs: Tensor
) -> Tensor:
    """Gate the layer's own input by the residual: [n, dim] -> [n, dim]."""
    i, width = layer.index, model.config.per_layer_dim
    ops.name("pe_in", x)
    gate = ops.linear(x, model.weight("inp_gate.weight", i))
    gated = ops.geglu(gate, inputs, width, up_offset=i * width)
    return ops.linear(gated, model.weight("proj.weight", i))
