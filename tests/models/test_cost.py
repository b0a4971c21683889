"""What a decode step costs the host: exact counts, the same on every machine."""

from __future__ import annotations

import asyncio

import pytest

from pyodide_app.load.passes import STEP
from pyodide_app.run.engine import Engine
from pyodide_app.run.pace import Single
from tests.models.native import GREEDY, opened
from tests.support.golden_data import Case, committed_cases
from tests.support.gpu import device


@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_a_decode_step_is_one_submit_and_makes_no_object(case: Case) -> None:
    with opened(case.gguf, kv="f16") as engine:
        engine.pace = Single()
        costs = asyncio.run(step_costs(engine, case.ids("p20"), 6))
        plan, _ = engine.passes.record(STEP).finish()
    # With the first token, of the prefill, the plan of a step is prepared; each next
    # step is submitted before its token is yielded, and none with the last.
    for cost in costs[2:-1]:
        assert cost == {
            "submits": 1,
            "dispatches": len(plan.dispatches),
            "host_calls": 1,
            "bytes_uploaded": 0,
            "bytes_read": 4,
            "objects": 0,
        }
    assert len(costs) == 6


async def step_costs(engine: Engine, ids: list[int], n: int) -> list[dict[str, int]]:
    """Return what the device counted for each of n tokens."""
    costs, before = [], dict(device().counters)
    async for item in engine.generate(
        ids, sampling=GREEDY, max_tokens=n, ignore_eos=True
    ):
        after = dict(device().counters)
        if isinstance(item, int):
            costs.append({name: after[name] - before[name] for name in after})
        before = after
    return costs
