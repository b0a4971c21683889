"""Deliberate mistakes in the model: what a test of it must be able to see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle import ops
from oracle.gemma4 import Gemma4

Mutation = Callable[[pytest.MonkeyPatch, Gemma4], None]


def configured(**changes: Any) -> Mutation:
    """Change constants; a function is given the configuration."""

    def mutate(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
        values = {
            name: change(model.config) if callable(change) else change
            for name, change in changes.items()
        }
        model.config = dataclasses.replace(model.config, **values)

    return mutate


def replaced(op: str, make: Callable[..., Callable[..., Any]]) -> Mutation:
    """Put make(original) in the place of an op."""

    def mutate(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
        patch.setattr(ops, op, make(getattr(ops, op)))

    return mutate


def weighted(match: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    """Change the weights whose name contains a word."""

    def mutate(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
        read = model.file.rows

        def rows(name: str, begin: int, end: int) -> np.ndarray:
            values = read(name, begin, end)
            return change(values) if match in name else values

        patch.setattr(model.file, "rows", rows)

    return mutate


def not_normed(name: str) -> Mutation:
    """Leave a norm out."""

    def mutate(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
        norm = model._norm

        def without(x: np.ndarray, which: str, layer: int) -> np.ndarray:
            return x if which == name else norm(x, which, layer)

        patch.setattr(model, "_norm", without)

    return mutate


def rotated_dims_only(config: Any) -> tuple[float, float]:
    """Let the global exponent count only the dimensions that turn."""
    stretch = config.head_dims[0] / (2 * config.n_rotated_pairs[0])
    return config.rope_thetas[0] ** stretch, config.rope_thetas[1]


def first_donor(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
    """Read the first cache of a kind instead of the last."""

    def donor(config: Any, layer: int) -> int:
        if layer < config.first_shared:
            return layer
        return config.is_sliding.index(config.is_sliding[layer])

    patch.setattr(type(model.config), "donor", donor)


def no_embedding_scale(patch: pytest.MonkeyPatch, model: Gemma4) -> None:
    """Take the embeddings as they are."""
    lookup = model._lookup

    def unscaled(name: str, ids: Any, scale: float) -> np.ndarray:
        return lookup(name, ids, 1.0)

    patch.setattr(model, "_lookup", unscaled)


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """Compute the exact GELU."""
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def halves_swapped(fused: np.ndarray) -> np.ndarray:
    """Swap the first half of the rows of each of 8 experts with the second."""
    by_half = fused.reshape(8, 2, -1, fused.shape[-1])
    return by_half[:, ::-1].reshape(fused.shape)


def ones(values: np.ndarray) -> np.ndarray:
    """Return a weight that does nothing."""
    return np.ones_like(values)


EVERYWHERE: dict[str, Mutation] = {
    "sliding window +1": configured(sliding_window=lambda c: c.sliding_window + 1),
    "sliding window -1": configured(sliding_window=lambda c: c.sliding_window - 1),
    "no window": configured(sliding_window=1 << 30),
    "attention scaled by 1/sqrt(d)": replaced(
        "attention", lambda f: lambda q, *rest: f(q / q.shape[-1] ** 0.5, *rest)
    ),
    "no V norm": replaced(
        "kv_write", lambda f: lambda k, v, *rest: (f(k, v, *rest)[0], v)
    ),
    "norm weights + 1": weighted("norm", lambda w: w + 1),
    "rope: all pairs of global heads": configured(
        n_rotated_pairs=lambda c: (c.head_dims[0] // 2, c.head_dims[1] // 2)
    ),
    "rope: frequencies over the rotated dims only": configured(
        rope_thetas=rotated_dims_only
    ),
    "rope: one theta 1e6": configured(rope_thetas=(1e6, 1e6)),
    "no layer scalar": weighted("layer_output_scale", ones),
    "gelu erf": replaced("gelu_tanh", lambda f: gelu_erf),
    "silu": replaced("gelu_tanh", lambda f: lambda x: x / (1 + np.exp(-x))),
    "no final softcap": configured(logit_softcap=0.0),
    "no q norm weight": weighted("attn_q_norm", ones),
    "no k norm weight": weighted("attn_k_norm", ones),
    "no post-attention norm": not_normed("post_attention_norm"),
    "no post-ffn norm": not_normed("post_ffw_norm"),
}

ONLY_IN: dict[str, dict[str, Mutation]] = {
    "dense": {"no embedding scale": no_embedding_scale},
    "moe8": {
        "no embedding scale": no_embedding_scale,
        "router: no scale": weighted("ffn_gate_inp.scale", ones),
        "router: no 1/sqrt(n)": weighted("ffn_gate_inp.scale", lambda w: w * 16),
        "router: no per-expert scale": weighted("ffn_down_exps.scale", ones),
        "experts: gate and up swapped": weighted("ffn_gate_up_exps", halves_swapped),
        "no pre-ffn norm 2": not_normed("pre_ffw_norm_2"),
    },
    "ple": {
        "rms eps 1e-5": configured(norm_eps=1e-5),
        "KV donor = first of its kind": first_donor,
        "PLE: no token part": weighted("per_layer_token_embd", np.zeros_like),
        "PLE: table not scaled": weighted(
            "per_layer_token_embd", lambda w: w / 128**0.5
        ),
    },
}


def mutations_of(model: str) -> dict[str, Mutation]:
    """Return the mistakes that a model family can show, by name."""
    return EVERYWHERE | ONLY_IN[model]
