"""Twins of kernels on this device: their trials, and whole models that use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Container, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from pyodide_app.__main__ import main
from pyodide_app.adapter import kernel_options, trials
from pyodide_app.adapter.kernel_options import OPTIONS, Option
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.wgpu_native import NativeDevice, open_device
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.engine import Engine
from tests.models.native import logits, opened
from tests.models.test_golden import F16_L2, check_greedy
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, committed_cases
from tests.support.gpu import device

EACH = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
TUNINGS = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])
CODE = Variant.code_for
# A mistake in each twin, as a text of its own and what stands there instead.
MISTAKES = {
    "subgroup": ("step *= 2u", "step *= 4u"),
    "f16-kv": ("KvWord(f16_or_nan(values))", "KvWord(f16_or_nan(values.yxzw))"),
    "f16-tiles": ("sums[r] += weights.w", "sums[r] += weights.z"),
    "int8": ("vec4<i32>(round(x[0] * factor))", "vec4<i32>(round(x[1] * factor))"),
}


@pytest.fixture
def fresh() -> Iterator[NativeDevice]:
    """Open a device that has compiled nothing yet."""
    with closing(open_device()) as gpu:
        yield gpu


def problem(gpu: NativeDevice, option: Option, tune: Tuning) -> str:
    """Run an option's self-test."""
    twin = option.apply(tune, gpu.info)
    return asyncio.run(trials.problem(gpu, option.trial, tune, twin))


def spoil(monkeypatch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    """Put a mistake into the texts that are not of the baseline."""

    def spoiled(variant: Variant, enabled: Container[str]) -> str:
        code = CODE(variant, enabled)
        is_twin = variant.features or ("precision", "int8") in variant.slots
        return code.replace(right, wrong) if is_twin else code

    monkeypatch.setattr(Variant, "code_for", spoiled)


@EACH
@TUNINGS
def test_each_option_passes_its_self_test(option: Option, tune: Tuning) -> None:
    gpu, before = device(), set(device()._buffers)
    assert option.lacks(gpu.info) == ""
    assert problem(gpu, option, tune) == ""
    assert set(gpu._buffers) == before


@EACH
@TUNINGS
def test_a_self_test_sees_a_mistake(
    monkeypatch: pytest.MonkeyPatch, fresh: NativeDevice, option: Option, tune: Tuning
) -> None:
    spoil(monkeypatch, *MISTAKES[option.name])
    assert "in its self-test" in problem(fresh, option, tune)


def test_a_self_test_sees_subgroups_that_are_narrower_than_they_say() -> None:
    # llvmpipe's have eight threads, and SwiftShader's four.
    twin = replace(HARDWARE, subgroup=16)
    found = asyncio.run(trials.problem(device(), trials.SUMS, HARDWARE, twin))
    assert found.startswith("it gave ")


def test_what_does_not_compile_is_left_and_said(
    monkeypatch: pytest.MonkeyPatch, fresh: NativeDevice
) -> None:
    spoil(monkeypatch, "fn lanes_sum", "fn function lanes_sum")
    choice = asyncio.run(kernel_options.choose(fresh, ["subgroup", "f16-kv"]))
    assert choice.options == ("f16-kv",)
    assert choice.refused["subgroup"].startswith("it failed in its self-test (")


def test_what_is_timed_can_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_ROUNDS", 1)
    monkeypatch.setattr(trials, "_SECONDS", 0.02)
    monkeypatch.setattr(trials, "_N_MATRICES", 4)
    gpu, before = device(), set(device()._buffers)
    for option in OPTIONS:
        if not option.rounds:
            twin = option.apply(HARDWARE, gpu.info)
            both = asyncio.run(trials.times(gpu, option.trial, HARDWARE, twin))
            assert all(1e-4 < seconds < 60 for seconds in both)
    assert set(gpu._buffers) == before


@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_models_answer_the_same(case: Case) -> None:
    info = device().info
    for tune in (SOFTWARE, replace(HARDWARE, chunk=48)):
        twin = replace(tune, subgroup=info.subgroup)
        with opened(case.gguf, tune=twin) as engine:
            assert engine.info["kernels"] == "subgroup"
            check_greedy(engine, case)


def test_tiles_in_halves_stay_near() -> None:
    # Weights keep eleven bits, as keys and values do in an f16 cache.
    case = committed_cases()[0]
    assert case.model == "dense"  # no choice of experts that may flip
    results = []
    for element in ("f32", "f16"):
        tune = replace(HARDWARE, chunk=80, element=element)
        with opened(case.gguf, tune=tune) as engine:
            results.append(logits(engine, case.ids("p80")))
    assert 0 < relative_l2(results[1], results[0]) < F16_L2
    assert relative_l2(results[1], case.exact("p80")) < F16_L2


def test_a_model_runs_what_was_asked_for() -> None:
    case = committed_cases()[0]
    asked = ("subgroup", "f16-kv")
    for kernels, said in ((asked, "subgroup, f16-kv"), (None, "baseline")):
        options = LoadOptions(n_ctx=300, kernels=kernels)
        with closing(FileSource(case.gguf)) as source:
            engine = asyncio.run(Engine.load([source], device(), options))
            plans = engine.loaded.layout.plans.values()
            engine.close()
        needed = {f for p in plans for d in p.dispatches for f in d.variant.features}
        assert engine.info["kernels"] == said
        assert needed == ({"subgroups", "shader-f16"} if kernels else set())


def test_the_command_line_forces_and_shows_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(committed_cases()[0].gguf)
    ids = ("--ids", "2,10", "-n", "2", "--greedy", "--json")
    assert main(["generate", path, *ids, "--kernels", "subgroup,f16-kv"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["kernels"] == "subgroup, f16-kv"
    assert "kernels: subgroup, f16-kv" in printed.err.splitlines()
    assert main(["inspect", path, "--fit", "--kernels", "baseline"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "kernels: baseline"
    assert main(["generate", path, *ids, "--kernels", "warp"]) == 2
    printed = capsys.readouterr()
    assert "'warp'" in printed.err and "subgroup, f16-kv" in printed.err
    assert printed.err.count("\n") == 1 and not printed.out
