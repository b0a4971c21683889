"""matvec against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.gpu import Bench, random_input
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix

SERIAL = dataclasses.replace(SOFTWARE, lanes=1, rows=1)
ODD = dataclasses.replace(SOFTWARE, lanes=5, rows=3)
WIDE = dataclasses.replace(HARDWARE, lanes=64, rows=2)


def check(on: Bench, weights: Matrix, placed: Weight | None = None) -> Array:
    """Compare one product with the oracle's and return it."""
    x = random_input(1, 1, weights.values.shape[1])
    placed = placed or weights.place(on)
    (y,) = on.run(lambda ops: ops.matvec(on.tensor(x), placed))
    magnitude = oracle.matvec(np.abs(x), np.abs(weights.values))
    close_sums("matvec", y, oracle.matvec(x, weights.values), magnitude)
    return y


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE, ODD], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    n_rows = [1, tune.rows - 1, tune.rows, tune.rows + 1, 3 * tune.rows + 1]
    dims = matrices.widths(type_name)
    with bench(tune) as on:
        for i, rows in enumerate(n_rows):
            check(on, matrix(type_name, rows, dims[i % len(dims)]))


@pytest.mark.parametrize("tune", [SERIAL, WIDE], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", ["F16", "Q5_0", "Q6_K"])
def test_runs_with_any_number_of_lanes(type_name: str, tune: Tuning) -> None:
    with bench(tune) as on:
        for dim in matrices.widths(type_name):
            check(on, matrix(type_name, 5, dim))


@pytest.mark.parametrize(
    ("type_name", "dim", "rows_per_part"),
    [
        ("F16", 3, 6),  # rows of 6 bytes: parts begin on whole words
        ("Q8_0", 32, 6),  # of 34
        ("MXFP4", 96, 8),  # of 51
        ("Q4_K", 256, 5),
        ("Q6_K", 256, 6),  # of 210
    ],
)
def test_adds_up_from_parts(type_name: str, dim: int, rows_per_part: int) -> None:
    weights = matrix(type_name, 4 * rows_per_part + 3, dim)
    row_bytes = len(weights.raw) // weights.values.shape[0]
    with bench() as on:
        placed = weights.place(on, rows_per_part * row_bytes)
        assert len(placed.parts) == 5
        check(on, weights, placed)
        # In reverse, a part that wrote beyond its rows would spoil those of the next.
        check(on, weights, dataclasses.replace(placed, parts=placed.parts[::-1]))


def test_folds_more_workgroups_than_one_axis_holds() -> None:
    with bench(SERIAL) as on:
        check(on, matrix("F16", 65535 + 65, 3))


def test_repeats_to_the_bit() -> None:
    weights = matrix("Q4_K", 37, 2816)
    with bench(HARDWARE) as on:
        first, second = check(on, weights), check(on, weights)
    assert first.tobytes() == second.tobytes()
