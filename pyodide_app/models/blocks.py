"""The forward pass, and the blocks that families share: a function each.

Weights carry the GGUF's own tensor names; the residual stream is float32 throughout.
"""

from __future__ import annotations

from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import (
    Choice,
    Heads,
    Normed,
    Residual,
    Tensor,
    Weight,
)
from pyodide_app.models.config import Layer
from pyodide_app.models.family import Model

QUERY, KEY_VALUE = "q", "kv"  # what to project


def forward(ops: Ops, model: Model, tokens: Tensor, n_wanted: int) -> Residual:
    """Run the layers: tokens [n] u32 -> the residual stream [n_wanted, dim].

    Of the tokens before these nothing but keys and values is ever read: they go no
    further than into the last layer that owns a cache.
    """
    config, family = model.config, model.family
    x = ops.embed(tokens, model.weights["token_embd.weight"], config.embed_scale)
    ops.name("inp_scaled", x)
    inputs = family.inputs(ops, model, tokens, x) if family.inputs else None
    stream = Residual(x, config.norm_eps)
    for layer in config.layers:
        ops.scope(f"blk.{layer.index}")
        if layer.index == max(model.caches) and n_wanted < ops.n_tokens:
            stream = store(ops, model, layer, stream, n_wanted)
            inputs = inputs and ops.last_rows(inputs, n_wanted)
            if not n_wanted:
                break
        stream = family.run_layer(ops, model, layer, stream, inputs)
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
    i = layer.index
    found = {part: model.get(f"attn_{part}.weight", i) for part in parts}
    weights = {part: weight for part, weight in found.items() if weight}
    raw = dict(zip(weights, ops.linears(h, list(weights.values())), strict=True))
    biases = {part: model.get(f"attn_{part}.bias", i) for part in raw}
    return Heads(
        raw.get("q"),
        raw.get("k"),
        raw.get("v", raw.get("k")),
        model.get("attn_q_norm.weight", i),
        model.get("attn_k_norm.weight", i),
        model.ropes[layer.rope],
        model.config.norm_eps,
        model.config.v_norm,
        layer.score_scale,
        {part: bias for part, bias in biases.items() if bias},
    )


def routed(ops: Ops, model: Model, layer: Layer, h: Normed) -> Tensor:
    """Send each token to its experts, and sum what they give: [n, dim] -> [n, dim].

    Where a layer has them, a scale is for a norm of the router's own, and one for the
    weights of each expert.
    """
    i, slots, experts = layer.index, model.slots[layer.index], model.config.experts
    assert experts
    scale = model.get("ffn_down_exps.scale", i)
    choice = Choice(experts.n_used, experts.renormalised, scale)
    scores, x = ops.expert_scores(
        h, model.weight("ffn_gate_inp.weight", i), model.get("ffn_gate_inp.scale", i)
    )
    ops.name("ffn_moe_logits", scores)
    hidden, routing = ops.expert_hidden(
        x, _gate_up(model, i), scores, choice, slots, unit=model.config.unit
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


def gated_mlp(ops: Ops, model: Model, layer: Layer, h: Normed) -> Tensor:
    """Run the gated MLP: [n, dim] -> [n, dim]."""
    i = layer.index
    gate, up = model.weight("ffn_gate.weight", i), model.weight("ffn_up.weight", i)
    hidden = ops.gated(h, gate, up, unit=model.config.unit)
    return ops.linear(hidden, model.weight("ffn_down.weight", i))
