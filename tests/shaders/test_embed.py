"""embed against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE
from tests.shaders import matrices
from tests.shaders.matrices import Matrix, bench, matrix
from tests.support.compare import tolerance
from tests.support.gpu import Bench

SCALE = np.float32(2816**0.5)  # of 26b-a4b, as the uniform holds it


def check(on: Bench, weights: Matrix, placed: Weight | None = None) -> None:
    """Compare with the oracle, each element relative to itself."""
    last = weights.values.shape[0] - 1
    tokens = np.array([last, 0, last // 2, 0, last], np.uint32)
    placed = placed or weights.place(on)
    (y,) = on.run(lambda ops: ops.embed(on.tensor(tokens), placed, float(SCALE)))
    expected = oracle.embed(tokens, weights.values, float(SCALE))
    rtol, atol = tolerance("embed")
    np.testing.assert_allclose(y, expected, rtol, atol)


@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_matches_the_oracle(type_name: str) -> None:
    with bench(SOFTWARE) as on:
        for dim in (*matrices.widths(type_name), 2816):
            check(on, matrix(type_name, 7, dim))


@pytest.mark.parametrize("threads", [1, 33, 256])
def test_runs_with_any_workgroup_size(threads: int) -> None:
    tune = dataclasses.replace(SOFTWARE, threads=threads)
    with bench(tune) as on:
        check(on, matrix("Q8_0", 3, 32))
        check(on, matrix("F32", 3, 257))


@pytest.mark.parametrize(
    ("type_name", "dim"), [("F16", 3), ("Q8_0", 32), ("Q6_K", 256), ("MXFP4", 96)]
)
def test_takes_each_token_from_the_part_that_holds_it(type_name: str, dim: int) -> None:
    weights = matrix(type_name, 4 * 8 + 3, dim)
    row_bytes = len(weights.raw) // weights.values.shape[0]
    with bench(HARDWARE) as on:
        placed = weights.place(on, 8 * row_bytes)
        assert len(placed.parts) == 5
        check(on, weights, placed)
        check(on, weights, dataclasses.replace(placed, parts=placed.parts[::-1]))
