"""matvec against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from oracle import quant
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.tensors import Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix
from tests.support.gpu import Bench, random_input

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
    at_once = FOUR * tune.rows
    n_rows = [1, at_once - 1, at_once, at_once + 2, 3 * at_once + 3]
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


@pytest.mark.parametrize("four", ["looped", "unrolled"])
@pytest.mark.parametrize("type_name", matrices.INT8)
def test_multiplies_what_is_quantised_to_int8(type_name: str, four: str) -> None:
    tune = dataclasses.replace(HARDWARE, precision="int8", four=four)
    with bench(tune) as on:
        for i, dim in enumerate(matrices.widths(type_name)):
            # Of any size, and a half without anything in it.
            x = matrices.off_ties(random_input(1, 1, dim, scale=10.0 ** (9 * i - 9)))
            x[0, 16:32] = 0
            weights = matrix(type_name, 18, dim)
            (y,) = on.run(
                lambda ops, v=x, w=weights: ops.matvec(on.tensor(v), w.place(on))
            )
            rounded = oracle.quantise_int8(x)
            magnitude = oracle.matvec(np.abs(rounded), np.abs(weights.values))
            expected = oracle.matvec(rounded, weights.values)
            close_sums("matvec", y, expected, magnitude)
            error = np.abs(y - oracle.matvec(x, weights.values))
            assert error.max() > 1e-5 * magnitude.max()  # it does round


def test_int8_leaves_other_types_as_they_are() -> None:
    with bench(dataclasses.replace(HARDWARE, precision="int8")) as on:
        for type_name in set(matrices.FORMATS) - set(matrices.INT8):
            check(on, matrix(type_name, 5, 256))


@pytest.mark.parametrize(
    ("type_name", "dim", "rows_per_part"),
    [
        ("F16", 3, 8),  # rows of 6 bytes: parts begin on whole words
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


@pytest.mark.parametrize(
    ("type_name", "zeros"),
    [
        ("Q4_0", [(2, 18, 0x88)]),
        ("Q5_0", [(2, 6, 0xFF), (6, 22, 0)]),
        ("Q6_K", [(0, 128, 0), (128, 192, 0xAA)]),
        ("Q8_0", [(2, 34, 0)]),
    ],
)
def test_weights_of_zero_give_zero(
    type_name: str, zeros: list[tuple[int, int, int]]
) -> None:
    # However large their scales: a format's offset is taken off before any sum.
    n_bytes = quant.FORMATS[type_name].block_bytes
    raw = matrix(type_name, 4, 256).raw
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, n_bytes).copy()
    for begin, end, byte in zeros:
        blocks[:, begin:end] = byte
    values = quant.dequantise(type_name, blocks.reshape(-1), 4 * 256).reshape(4, 256)
    assert not values.any()
    with bench(HARDWARE) as on:
        placed = Matrix(type_name, blocks.tobytes(), values).place(on)
        x = random_input(1, 1, 256) + 5
        (y,) = on.run(lambda ops: ops.matvec(on.tensor(x), placed))
    assert not y.any()


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", ["F16", "Q4_0", "Q6_K", "Q3_K"])
def test_a_row_does_not_depend_on_its_neighbours(type_name: str, tune: Tuning) -> None:
    weights = matrix(type_name, 9, 512)
    row_bytes = len(weights.raw) // 9
    with bench(tune) as on:
        together = check(on, weights)
        for row, begin in enumerate(range(0, len(weights.raw), row_bytes)):
            raw, values = weights.raw[begin : begin + row_bytes], weights.values[[row]]
            alone = check(on, Matrix(type_name, raw, values))
            assert alone.tobytes() == together[:, row].tobytes()


def test_folds_more_workgroups_than_one_axis_holds() -> None:
    with bench(SERIAL) as on:
        check(on, matrix("F16", FOUR * 65535 + 65, 3))


def test_repeats_to_the_bit() -> None:
    weights = matrix("Q4_K", 37, 2816)
    with bench(HARDWARE) as on:
        first, second = check(on, weights), check(on, weights)
    assert first.tobytes() == second.tobytes()
