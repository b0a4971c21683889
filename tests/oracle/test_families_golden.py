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
from tests.support.golden_data import (
    FamilyCase,
    RoutedCase,
    committed_families,
    families,
)

# Both sides compute in float64 and the target is stored in float32: an error uniform in
# half a unit in the last place is 2.5e-8 relative, and measured (2.6e-8 at most).
RELATIVE_L2 = 1e-7
CASES = [case for case in families() if case.architecture in FAMILIES]


@functools.cache
def model(case: FamilyCase) -> Decoder[Any]:
    """Open a model once for all tests."""
    return open_model(case.gguf)


@functools.cache
def trace(case: FamilyCase, prompt: str) -> Trace:
    """Evaluate a prompt once for all tests."""
    return model(case).forward(case.ids(prompt))


def test_every_family_is_committed() -> None:
    committed = {case.name for case in committed_families()}
    assert committed == {"gemma3-4b", "llama3", "qwen2", "qwen3", "qwen3moe16-q8_0"}
    assert set(committed_families()) <= set(CASES)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits(case: FamilyCase, which: int) -> None:
    prompt = case.PROMPTS[which]
    logits, exact = trace(case, prompt).logits, case.exact(prompt)
    assert logits.shape == exact.shape
    assert relative_l2(logits, exact) < RELATIVE_L2
    np.testing.assert_array_equal(logits.argmax(axis=1), exact.argmax(axis=1))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hidden_states(case: FamilyCase) -> None:
    expected = case.arrays[f"hidden_{case.chat}"]
    got = trace(case, case.chat).hidden
    assert len(got) == len(expected)
    for layer, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert relative_l2(ours, theirs) < RELATIVE_L2, layer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_greedy_tokens(case: FamilyCase) -> None:
    expected, _ = case.greedy()
    assert model(case).greedy(case.ids(case.chat), len(expected)) == expected


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case, RoutedCase)], ids=str
)
def test_routers(case: RoutedCase) -> None:
    for prompt in case.PROMPTS:
        found, arrays = trace(case, prompt), case.arrays
        np.testing.assert_array_equal(found.router_idx, arrays[f"router_idx_{prompt}"])
        weights = arrays[f"router_w_{prompt}"]
        np.testing.assert_allclose(found.router_weights, weights, rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_last_logits_alone_are_the_same(case: FamilyCase) -> None:
    last = model(case).forward(case.ids(case.chat), n_wanted=1).logits
    # One row or many, BLAS adds up in another order: some roundings of float64.
    assert relative_l2(last, trace(case, case.chat).logits[-1:]) < 1e-12


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
    got = model(case).forward(case.ids(case.long)).logits
    error = relative_l2(got, case.exact(case.long))
    assert error < RELATIVE_L2 if op == unused else error > 1e-3


def test_another_architecture_is_refused(tmp_path: Any) -> None:
    data = committed_families()[0].gguf.read_bytes()
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(b"gemma3", b"gemma9"))
    with pytest.raises(ValueError, match="gemma9"):
        open_model(other)
    assert {case.architecture for case in CASES} == set(FAMILIES) - {"gemma4"}
