"""expert_down against the oracle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.tensors import Routing
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Ints, Matrix, bench, close_sums, matrix
from tests.shaders.routings import ABSENT, expert_slots
from tests.shaders.test_router import widths
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(SOFTWARE, lanes=3, rows=5)
BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)


def expect(y: Array, x: Array, idx: Ints, w: Array, values: Array) -> None:
    """Compare with the oracle."""
    magnitude = oracle.expert_down(np.abs(x), idx, np.abs(w), np.abs(values))
    close_sums("expert_down", y, oracle.expert_down(x, idx, w, values), magnitude)


def project(
    on: Bench,
    weights: Matrix,
    idx: Sequence[int],
    w: Array,
    *,
    table: Sequence[int] | None = None,
    max_bytes: int | None = None,
) -> tuple[Array, Array]:
    """Run the kernel; returns (y, x)."""
    x = random_input(1, len(idx), weights.values.shape[2])
    placed = weights.place(on, max_bytes)
    chosen = on.tensor(np.array([idx], np.uint32))
    slots = expert_slots(on, table or range(weights.values.shape[0]))
    (y,) = on.run(
        lambda ops: ops.expert_down(
            on.tensor(x), placed, Routing(chosen, on.tensor(w)), slots
        )
    )
    return y, x


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE, ODD], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    dims = widths(type_name)
    idx, w = [5, 0, 3], random_input(2, 1, 3)
    with bench(tune) as on:
        at_once = FOUR * tune.rows
        for i, n_rows in enumerate([1, at_once - 1, at_once, 2 * at_once + 1]):
            weights = matrix(type_name, 6, n_rows, dims[i % len(dims)])
            y, x = project(on, weights, idx, w)
            expect(y, x, np.array([idx]), w, weights.values)


@pytest.mark.parametrize("type_name", ["Q5_0", "Q8_0", "Q4_K"])
def test_multiplies_what_is_quantised_to_int8(type_name: str) -> None:
    dim = matrices.widths(type_name)[-1]
    weights, w = matrix(type_name, 4, 9, dim), random_input(2, 1, 3)
    x = matrices.off_ties(random_input(1, 3, dim))
    idx = np.array([[3, 0, 2]], np.uint32)
    with bench(dataclasses.replace(HARDWARE, precision="int8")) as on:
        slots, placed = expert_slots(on, range(4)), weights.place(on)
        routing = Routing(on.tensor(idx), on.tensor(w))
        (y,) = on.run(lambda ops: ops.expert_down(on.tensor(x), placed, routing, slots))
    expect(y, oracle.quantise_int8(x), idx, w, weights.values)


@BOTH
@pytest.mark.parametrize("top_k", [1, 8, 16])
def test_sums_over_all_chosen(top_k: int, tune: Tuning) -> None:
    idx = np.random.default_rng(top_k).permutation(16)[:top_k]
    weights = matrix("Q5_0", 16, 9, 704)  # as in Gemma 4 26B-A4B
    with bench(tune) as on:
        for w in (random_input(top_k, 1, top_k), np.full((1, top_k), 0.125, "f4")):
            y, x = project(on, weights, idx.tolist(), w)
            expect(y, x, idx[None, :], w, weights.values)


def test_an_expert_of_weight_zero_adds_nothing() -> None:
    weights = matrix("F32", 3, 6, 8)
    with bench() as on:
        y, x = project(on, weights, [2, 0], np.array([[1.0, 0.0]], np.float32))
        alone, _ = project(on, weights, [2], np.array([[1.0]], np.float32))
    assert y.tobytes() == alone.tobytes()
    expect(y, x[:1], np.array([[2]]), np.ones((1, 1)), weights.values)


@pytest.mark.parametrize(
    ("type_name", "n_rows", "dim"),
    [("Q8_0", 5, 32), ("MXFP4", 3, 32), ("Q4_K", 3, 256), ("F16", 3, 36)],
)
def test_adds_up_from_parts(type_name: str, n_rows: int, dim: int) -> None:
    weights, w = matrix(type_name, 11, n_rows, dim), random_input(2, 1, 11)
    most = 4 * len(weights.raw) // 11
    idx = list(range(10, -1, -1))
    with bench() as on:
        assert len(weights.place(on, most).parts) == 3
        y, x = project(on, weights, idx, w, max_bytes=most)
        expect(y, x, np.array([idx]), w, weights.values)
        # A part without any chosen expert: the first one must still begin the sum.
        y, x = project(on, weights, [9, 10], w[:, :2], max_bytes=most)
        expect(y, x, np.array([[9, 10]]), w[:, :2], weights.values)


def test_finds_experts_through_the_table_and_skips_absent_ones() -> None:
    pool, w = matrix("Q4_K", 3, 7, 256), random_input(2, 1, 3)
    table = [ABSENT, ABSENT, 2, ABSENT, ABSENT, 0]  # experts 2 and 5 are in the pool
    with bench() as on:
        y, x = project(on, pool, [5, 1, 2], w, table=table)
    values = np.zeros((6, 7, 256), np.float32)
    values[2], values[5] = pool.values[2], pool.values[0]
    expect(y, x, np.array([[5, 1, 2]]), w, values)


@BOTH
def test_repeats_bit_by_bit(tune: Tuning) -> None:
    weights, w = matrix("Q6_K", 8, 13, 512), random_input(2, 1, 4)
    with bench(tune) as on:
        runs = [project(on, weights, [7, 1, 0, 4], w)[0].tobytes() for _ in range(3)]
    assert len(set(runs)) == 1
