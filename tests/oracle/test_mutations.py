"""The golden comparison fails when the model is wrong, and by as much as it should."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.gemma4 import Gemma4
from tests.oracle.mutations import mutations_of
from tests.support.golden_data import Case, cases, committed_cases, mutations

TOLERANCE = 5e-5  # of relative L2: what every golden comparison allows

MISTAKES = [
    pytest.param(case, name, id=f"{case}-{name}")
    for case in committed_cases()
    for name in mutations_of(case.model)
]


def distance(case: Case, name: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the relative L2 of a mistaken model on the prompt beyond the window."""
    model = Gemma4.open(case.gguf)
    mutations_of(case.model)[name](monkeypatch, model)
    exact = case.exact("p80")
    error = model.forward(case.ids("p80")).logits - exact
    return float(np.linalg.norm(error) / np.linalg.norm(exact.astype(np.float64)))


@pytest.mark.parametrize(("case", "name"), MISTAKES)
def test_a_mistake_is_seen(
    case: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert distance(case, name, monkeypatch) > 2 * TOLERANCE


KNOWN = mutations()
MEASURED = [
    pytest.param(case, name, KNOWN[case.model][name]["p80"], id=f"{case}-{name}")
    for case in cases()
    if KNOWN is not None and case.type == "f16"
    for name in mutations_of(case.model)
]

if MEASURED:

    @pytest.mark.parametrize(("case", "name", "expected"), MEASURED)
    def test_a_mistake_costs_what_it_costs_the_peer(
        case: Case, name: str, expected: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Compare with the same mistake made in Hugging Face's float32 model.

        Its own rounding is 1e-5 and grows where a mistake blows up activations.
        """
        measured = distance(case, name, monkeypatch)
        assert measured == pytest.approx(expected, rel=2e-3, abs=2e-5)
