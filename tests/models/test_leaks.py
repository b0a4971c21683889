"""What loads and replies leave behind on the native device: nothing."""

from __future__ import annotations

import gc

import wgpu

from tests.golden_data import committed_cases
from tests.models.native import greedy, opened

CASE = next(case for case in committed_cases() if case.model == "dense")
N = 3  # loads after those that fill what is kept: pipelines, read-back buffers
KINDS = ("Buffer", "BindGroup", "BindGroupLayout", "ComputePipeline", "ShaderModule")


def test_loads_and_replies_leave_nothing_behind() -> None:
    for _ in range(2):
        load_and_answer()
    before = held()
    for _ in range(N):
        load_and_answer()
    assert held() == before


def load_and_answer() -> None:
    with opened(CASE.gguf, n_ctx=256) as engine:
        greedy(engine, CASE.ids("p20"), 8)


def held() -> dict[str, int]:
    """Return how many objects wgpu's own library counts, by kind."""
    gc.collect()
    counts = wgpu.diagnostics.wgpu_native_counts.get_dict()
    return {kind: counts[kind]["count"] for kind in KINDS}
