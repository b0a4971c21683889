"""expert_matmul against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Tensor
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Ints, bench, close_sums, matrix
from tests.shaders.routings import ABSENT, expert_slots, sorted_routing
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(HARDWARE, tile_rows=24, tile_tokens=4)
N_EXPERTS = 6


def choices(*counts: int) -> Ints:
    """Choose expert e for counts[e] tokens, one expert per token, in a mixed order."""
    flat = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(3).permutation(flat)[:, None].astype(np.uint32)


MIXED = choices(7, 0, 9, 1, 0, 8)


def expect(y: Array, x: Array, idx: Ints, values: Array, gather: bool) -> None:
    """Compare with the oracle."""
    offsets, token_idx, _ = oracle.expert_sort(idx, values.shape[0])
    rows = token_idx if gather else None
    expected = oracle.expert_matmul(x, offsets, rows, values)
    magnitude = oracle.expert_matmul(np.abs(x), offsets, rows, np.abs(values))
    close_sums("expert_matmul", y, expected, magnitude)


def check(
    on: Bench, type_name: str, idx: Ints, n_rows: int, dim: int, gather: bool
) -> None:
    """Multiply by one weight and compare."""
    weights = matrix(type_name, N_EXPERTS, n_rows, dim)
    placed = weights.place(on)
    x = random_input(1, idx.shape[0] if gather else idx.size, dim)
    (y,) = on.run(
        lambda ops: ops.experts(
            on.tensor(x),
            (placed,),
            sorted_routing(on, idx, N_EXPERTS),
            expert_slots(on, range(N_EXPERTS)),
            gather=gather,
        )
    )
    expect(y, x, idx, weights.values, gather)


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.tile)
@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    dims, rows, tile = matrices.widths(type_name), tune.tile_rows, tune.tile_tokens
    # Buckets of a tile less one, a tile, a tile and one; of one; two that are empty.
    mixed = choices(tile - 1, 0, tile + 1, 1, 0, tile)
    with bench(tune) as on:
        for i, n_rows in enumerate([1, rows - 1, rows, rows + 1]):
            check(on, type_name, mixed, n_rows, dims[i % len(dims)], i % 2 == 0)


@pytest.mark.parametrize("type_name", ["F32", "Q8_0", "Q5_K"])
def test_runs_with_any_tile(type_name: str) -> None:
    with bench(ODD) as on:
        check(on, type_name, MIXED, 67, matrices.widths(type_name)[-1], True)


@pytest.mark.parametrize(
    "idx",
    [
        choices(1),
        choices(0, 0, 0, 0, 0, 1),
        choices(0, 0, 0, 0, 0, 17),
        np.array([[5, 0], [2, 5], [4, 2], [5, 4]], np.uint32),
    ],
    ids=["one token", "the last expert", "three tiles of the last", "two per token"],
)
@pytest.mark.parametrize("gather", [True, False], ids=["gather", "in order"])
def test_covers_every_bucket(idx: Ints, gather: bool) -> None:
    with bench() as on:
        check(on, "Q8_0", idx, 33, 64, gather)


@pytest.mark.parametrize(
    ("type_name", "n_rows", "dim"),
    [("Q8_0", 5, 32), ("MXFP4", 3, 32), ("Q4_K", 3, 256), ("F16", 3, 33)],
)
def test_adds_up_from_parts(type_name: str, n_rows: int, dim: int) -> None:
    weights = matrix(type_name, 11, n_rows, dim)
    idx = choices(*range(11))
    x = random_input(1, idx.size, dim)
    with bench() as on:
        placed = weights.place(on, 4 * len(weights.raw) // 11)
        assert len(placed.parts) == 3
        for parts in (placed.parts, placed.parts[::-1]):
            split = dataclasses.replace(placed, parts=parts)
            (y,) = on.run(
                lambda ops, split=split: ops.experts(
                    on.tensor(x),
                    (split,),
                    sorted_routing(on, idx, 11),
                    expert_slots(on, range(11)),
                    gather=True,
                )
            )
            expect(y, x, idx, weights.values, True)


def test_writes_several_weights_side_by_side() -> None:
    gate, up = matrix("Q5_0", 6, 37, 64), matrix("Q8_0", 6, 5, 64)
    x = random_input(1, MIXED.size, 64)
    with bench() as on:
        both = [gate.place(on), up.place(on)]

        def record(ops: Ops) -> Tensor:
            chosen, slots = sorted_routing(on, MIXED, 6), expert_slots(on, range(6))
            y = Tensor((MIXED.size, 42))
            # The right one first: writes of the left beyond its columns would show.
            for weight, offset in ((both[1], 37), (both[0], 0)):
                ops.expert_matmul(
                    on.tensor(x), weight, chosen, slots, y, offset, gather=True
                )
            return y

        (y,) = on.run(record)
    expect(y[:, :37], x, MIXED, gate.values, True)
    expect(y[:, 37:], x, MIXED, up.values, True)


def test_finds_experts_through_the_table_and_skips_absent_ones() -> None:
    resident, pool = matrix("Q4_K", 6, 7, 256), matrix("Q4_K", 3, 7, 256, seed=1)
    table = [ABSENT, ABSENT, 2, ABSENT, ABSENT, 0]  # experts 2 and 5 are in the pool
    x = random_input(1, MIXED.size, 256)
    with bench() as on:
        weights = [resident.place(on), pool.place(on)]

        def record(ops: Ops) -> Tensor:
            chosen, y = sorted_routing(on, MIXED, 6), Tensor((MIXED.size, 7))
            for weight, slots in zip(weights, [range(6), table], strict=True):
                held = expert_slots(on, slots)
                ops.expert_matmul(on.tensor(x), weight, chosen, held, y, 0, gather=True)
            return y

        (y,) = on.run(record)
    values = resident.values.copy()
    values[2], values[5] = pool.values[2], pool.values[0]
    expect(y, x, MIXED, values, True)
