"""matmul against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Matrix, bench, close_sums, matrix
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(HARDWARE, tile_rows=24, tile_tokens=4)
TILES = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.tile)


def check(
    on: Bench, weights: Matrix, n_tokens: int, placed: Weight | None = None
) -> None:
    """Compare one product with the oracle's."""
    x = random_input(1, n_tokens, weights.values.shape[1])
    placed = placed or weights.place(on)
    (y,) = on.run(lambda ops: ops.matmul(on.tensor(x), placed), n_tokens=n_tokens)
    magnitude = oracle.matmul(np.abs(x), np.abs(weights.values))
    close_sums("matmul", y, oracle.matmul(x, weights.values), magnitude)


@TILES
@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    n_rows, n_tokens = tune.tile_rows, tune.tile_tokens
    dims = matrices.widths(type_name)
    with bench(tune) as on:
        for i, more_rows in enumerate([1 - n_rows, -1, 0, 1]):
            more_tokens = [-1, 1 - n_tokens, 1, 0][i]
            weights = matrix(type_name, n_rows + more_rows, dims[i % len(dims)])
            check(on, weights, n_tokens + more_tokens)


@pytest.mark.parametrize("type_name", ["BF16", "Q8_0", "Q5_K"])
def test_runs_with_any_tile(type_name: str) -> None:
    with bench(ODD) as on:
        for dim in matrices.widths(type_name):
            check(on, matrix(type_name, 67, dim), 9)


@TILES
@pytest.mark.parametrize(("type_name", "dim"), [("Q4_K", 512), ("F32", 33)])
def test_a_token_has_the_same_bits_in_any_company(
    type_name: str, dim: int, tune: Tuning
) -> None:
    weights = matrix(type_name, tune.tile_rows + 1, dim)
    x = random_input(1, 2 * tune.tile_tokens + 1, dim)
    with bench(tune) as on:
        placed = weights.place(on)
        (together,) = on.run(lambda ops: ops.matmul(on.tensor(x), placed))
        for begin, end in ((0, 2), (1, len(x)), (len(x) - 1, len(x))):
            few = on.tensor(x[begin:end])
            (y,) = on.run(lambda ops, few=few: ops.matmul(few, placed))
            np.testing.assert_array_equal(y, together[begin:end])


@pytest.mark.parametrize(
    ("type_name", "dim"), [("F16", 3), ("Q8_0", 32), ("MXFP4", 96), ("Q6_K", 256)]
)
def test_adds_up_from_parts(type_name: str, dim: int) -> None:
    weights = matrix(type_name, 4 * 8 + 3, dim)
    row_bytes = len(weights.raw) // weights.values.shape[0]
    with bench() as on:
        placed = weights.place(on, 8 * row_bytes)
        assert len(placed.parts) == 5
        check(on, weights, 3, placed)
        # In reverse, a part that wrote beyond its rows would spoil those of the next.
        reverse = dataclasses.replace(placed, parts=placed.parts[::-1])
        check(on, weights, on.tuning.tile_tokens + 1, reverse)


def test_agrees_with_matvec_on_what_linear_chooses() -> None:
    weights = matrix("Q4_K", 40, 512)
    x = random_input(1, 2, 512)
    with bench() as on:
        placed = weights.place(on)
        both, first = on.run(
            lambda ops: [
                ops.linear(on.tensor(x), placed),
                ops.linear(on.tensor(x[:1]), placed),
            ]
        )
    magnitude = oracle.matmul(np.abs(x[:1]), np.abs(weights.values))
    close_sums("matmul", both[:1], first, magnitude)
