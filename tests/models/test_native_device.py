"""The native device's ends: loads leave nothing behind, and a loss is told as one."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import re
import sys
from pathlib import Path

import pytest
import wgpu

from pyodide_app import errors
from pyodide_app.gpu.wgpu_native import open_device
from pyodide_app.graph.plan import Buffer, whole
from pyodide_app.run.pace import Fixed
from tests.models.native import greedy, logits, opened
from tests.support.golden_data import committed_cases

CASE = next(case for case in committed_cases() if case.model == "dense")
MANY = 10  # loads
N = 3  # loads after those that fill what is kept: pipelines, read-back buffers
KINDS = ("Buffer", "BindGroup", "BindGroupLayout", "ComputePipeline", "ShaderModule")


def test_loads_and_replies_leave_nothing_behind() -> None:
    for _ in range(2):
        load_and_answer()
    before = held()
    for _ in range(N):
        load_and_answer()
    assert held() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loads_leave_no_memory_behind() -> None:
    # llvmpipe keeps some 165 KB of each kernel that it compiles anew for a dispatch, as
    # it does where a uniform bounds a loop: one in each load would be 1.6 MB.
    for _ in range(MANY // 2):
        load_and_answer()
    before = resident()
    for _ in range(MANY):
        load_and_answer()
    assert resident() - before < 1 << 20


def test_a_lost_device_is_told_as_such() -> None:
    device = open_device()
    buffer = Buffer("read", 16)
    assert asyncio.run(device.read(whole(buffer))) == bytes(16)
    device._device.destroy()
    with pytest.raises(errors.DeviceLostError, match="Load the model again"):
        asyncio.run(device.read(whole(buffer)))


def test_a_closed_engine_refuses_requests() -> None:
    with opened(CASE.gguf, n_ctx=256) as engine:
        greedy(engine, CASE.ids("p20"), 1)
    with pytest.raises(errors.RequestError, match="the model is closed"):
        greedy(engine, CASE.ids("p20"), 1)
    with pytest.raises(errors.RequestError, match="the model is closed"):
        logits(engine, CASE.ids("p20"))


def load_and_answer() -> None:
    with opened(CASE.gguf, n_ctx=256) as engine:
        engine.pace = Fixed(2)  # else a busy machine decides on read-backs in flight
        greedy(engine, CASE.ids("p20"), 8)


def held() -> dict[str, int]:
    """Return how many objects wgpu's own library counts, by kind."""
    gc.collect()
    counts = wgpu.diagnostics.wgpu_native_counts.get_dict()
    return {kind: counts[kind]["count"] for kind in KINDS}


def resident() -> int:
    """Return the bytes of memory that this process has written and not given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    assert found
    return int(found[1]) << 10
