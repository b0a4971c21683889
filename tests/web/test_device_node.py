"""The browser's device without a browser: Pyodide and Dawn in Node."""

from __future__ import annotations

import ast
import asyncio
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.compare import tolerance
from tests.support.gpu import native_device
from tests.web import folded_plan, norm_plan
from tools import environment
from tools.lavapipe import dawn_environment

HERE = Path(__file__).parent
SWIFTSHADER = "vk_swiftshader_icd.json"  # lies beside Chromium's executable
CHROMIUM_FOLDERS = ("/usr/lib/chromium", "/usr/lib/chromium-browser")


def case_names() -> list[str]:
    """Return the names of the cases, which only Pyodide can import."""
    tree = ast.parse((HERE / "device_cases.py").read_text(encoding="utf-8"))
    names = [n.name for n in tree.body if isinstance(n, ast.AsyncFunctionDef)]
    return [n.removeprefix("case_") for n in names if n.startswith("case_")]


def swiftshader() -> Path | None:
    """Return the driver of Chromium's adapter, unless the environment names one."""
    if any(name in os.environ for name in environment.ICD_VARIABLES):
        return None
    chromium = environment.find_chromium()
    folders = [chromium.resolve().parent] if chromium else []
    folders += [Path(folder) for folder in CHROMIUM_FOLDERS]
    return next((f / SWIFTSHADER for f in folders if (f / SWIFTSHADER).exists()), None)


@functools.cache
def results() -> dict[str, Any]:
    """Run all cases in one process, and return what it wrote."""
    environment.ensure_node_modules(dev=True)
    reply = subprocess.run(
        [environment.node(), HERE / "node_device.mjs", environment.ROOT],
        capture_output=True,
        text=True,
        timeout=240,
        env=dawn_environment(swiftshader()),
    )
    # A failing Pyodide prints its source, which is one line of a megabyte.
    log = "\n".join(line[:1000] for line in reply.stderr.splitlines())
    assert reply.returncode == 0, log
    written: dict[str, Any] = json.loads(reply.stdout.splitlines()[-1])
    return written


@pytest.mark.parametrize("name", case_names())
def test_device(name: str) -> None:
    problem = results()["cases"][name]
    assert not problem, problem


def test_products_compute_their_input_as_natively() -> None:
    browser = np.frombuffer(bytes.fromhex(results()["outputs"]["folded plan"]), "<f4")
    plan = folded_plan.FoldedPlan(native_device())
    native = np.frombuffer(asyncio.run(plan.run()), "<f4")
    assert native.size == folded_plan.DIM + 9 + 4 + 1 + 7 + 5
    # The kernels' own tests hold the native side to the oracle. Each side errs within
    # rtol of the sizes of the terms of its sums: under 4 times the largest result, for
    # these inputs, and under 50 times where the gated unit multiplies two sums.
    is_gated = np.zeros(native.size, bool)
    is_gated[folded_plan.DIM + 14 : -5] = True
    for which, kernel, most in (
        (~is_gated, "matvec_many", 4),
        (is_gated, "matvec_glu", 50),
    ):
        bound = 2 * most * tolerance(kernel)[0] * np.abs(native[which]).max()
        assert np.abs(browser[which] - native[which]).max() <= bound


def test_dawn_gives_what_the_native_device_gives() -> None:
    browser = np.frombuffer(bytes.fromhex(results()["outputs"]["norm plan"]), "<f4")
    norm = norm_plan.NormPlan()
    native = np.frombuffer(asyncio.run(norm.run(native_device())), "<f4")
    native_device().release(norm.buffers)
    # The two norms err relative to their results. The product errs relative to the sum
    # of the sizes of its terms: under 4 times the largest result, for these inputs.
    rtol = 2 * tolerance("rms_norm")[0] + 4 * tolerance("matvec")[0]
    expected = np.array(norm_plan.expected())
    bound = rtol * np.max(np.abs(expected))
    for got in (browser, native):
        assert got.shape == expected.shape
        error = np.max(np.abs(got - expected))
        assert error <= bound, f"{error:.3g} off, {bound:.3g} allowed"
