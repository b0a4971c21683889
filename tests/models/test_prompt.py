"""Prompts: the same bits however they are cut, and no work that nobody reads."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.cost import layer_of
from pyodide_app.graph.plan import Dispatch, Plan, View
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from pyodide_app.run.engine import Engine
from tests.models.native import GREEDY, generate, greedy, logits, opened
from tests.models.test_lengths import random_ids
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, committed_cases
from tests.support.gpu import device

ALL = pytest.mark.parametrize("case", committed_cases(), ids=str)
TUNINGS = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.tile)
N = 50  # tokens: the golden models' windows are of 32
CHUNK = 64


def watch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], np.ndarray]:
    """Return how to read the logits after the last prompt."""
    views: list[View] = []

    async def plan(key: tuple[int, bool]):
        ops = engine.passes.record(key, trace=True)
        recorded, places = ops.finish()
        if key[0] > 1 and "result_output" in ops.named:  # not of a decode step
            views.append(places[ops.named["result_output"]])
        return await engine.device.prepare(recorded)

    def read() -> np.ndarray:
        data = asyncio.run(engine.device.read(views[-1]))
        return np.frombuffer(data, np.float32)

    monkeypatch.setattr(engine.passes, "get", plan)
    return read


@ALL
@TUNINGS
def test_a_prompt_gives_the_same_bits_however_it_is_cut(
    case: Case, tune: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, wanted = random_ids(N), {"sampling": GREEDY, "ignore_eos": True}
    with opened(case.gguf, tune=replace(tune, chunk=CHUNK)) as engine:
        read = watch(engine, monkeypatch)
        whole = generate(engine, ids, max_tokens=1, **wanted).ids
        expected = read()
        reply = greedy(engine, ids, 16)
        assert reply[:1] == list(whole)
        # An earlier turn that ended here; with 49 a single token is left, with 50 none.
        for cut in (2, 31, 48, 49, 50):
            engine.cached_ids = []
            generate(engine, ids[:cut], max_tokens=1, **wanted)
            end = generate(engine, ids, max_tokens=1, **wanted)
            assert end.n_reused == min(cut, N - 1)
            np.testing.assert_array_equal(read(), expected, err_msg=str(cut))
        assert greedy(engine, ids, 16) == reply
    for chunk in (7, 2):  # 50 = 7 * 7 + 1
        with opened(case.gguf, tune=replace(tune, chunk=chunk)) as engine:
            read = watch(engine, monkeypatch)
            generate(engine, ids, max_tokens=1, **wanted)
            np.testing.assert_array_equal(read(), expected, err_msg=f"chunk {chunk}")
            assert greedy(engine, ids, 16) == reply


@ALL
def test_what_is_skipped_changes_no_logits(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = random_ids(N)
    with opened(case.gguf, tune=replace(SOFTWARE, chunk=16)) as engine:
        unskipped = logits(engine, ids)[-1]
        engine.cached_ids = []
        read = watch(engine, monkeypatch)
        end = generate(engine, ids, sampling=GREEDY, max_tokens=1, ignore_eos=True)
        assert list(end.ids) == [unskipped.argmax()]
        # The last token's matvecs add up in another order than a matmul.
        assert relative_l2(read(), unskipped) < 1e-5


def by_layer(plan: Plan) -> Counter[int | None]:
    """Count a plan's dispatches by layer, None for those outside."""
    return Counter(map(layer_of, plan.dispatches))


def kernels(plan: Plan, wanted: Callable[[Dispatch], bool]) -> list[str]:
    """Return the kernels of some of a plan's dispatches."""
    return [each.variant.kernel for each in plan.dispatches if wanted(each)]


@ALL
@TUNINGS
def test_layers_that_store_nothing_run_for_the_last_token(
    case: Case, tune: Tuning
) -> None:
    with opened(case.gguf, tune=tune) as engine:
        plans = {
            (n, sample): engine.passes.record((n, sample)).finish()[0]
            for n, sample in ((1, True), (16, True), (16, False))
        }
        last = max(engine.loaded.model.caches)
        layers = engine.loaded.model.config.layers
    step, ends, inner = (by_layer(plan) for plan in plans.values())
    # In the middle of a prompt: norm, keys, values and their store, then nothing.
    assert set(inner) - {None} == set(range(last + 1))
    stored = kernels(plans[16, False], lambda each: layer_of(each) == last)
    assert stored[0] in ("add_norm", "rms_norm") and stored[-1] == "head_norm_rope"
    assert set(stored[1:-1]) == {"matmul"} and len(stored) <= 4
    # At its end the rest runs as in a decode step.
    for layer in layers[last + 1 :]:
        assert ends[layer.index] == step[layer.index]
    many = {"matmul", "expert_matmul", "attention_prefill", "glu", "expert_sort"}
    rest = kernels(plans[16, True], lambda each: (layer_of(each) or 0) > last)
    assert not many & set(rest)
    n_matmuls = kernels(plans[16, True], lambda each: layer_of(each) == last)
    assert n_matmuls.count("matmul") == stored.count("matmul")
    assert (len(rest) > 0) == (case.model == "ple")


@ALL
def test_a_chunk_is_one_submit(case: Case) -> None:
    with opened(case.gguf, tune=replace(SOFTWARE, chunk=16)) as engine:
        wanted = {"sampling": GREEDY, "max_tokens": 1, "ignore_eos": True}
        generate(engine, random_ids(3 * 16 + 1), **wanted)  # prepares the plans
        engine.cached_ids = []
        before = dict(device().counters)
        generate(engine, random_ids(3 * 16 + 1), **wanted)
        spent = {name: n - before[name] for name, n in device().counters.items()}
    assert spent["submits"] == 4
    assert spent["objects"] == 0
    assert spent["bytes_read"] == 4 * 4
