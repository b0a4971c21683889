"""The cost of a decode step by real headers: pinned, and within its bounds."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from bench import cost

# By the plan, Q4_K_M: dispatches in all, the same with 48 KB to a workgroup, those
# outside the layers, those of the longest layer.
PINNED = {
    "e2b": (259, 259, 7, 8),
    "e4b": (344, 344, 8, 8),
    "12b": (389, 292, 5, 8),
    "26b-a4b": (304, 304, 4, 10),
    "31b": (485, 364, 5, 8),
    "llama3.2-3b": (229, 172, 5, 8),
    "llama3.1-8b": (261, 196, 5, 8),
    "qwen3-8b": (293, 220, 5, 8),
    "qwen3-30b-a3b": (340, 340, 4, 7),
    "gemma3-4b": (208, 208, 4, 6),
    "gemma3-12b": (389, 292, 5, 8),
}


@pytest.mark.parametrize("model", PINNED)
def test_a_step_costs_what_it_did(model: str) -> None:
    (found,) = asyncio.run(cost.costs_of([model], "Q4_K_M", 4096))
    longest = max(found.dense, found.moe)
    counts = (found.n_dispatches, found.n_roomy, found.outside, longest)
    assert counts == PINNED[model]
    assert found.weight_bytes == pytest.approx(found.needed_bytes, rel=1e-4)
    assert (found.submits, found.host_calls, found.objects) == (1, 1, 0)
    assert found.readback == 4
    assert list(found.violations()) == []


@pytest.mark.parametrize("file_type", ["Q8_0", "Q4_0"])
def test_other_types_keep_the_bounds(file_type: str) -> None:
    found = asyncio.run(
        cost.costs_of(["e2b", "26b-a4b", "qwen3-30b-a3b"], file_type, 16384)
    )
    assert [line for each in found for line in each.violations()] == []


def test_the_check_names_what_is_outside_its_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (good,) = asyncio.run(cost.costs_of(["e2b"], "Q4_K_M", 512))
    bad = dataclasses.replace(
        good, n_dispatches=283, weight_bytes=2 * good.weight_bytes, objects=16
    )
    assert [line.split()[1:3] for line in bad.violations()] == [
        ["16", "objects"],
        [f"{bad.weight_bytes:,}", "weight"],
        ["283", "dispatches,"],
    ]

    async def measured(*_: object) -> list[cost.Cost]:
        return [bad]

    monkeypatch.setattr(cost, "costs_of", measured)
    assert cost.main(["--check"]) == 1
    assert "283 dispatches, at most 282 wanted" in capsys.readouterr().err
    assert cost.main([]) == 0
