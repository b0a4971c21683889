"""The passes that are kept prepared: once each, the latest, and begun behind others."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from bench.cost import ADAPTER
from bench.counting import CountingDevice
from pyodide_app import errors
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.device import Prepared
from pyodide_app.graph.plan import Plan
from pyodide_app.load import loader
from pyodide_app.load.layout import Layout
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.passes import STEP, Passes
from tests.support.golden_data import committed_cases

CASE = next(case for case in committed_cases() if case.model == "dense")


class Slow(CountingDevice):
    """A device that lets others run before a plan is ready, or fails then."""

    def __init__(self) -> None:
        super().__init__(ADAPTER)
        self.labels: list[str] = []
        self.fails = False

    async def prepare(self, plan: Plan) -> Prepared:
        self.labels.append(plan.label)
        await asyncio.sleep(0)
        if self.fails:
            raise errors.ShaderCompileError("no compiler is at hand")
        return await super().prepare(plan)


@pytest.fixture(scope="module")
def layout() -> Layout:
    with closing(FileSource(CASE.gguf)) as source:
        options = LoadOptions(n_ctx=256)
        return asyncio.run(loader.preflight([source], ADAPTER, options)).layout


def test_what_is_begun_is_what_others_wait_for(layout: Layout) -> None:
    async def ask() -> list[Prepared]:
        passes.begin(STEP)
        return [await passes.get(STEP) for _ in range(3)]

    device = Slow()
    passes = Passes(device, layout)
    first, *others = asyncio.run(ask())
    assert others == [first, first] and device.labels == ["step.1"]
    assert first.plan is layout.plans[1]


def test_a_failure_is_told_to_whoever_needs_the_pass_and_tried_again(
    layout: Layout,
) -> None:
    async def ask() -> Prepared:
        passes.begin(STEP)  # nobody is there when it fails
        await asyncio.sleep(0.01)
        passes.begin(STEP)
        with pytest.raises(errors.ShaderCompileError):
            await passes.get(STEP)
        device.fails = False
        return await passes.get(STEP)

    device = Slow()
    device.fails = True
    passes = Passes(device, layout)
    assert asyncio.run(ask()).plan is layout.plans[1]
    assert device.labels == ["step.1"] * 3


def test_the_latest_passes_of_odd_lengths_are_kept(layout: Layout) -> None:
    async def ask(*keys: tuple[int, bool]) -> list[str]:
        device.labels.clear()
        for key in keys:
            await passes.get(key)
        return list(device.labels)

    device = Slow()
    passes = Passes(device, layout)
    odd = [(n, True) for n in range(2, 10)]
    asyncio.run(ask(STEP, passes.prompt, *odd))
    assert asyncio.run(ask(STEP, passes.prompt, *odd)) == []
    inner = (passes.prompt[0], False)  # of a whole chunk, which does not count as odd
    assert asyncio.run(ask(inner, *odd)) == [f"step.{inner[0]}"]
    # Nine are one too many: the one that was used the longest ago goes.
    assert asyncio.run(ask(odd[0], (10, True), odd[0], STEP, inner)) == ["step.10"]
    assert asyncio.run(ask(odd[1])) == ["step.3"]


def test_closing_gives_up_what_has_begun(layout: Layout) -> None:
    async def ask() -> bool:
        task = passes.begin(STEP)
        passes.close()
        await asyncio.wait([task])
        return task.cancelled()

    device = Slow()
    passes = Passes(device, layout)
    assert asyncio.run(ask())
    assert device.counters["objects"] == 0
