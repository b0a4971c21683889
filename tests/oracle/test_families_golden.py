"""The other families' oracles against Hugging Face in float64, every golden file."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from oracle import ops
from oracle.decoder import Decoder, Trace
from oracle.families import FAMILIES, open_model
from tests.support.compare import relative_l2
from tests.support.golden_data import FamilyCase, committed_families, families

# Both sides compute in float64 and the target is stored in float32: an error uniform in
# half a unit in the last place is 2.5e-8 relative, and measured (2.6e-8 at most).
RELATIVE_L2 = 1e-7
PROMPTS = ("p1", "p24", "p100")
CASES = families()


@functools.cache
def model(case: FamilyCase) -> Decoder[Any]:
    """Open a model once for all tests."""
    return open_model(case.gguf)


@functools.cache
def trace(case: FamilyCase, prompt: str) -> Trace:
    """Evaluate a prompt once for all tests."""
    return model(case).forward(case.ids(prompt))


def test_four_families_are_committed() -> None:
    committed = {case.name for case in committed_families()}
    assert committed == {"gemma3-4b", "llama3", "qwen2", "qwen3"}
    assert set(committed_families()) <= set(CASES)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits(case: FamilyCase, prompt: str) -> None:
    logits, exact = trace(case, prompt).logits, case.arrays[f"exact_{prompt}"]
    assert logits.shape == exact.shape
    assert relative_l2(logits, exact) < RELATIVE_L2
    np.testing.assert_array_equal(logits.argmax(axis=1), exact.argmax(axis=1))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hidden_states(case: FamilyCase) -> None:
    expected = case.arrays["hidden_p24"]
    got = trace(case, "p24").hidden
    assert len(got) == len(expected)
    for layer, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert relative_l2(ours, theirs) < RELATIVE_L2, layer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_greedy_tokens(case: FamilyCase) -> None:
    expected = [int(i) for i in case.arrays["greedy_p24"]]
    assert model(case).greedy(case.ids("p24"), len(expected)) == expected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_last_logits_alone_are_the_same(case: FamilyCase) -> None:
    last = model(case).forward(case.ids("p24"), n_wanted=1).logits
    # One row or many, BLAS adds up in another order: some roundings of float64.
    assert relative_l2(last, trace(case, "p24").logits[-1:]) < 1e-12


def swapped_pairs(*arguments: Any) -> Any:
    """Turn the pairs that the other families turn."""
    x, positions, frequencies, *neighbours = arguments
    return ROTATE(x, positions, frequencies, not (neighbours and neighbours[0]))


def not_scaled(q: Any, k: Any, v: Any, positions: Any, window: Any, *_: Any) -> Any:
    """Attend with the scores as they are."""
    return ATTENTION(q, k, v, positions, window)


ROTATE, ATTENTION = ops.rotate, ops.attention
MISTAKES = {
    "rotate": swapped_pairs,
    "attention": not_scaled,
    "silu": ops.gelu_tanh,
    "gelu_tanh": ops.silu,
}


@pytest.mark.parametrize("op", MISTAKES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_seen(
    case: FamilyCase, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = "silu" if case.name.startswith("gemma") else "gelu_tanh"
    monkeypatch.setattr(ops, op, MISTAKES[op])
    exact = case.arrays["exact_p100"]
    error = relative_l2(model(case).forward(case.ids("p100")).logits, exact)
    assert error < RELATIVE_L2 if op == unused else error > 1e-3


def test_another_architecture_is_refused(tmp_path: Any) -> None:
    data = committed_families()[0].gguf.read_bytes()
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(b"gemma3", b"gemma9"))
    with pytest.raises(ValueError, match="gemma9"):
        open_model(other)
    assert set(FAMILIES) >= {"gemma3", "gemma4", "llama", "qwen2", "qwen3"}
