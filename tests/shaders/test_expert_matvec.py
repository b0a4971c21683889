"""expert_matvec against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Tensor
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.gpu import random_input
from tests.shaders import matrices
from tests.shaders.matrices import Array, Ints, bench, close_sums, matrix
from tests.shaders.routings import ABSENT, expert_slots, routing

ODD = dataclasses.replace(SOFTWARE, lanes=3, rows=5)
# The first and the last expert, one expert twice, one for nobody.
IDX = np.array([[5, 0], [2, 5], [4, 2]], np.uint32)
N_EXPERTS = 6


def expect(y: Array, x: Array, idx: Ints, values: Array) -> None:
    """Compare with the oracle."""
    magnitude = oracle.expert_matvec(np.abs(x), idx, np.abs(values))
    close_sums("expert_matvec", y, oracle.expert_matvec(x, idx, values), magnitude)


@pytest.mark.parametrize("tune", [SOFTWARE, ODD], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    dims = matrices.widths(type_name)
    with bench(tune) as on:
        for i, n_rows in enumerate([1, tune.rows - 1, tune.rows, 2 * tune.rows + 1]):
            dim = dims[i % len(dims)]
            weights = matrix(type_name, N_EXPERTS, n_rows, dim)
            placed, gather = weights.place(on), i % 2 == 0
            x = random_input(1, IDX.shape[0] if gather else IDX.size, dim)
            (y,) = on.run(
                lambda ops, x=x, placed=placed, gather=gather: ops.experts(
                    on.tensor(x),
                    (placed,),
                    routing(on, IDX),
                    expert_slots(on, range(N_EXPERTS)),
                    gather=gather,
                )
            )
            expect(y, x, IDX, weights.values)


@pytest.mark.parametrize(
    ("type_name", "n_rows", "dim"),
    [("Q8_0", 5, 32), ("MXFP4", 3, 32), ("Q4_K", 3, 256), ("F16", 3, 33)],
)
def test_adds_up_from_parts(type_name: str, n_rows: int, dim: int) -> None:
    weights = matrix(type_name, 11, n_rows, dim)
    idx = np.arange(11, dtype=np.uint32)[::-1].reshape(1, 11)
    x = random_input(1, 1, dim)
    with bench() as on:
        # An expert of an odd number of bytes is split in fours, of an even in twos.
        placed = weights.place(on, 4 * len(weights.raw) // 11)
        assert len(placed.parts) == 3
        for parts in (placed.parts, placed.parts[::-1]):
            split = dataclasses.replace(placed, parts=parts)
            (y,) = on.run(
                lambda ops, split=split: ops.experts(
                    on.tensor(x),
                    (split,),
                    routing(on, idx),
                    expert_slots(on, range(11)),
                    gather=True,
                )
            )
            expect(y, x, idx, weights.values)


def test_writes_several_weights_side_by_side() -> None:
    gate, up = matrix("Q5_0", 6, 9, 64), matrix("Q8_0", 6, 5, 64)
    x = random_input(1, 3, 64)
    with bench(HARDWARE) as on:
        (y,) = on.run(
            lambda ops: ops.experts(
                on.tensor(x),
                (gate.place(on), up.place(on)),
                routing(on, IDX),
                expert_slots(on, range(6)),
                gather=True,
            )
        )
    expect(y[:, :9], x, IDX, gate.values)
    expect(y[:, 9:], x, IDX, up.values)


def test_a_later_weight_keeps_to_its_columns() -> None:
    first, second = matrix("Q8_0", 6, 9, 64), matrix("Q8_0", 6, 5, 64, seed=1)
    x = random_input(1, 3, 64)
    with bench() as on:
        both = [first.place(on), second.place(on)]

        def record(ops: Ops) -> Tensor:
            slots, chosen = expert_slots(on, range(6)), routing(on, IDX)
            y = Tensor((6, 14))
            ops.expert_matvec(on.tensor(x), both[1], chosen, slots, y, 9, gather=True)
            ops.expert_matvec(on.tensor(x), both[0], chosen, slots, y, 0, gather=True)
            return y

        (y,) = on.run(record)
    expect(y[:, :9], x, IDX, first.values)
    expect(y[:, 9:], x, IDX, second.values)


def test_finds_experts_through_the_table_and_skips_absent_ones() -> None:
    resident, pool = matrix("Q4_K", 6, 7, 256), matrix("Q4_K", 3, 7, 256, seed=1)
    table = [ABSENT, ABSENT, 2, ABSENT, ABSENT, 0]  # experts 2 and 5 are in the pool
    x = random_input(1, 3, 256)
    with bench() as on:
        weights = [resident.place(on), pool.place(on)]

        def record(ops: Ops) -> Tensor:
            chosen, y = routing(on, IDX), Tensor((6, 7))
            for weight, slots in zip(weights, [range(6), table], strict=True):
                held = expert_slots(on, slots)
                ops.expert_matvec(on.tensor(x), weight, chosen, held, y, 0, gather=True)
            return y

        (y,) = on.run(record)
    values = resident.values.copy()
    values[2], values[5] = pool.values[2], pool.values[0]
    expect(y, x, IDX, values)
