"""Every named intermediate on the GPU against the oracle's, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.gemma4 import Gemma4
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.models.native import opened, trace
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, cases, committed_cases

# Errors add up through the layers; the logits' own bound is the largest allowed.
F32_L2 = 5e-5


def check(case: Case, prompt: str, tune: Tuning) -> set[str]:
    """Compare what a pass names with the oracle's; return the names."""
    ids = case.ids(prompt)
    oracle = Gemma4.open(case.gguf).forward(ids).nodes
    with opened(case.gguf, tune=tune) as engine:
        got = trace(engine, ids)
        n_layers = engine.loaded.model.config.n_layers
    for node in ("attn_out", "l_out"):
        assert {f"{node}-{layer}" for layer in range(n_layers)} < set(got)
    for name, array in got.items():
        expected = np.asarray(oracle[name]).reshape(array.shape)
        if "topk" in name:
            assert (array == expected).all(), name
        else:
            assert relative_l2(array, expected) < F32_L2, name
    if case.model == "moe8":
        # As Hugging Face chose, beside the oracle.
        chosen = case.arrays[f"router_idx_{prompt}"]
        for layer, expected in enumerate(chosen):
            assert (got[f"ffn_moe_topk-{layer}"] == expected).all()
    return set(got)


@pytest.mark.parametrize("prompt", ["p1", "p20"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_intermediate_and_the_router(case: Case, prompt: str) -> None:
    names = check(case, prompt, SOFTWARE)
    assert {"attn_norm-0", "kqv_out-0", "result_norm"} < names


@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_a_step_that_norms_in_its_products(case: Case) -> None:
    names = check(case, "p1", HARDWARE)
    assert ("pe_in-0" in names) == (case.model == "ple")
    assert not {name for name in names if "norm-" in name}


FLOATS = [case for case in cases() if case.type == "f16"]  # of the larger golden set

if FLOATS:

    @pytest.mark.parametrize("case", FLOATS, ids=str)
    def test_hidden_states_equal_hugging_face(case: Case) -> None:
        ids = case.ids("p20")
        with opened(case.gguf) as engine:
            got = trace(engine, ids)
        hidden = case.arrays["hidden_p20"]
        assert relative_l2(got["inp_scaled"], hidden[0]) < F32_L2
        for layer, expected in enumerate(hidden[1:]):
            assert relative_l2(got[f"l_out-{layer}"], expected) < F32_L2, layer
