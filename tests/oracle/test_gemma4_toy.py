"""The whole model on two toys whose numbers were computed from the formulas alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle import decoder
from oracle.decoder import Trace
from oracle.gemma4 import ALIASES, Gemma4
from oracle.gguf_file import GGUFFile
from tests.samples.toy_models import (
    IDS,
    TOY_A,
    TOY_B,
    Toy,
    toy_tensors,
    weight,
    write_toy,
)

Tensors = dict[str, np.ndarray]

# Everything runs in float64: what remains is the last printed decimal of the numbers.
ATOL = 1e-8


class UnroundedFile(GGUFFile):
    """A toy's file, read with its weights as they were before float32."""

    def rows(self, name: str, begin: int, end: int) -> Any:
        shape = self.tensors[name].shape
        return weight(name, shape).reshape(-1, shape[-1])[begin:end]


def trace(path: Path, toy: Toy) -> Trace:
    """Write a toy and evaluate it."""
    return Gemma4(UnroundedFile(write_toy(path, toy))).forward(IDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="module")
def trace_a(folder: Path) -> Trace:
    return trace(folder / "a.gguf", TOY_A)


@pytest.fixture(scope="module")
def trace_b(folder: Path) -> Trace:
    return trace(folder / "b.gguf", TOY_B)


def norms(of: Trace) -> list[float]:
    """Return the 2-norm over all positions after every layer."""
    return [float(np.linalg.norm(x)) for x in of.hidden[1:]]


def test_weights_are_those_of_the_specification() -> None:
    embedding = weight("token_embd.weight", (64, 32))
    expected = [-0.19331006, 0.31761275, 0.34203349]
    assert embedding[5, :3] == pytest.approx(expected, abs=1e-8)
    query = weight("blk.0.attn_q.weight", (32, 32))
    assert query[0, :2] == pytest.approx([0.01097217, -0.14396854], abs=1e-8)
    norm = weight("blk.0.attn_norm.weight", (32,))
    assert norm[:2] == pytest.approx([1.21902091, 1.07518053], abs=1e-8)


def test_toy_a_hidden_states(trace_a: Trace) -> None:
    last = [x[9] for x in trace_a.hidden]
    embedded = [-0.06900447, -1.22926477, -1.62024135]
    assert last[0][:3] == pytest.approx(embedded, abs=ATOL)
    first = [-0.2499572, 0.86504351, -1.35577582]
    assert last[1][:3] == pytest.approx(first, abs=ATOL)
    final = [1.87415401, -0.81045525, -1.22180532]
    assert last[6][:3] == pytest.approx(final, abs=ATOL)
    expected = [
        32.821747432,
        39.863654957,
        42.283024448,
        38.533876767,
        40.876733445,
        35.225023542,
    ]
    assert norms(trace_a) == pytest.approx(expected, abs=ATOL)


def test_toy_a_logits(trace_a: Trace) -> None:
    expected = [-4.27419083, -0.1762481, 1.3594708, 2.89928003, 1.453593, 1.85439534]
    assert trace_a.logits[9, :6] == pytest.approx(expected, abs=ATOL)
    best = trace_a.logits.argmax(axis=1).tolist()
    assert best == [55, 55, 33, 49, 10, 39, 63, 30, 7, 56]
    assert trace_a.logits.sum() == pytest.approx(-33.3106477, abs=1e-7)
    assert np.abs(trace_a.logits).max() == pytest.approx(5.4690888, abs=1e-7)


def test_toy_b_hidden_states(trace_b: Trace) -> None:
    expected = [30.140090645, 33.261705405, 35.884434334]
    assert norms(trace_b) == pytest.approx(expected, abs=ATOL)


def test_toy_b_logits(trace_b: Trace) -> None:
    expected = [-2.53516199, 1.76181484, 0.7615863, -1.1774834, -0.30229525, 0.33839658]
    assert trace_b.logits[9, :6] == pytest.approx(expected, abs=ATOL)
    assert trace_b.logits.argmax(axis=1).tolist() == [2, 3, 19, 33, 8, 60, 13, 7, 7, 12]
    assert trace_b.logits.sum() == pytest.approx(43.8613979, abs=1e-7)
    assert np.abs(trace_b.logits).max() == pytest.approx(6.0717721, abs=1e-7)


