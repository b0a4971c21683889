"""Toy models of other families on the GPU: golden logits, oracle, every way to run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle.families import open_model
from pyodide_app.errors import UnsupportedArchitectureError, UnsupportedFormatError
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from pyodide_app.models import FAMILIES
from tests.models.native import greedy, logits, opened, trace
from tests.support.compare import relative_l2
from tests.support.golden_data import FamilyCase, committed_families, families

# The golden README: Hugging Face in float32 is 0.8e-6 to 2.0e-6 away from float64; the
# smallest deliberate mistake that its report lists moves logits by 1.7e-2.
F32_L2, F32_MAX = 5e-5, 2e-3
SURE_MARGIN = 5e-3  # of the two best logits: below it f32 rounding may decide
F16_L2 = 1e-2  # keys and values rounded to 11 bits
N_CTX = 192  # of the prompts and what follows; gemma3-4b's window is 32

CASES = [case for case in families() if case.architecture in FAMILIES]
COMMITTED = committed_families()


def check_greedy(engine: Any, case: FamilyCase) -> None:
    """Compare greedy tokens after a prompt, the first run of them that are sure."""
    expected, margins = case.greedy()
    sure = margins >= SURE_MARGIN
    begin = int(sure.argmax())
    end = begin + int(np.append(~sure[begin:], True).argmax())
    got = greedy(engine, case.ids(case.chat) + expected[:begin], end - begin)
    assert sure.any() and got == expected[begin:end]


def test_every_family_has_a_toy_model() -> None:
    with_toy = {case.architecture for case in COMMITTED}
    assert with_toy | {"gemma4"} == set(FAMILIES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_f32_logits_arg_max_and_greedy_tokens(case: FamilyCase) -> None:
    with opened(case.gguf, n_ctx=N_CTX) as engine:
        for prompt in case.PROMPTS:
            got, exact = logits(engine, case.ids(prompt)), case.exact(prompt)
            assert relative_l2(got, exact) < F32_L2, prompt
            assert np.abs(got - exact).max() < F32_MAX, prompt
            assert (got.argmax(axis=-1) == exact.argmax(axis=-1)).all(), prompt
        check_greedy(engine, case)


@pytest.mark.parametrize("n_ctx", [128, 4096])
@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_a_gpus_plans_give_the_same(case: FamilyCase, n_ctx: int) -> None:
    # Every token alone, then in chunks; as in test_golden.
    tune = replace(HARDWARE, chunk=1 if n_ctx == 128 else 16)
    with opened(case.gguf, tune=tune, n_ctx=n_ctx) as engine:
        check_greedy(engine, case)


@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_an_f16_cache_stays_near(case: FamilyCase) -> None:
    with opened(case.gguf, kv="f16", n_ctx=N_CTX) as engine:
        got, exact = logits(engine, case.ids(case.long)), case.exact(case.long)
        errors = [relative_l2(g, e) for g, e in zip(got, exact, strict=True)]
        assert np.median(errors) < F16_L2


@pytest.mark.parametrize(
    ("prompt", "tune"), [(1, SOFTWARE), (0, HARDWARE)], ids=["prompt", "step"]
)
@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_every_intermediate(case: FamilyCase, prompt: int, tune: Tuning) -> None:
    ids = case.ids(case.PROMPTS[prompt])
    expected = open_model(case.gguf).forward(ids).nodes
    with opened(case.gguf, tune=tune, n_ctx=N_CTX) as engine:
        got = trace(engine, ids)
        n_layers = engine.loaded.config.n_layers
    # In a step on a GPU, products merge the splits of attention for themselves.
    for node in ("attn_out", "l_out", "Kcur_pos", "Vcur_normed"):
        assert {f"{node}-{layer}" for layer in range(n_layers)} <= set(got)
    for name, array in got.items():
        wanted = np.asarray(expected[name]).reshape(array.shape)
        assert relative_l2(array, wanted) < F32_L2, name


def changed(case: FamilyCase, path: Any, old: bytes, new: bytes) -> Any:
    """Write the case's file with some bytes changed, as many as there were."""
    data = case.gguf.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def test_a_tensor_that_nobody_would_read_is_refused(tmp_path: Any) -> None:
    # A Qwen 3 that says it is a Llama: without its norms it would be another model.
    (qwen3,) = (case for case in COMMITTED if case.name == "qwen3")
    path = changed(qwen3, tmp_path / "x.gguf", b"qwen3", b"llama")
    with pytest.raises(UnsupportedFormatError, match=r"attn_[qk]_norm"), opened(path):
        pass


def test_another_way_to_stretch_the_context_is_refused_by_name(tmp_path: Any) -> None:
    (gemma,) = (case for case in COMMITTED if case.name == "gemma3-4b")
    path = changed(gemma, tmp_path / "x.gguf", b"linear", b"yarn\0\0")
    with pytest.raises(UnsupportedArchitectureError, match="yarn"), opened(path):
        pass
