"""The specification's toy models, and files as other converters write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oracle.gemma4 import ALIASES, Gemma4
from tests.models.native import greedy, logits, opened, trace
from tests.samples.toy_models import (
    IDS,
    N_VOCAB,
    TOY_A,
    TOY_B,
    Toy,
    toy_tensors,
    write_toy,
)
from tests.support.compare import relative_l2

F32_L2 = 5e-5

Tensors = dict[str, np.ndarray]


def as_they_are(tensors: Tensors) -> Tensors:
    return tensors


def with_gate_and_up_apart(tensors: Tensors) -> Tensors:
    changed = {}
    for name, values in tensors.items():
        if "gate_up_exps" in name:
            halves = np.split(values, 2, axis=1)
            for part, half in zip(
                ("ffn_gate_exps", "ffn_up_exps"), halves, strict=True
            ):
                changed[name.replace("ffn_gate_up_exps", part)] = half.copy()
        else:
            changed[name] = values
    return changed


def with_older_names(tensors: Tensors) -> Tensors:
    def older(name: str) -> str:
        prefix, layer, rest = (*name.split(".", 2), "", "")[:3]
        return f"{prefix}.{layer}.{ALIASES[rest]}" if rest in ALIASES else name

    return {older(name): values for name, values in tensors.items()}


def with_an_output_of_its_own(tensors: Tensors) -> Tensors:
    rng = np.random.default_rng(0)
    shape = (N_VOCAB, tensors["token_embd.weight"].shape[1])
    return tensors | {"output.weight": rng.standard_normal(shape).astype(np.float32)}


def without_what_is_optional(tensors: Tensors) -> Tensors:
    optional = ("rope_freqs", "layer_output_scale", "attn_v")
    return {n: v for n, v in tensors.items() if not any(o in n for o in optional)}


def with_towers(tensors: Tensors) -> Tensors:
    """Add what a monolithic file has beside the text model."""
    extra = np.ones((3, 5), np.float32)
    return tensors | {"v.blk.0.attn_q.weight": extra, "mm.input_projection": extra}


@pytest.mark.parametrize("toy", [TOY_A, TOY_B], ids=["A", "B"])
@pytest.mark.parametrize(
    "change",
    [
        as_they_are,
        with_gate_and_up_apart,
        with_older_names,
        with_an_output_of_its_own,
        without_what_is_optional,
        with_towers,
    ],
    ids=lambda change: change.__name__,
)
def test_toys_equal_the_oracle(
    toy: Toy, change: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    path = write_toy(tmp_path / "toy.gguf", toy, change(toy_tensors(toy)))
    oracle = Gemma4.open(path)
    expected = oracle.forward(list(IDS))
    with opened(path) as engine:
        assert relative_l2(logits(engine, IDS), expected.logits) < F32_L2
        assert greedy(engine, IDS, 12) == oracle.greedy(list(IDS), 12)
        for name, array in trace(engine, IDS).items():
            node = expected.nodes[name].reshape(array.shape)
            assert relative_l2(array, node) < F32_L2, name