def logits(path: Path, toy: Toy, tensors: Tensors | None = None) -> np.ndarray:
    """Write a toy, perhaps with other tensors, and evaluate it."""
    return Gemma4.open(write_toy(path, toy, tensors)).forward(IDS).logits


def other_names(tensors: Tensors) -> Tensors:
    """Name every tensor that has two names by the other one."""
    renamed = {}
    for name, values in tensors.items():
        block = "".join(re.findall(r"^blk\.\d+\.", name))
        own = name.removeprefix(block)
        renamed[block + ALIASES.get(own, own)] = values
    return renamed


def split_experts(tensors: Tensors) -> Tensors:
    """Store the experts' gate and up apart."""
    apart = {}
    for name, values in tensors.items():
        if "gate_up_exps" not in name:
            apart[name] = values
            continue
        gate, up = np.split(values, 2, axis=1)
        apart[name.replace("gate_up", "gate")] = gate
        apart[name.replace("gate_up", "up")] = up
    return {name: np.ascontiguousarray(values) for name, values in apart.items()}


def untied(tensors: Tensors) -> Tensors:
    """Store the output matrix apart from the embeddings."""
    return tensors | {"output.weight": tensors["token_embd.weight"]}


def no_frequencies(tensors: Tensors) -> Tensors:
    """Leave out which pairs turn: a quarter, which is what the toys have."""
    return {name: v for name, v in tensors.items() if name != "rope_freqs.weight"}


@pytest.mark.parametrize("toy", [TOY_A, TOY_B], ids=["a", "b"])
@pytest.mark.parametrize("change", [other_names, split_experts, untied, no_frequencies])
def test_other_layouts_of_a_file_give_the_same(
    tmp_path: Path, toy: Toy, change: Callable[[Tensors], Tensors]
) -> None:
    ours = logits(tmp_path / "ours.gguf", toy)
    theirs = logits(tmp_path / "theirs.gguf", toy, change(toy_tensors(toy)))
    np.testing.assert_array_equal(ours, theirs)


def test_the_output_matrix_is_used_when_there_is_one(tmp_path: Path) -> None:
    tensors = toy_tensors(TOY_B)
    tensors["output.weight"] = tensors["token_embd.weight"][::-1].copy()
    ours = logits(tmp_path / "ours.gguf", TOY_B)
    np.testing.assert_allclose(
        logits(tmp_path / "theirs.gguf", TOY_B, tensors), ours[:, ::-1], rtol=1e-12
    )


def test_a_pattern_may_be_a_period(tmp_path: Path) -> None:
    periodic = dataclasses.replace(TOY_A, pattern_as_period=True)
    expected = logits(tmp_path / "ours.gguf", TOY_A)
    np.testing.assert_array_equal(logits(tmp_path / "p.gguf", periodic), expected)


def test_frequencies_that_turn_later_pairs_are_refused(tmp_path: Path) -> None:
    tensors = toy_tensors(TOY_A)
    tensors["rope_freqs.weight"] = tensors["rope_freqs.weight"][::-1].copy()
    with pytest.raises(ValueError, match="pairs that rotate are not the first"):
        Gemma4.open(write_toy(tmp_path / "odd.gguf", TOY_A, tensors))


def test_a_large_model_is_read_piece_by_piece(
    folder: Path, trace_a: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "CACHED_ELEMENTS", 0)
    monkeypatch.setattr(decoder, "LOGIT_ROWS", 10)
    piecewise = Gemma4(UnroundedFile(folder / "a.gguf")).forward(IDS)
    np.testing.assert_allclose(piecewise.logits, trace_a.logits, rtol=0, atol=1e-12)


def test_tokens_one_by_one_equal_the_prompt_at_once(folder: Path) -> None:
    for name, toy in (("one-a.gguf", TOY_A), ("one-b.gguf", TOY_B)):
        model = Gemma4.open(write_toy(folder / name, toy))
        ids = [*IDS, *model.greedy(IDS, 8)]
        for n in range(len(IDS), len(ids)):
            assert model.forward(ids[:n]).logits[-1].argmax() == ids[n]
