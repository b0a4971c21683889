"""expert_gate_up against the oracle: which experts, and their hidden vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.kernels_vectors import GEGLU, SWIGLU
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Choice, Tensor
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Ints, Matrix, bench, matrix
from tests.shaders.routings import ABSENT, expert_slots
from tests.shaders.test_router import widths
from tests.support import compare
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(SOFTWARE, lanes=3, fold_rows=5)
INF, NAN = np.inf, np.nan
BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)


def scores_for(order: Sequence[int], n_experts: int) -> Array:
    """Return logits for which the router chooses these experts, in this order."""
    logits = random_input(n_experts, 1, n_experts) - 20.0
    logits[0, list(order)] = -0.5 * np.arange(len(order), dtype=np.float32)
    return logits


def expect(
    y: Array, x: Array, idx: Ints, gate: Array, up: Array, unit: str = GEGLU
) -> None:
    """Compare with the oracle, within the bound that the kernel's header derives."""
    expected = oracle.expert_gate_up(x, idx, gate, up, unit)
    values, sums = [], []
    for weights in (gate, up):
        flat = weights[idx[0]].astype(np.float64)
        values.append(flat @ x[0].astype(np.float64))
        sums.append(np.abs(flat) @ np.abs(x[0]).astype(np.float64))
    act = np.abs(oracle.glu(values[0], np.ones_like(values[0]), unit))
    magnitude = 1.13 * sums[0] * np.abs(values[1]) + act * sums[1]
    matrices.close_sums("expert_gate_up", y, expected, magnitude + 2 * np.abs(expected))


def choose(
    on: Bench,
    x: Array,
    logits: Array,
    top_k: int,
    gate_up: Sequence[Matrix],
    table: Sequence[int] | None = None,
    max_bytes: Sequence[int | None] = (None, None),
    *,
    unit: str = GEGLU,
    scaled: bool = True,
    renormalised: bool = True,
) -> tuple[Array, Ints]:
    """Run the kernel, check its choice and its weights; returns (y, idx)."""
    n_experts = logits.shape[1]
    scale = 1.0 + 0.3 * random_input(1, n_experts) if scaled else None
    placed = [m.place(on, most) for m, most in zip(gate_up, max_bytes, strict=False)]
    slots = expert_slots(on, table or range(n_experts))

    def record(ops: Ops) -> list[Tensor]:
        scales = None if scale is None else on.vector(scale)
        y, routing = ops.expert_gate_up(
            on.tensor(x),
            placed[0],
            placed[-1],
            on.tensor(logits),
            Choice(top_k, renormalised, scales),
            slots,
            unit=unit,
        )
        return [y, routing.idx, routing.weight]

    y, idx, weight = on.run(record, dtypes=[np.float32, np.uint32, np.float32])
    expected_idx, expected_weight = oracle.router_top_k(
        logits, scale, top_k, renormalised
    )
    np.testing.assert_array_equal(idx, expected_idx)
    if np.isfinite(logits).all():
        compare.close("router_top_k", weight, expected_weight)
    else:
        assert np.isnan([weight, expected_weight]).all()
    return y, expected_idx


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE, ODD], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    rows = FOUR * tune.fold_rows
    dims = widths(type_name)
    with bench(tune) as on:
        for i, n_rows in enumerate([1, rows - 1, rows, 2 * rows + 1]):
            dim = dims[i % len(dims)]
            weights = matrix(type_name, 6, 2 * n_rows, dim)
            x = random_input(1, 1, dim)
            y, idx = choose(on, x, scores_for([5, 0, 3], 6), 3, [weights])
            assert idx.tolist() == [[5, 0, 3]]  # the last expert, and the first
            gate, up = weights.values[:, :n_rows], weights.values[:, n_rows:]
            expect(y, x, idx, gate, up)


@BOTH
@pytest.mark.parametrize(
    ("gate_type", "up_type"),
    [("Q4_K", "Q6_K"), ("Q5_0", "Q8_0"), ("F16", "MXFP4"), ("IQ4_XS", "F32")],
)
def test_takes_gate_and_up_of_different_types(
    gate_type: str, up_type: str, tune: Tuning
) -> None:
    gate, up = matrix(gate_type, 5, 7, 256), matrix(up_type, 5, 7, 256, seed=1)
    x = random_input(1, 1, 256)
    with bench(tune) as on:
        y, idx = choose(on, x, scores_for([4, 1], 5), 2, [gate, up])
    expect(y, x, idx, gate.values, up.values)


@BOTH
@pytest.mark.parametrize("unit", [GEGLU, SWIGLU])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("renormalised", [False, True])
def test_units_and_weights_of_other_kinds(
    unit: str, scaled: bool, renormalised: bool, tune: Tuning
) -> None:
    with bench(tune) as on:
        # One expert; all of them, the last first; tail rows; apart and in one tensor.
        for n_experts, chosen, n_rows in ((1, [0], 1), (6, [5, 0, 3, 1, 2, 4], 9)):
            gate = matrix("Q8_0", n_experts, n_rows, 64)
            up = matrix("Q8_0", n_experts, n_rows, 64, seed=1)
            x, logits = random_input(1, 1, 64), scores_for(chosen, n_experts)
            y, idx = choose(
                on,
                x,
                logits,
                len(chosen),
                [gate, up],
                unit=unit,
                scaled=scaled,
                renormalised=renormalised,
            )
            assert idx.tolist() == [chosen]
            expect(y, x, idx, gate.values, up.values, unit)


@BOTH
def test_a_router_of_zeros_takes_the_first_experts(tune: Tuning) -> None:
    weights, x = matrix("Q8_0", 16, 6, 32), random_input(1, 1, 32)
    logits = np.zeros((1, 16), np.float32)
    with bench(tune) as on:
        y, idx = choose(on, x, logits, 4, [weights], unit=SWIGLU, scaled=False)
    assert idx.tolist() == [[0, 1, 2, 3]]
    expect(y, x, idx, weights.values[:, :3], weights.values[:, 3:], SWIGLU)


def check_choice(logits: Array, top_k: int, tune: Tuning) -> None:
    """Check the choice, and that each place computes with its own expert."""
    n_experts = logits.shape[1]
    weights, x = matrix("F32", n_experts, 6, 4), random_input(1, 1, 4)
    with bench(tune) as on:
        y, idx = choose(on, x, logits, top_k, [weights])
    expect(y, x, idx, weights.values[:, :3], weights.values[:, 3:])


@BOTH
@pytest.mark.parametrize(
    ("n_experts", "top_k"),
    [
        (1, 1),
        (128, 1),
        (128, 8),  # Gemma 4 26B-A4B
        (8, 8),
        (31, 4),
        (33, 32),
        (100, 2),
        (128, 127),
        (130, 65),  # more than there are leaders
        (1000, 10),
        (1024, 32),
    ],
)
def test_chooses_as_the_oracle_does(n_experts: int, top_k: int, tune: Tuning) -> None:
    check_choice(random_input(n_experts, 1, n_experts, scale=3.0), top_k, tune)


@BOTH
@pytest.mark.parametrize("top_k", [1, 8, 60])
def test_ties_go_to_the_lower_index(top_k: int, tune: Tuning) -> None:
    rng = np.random.default_rng(top_k)
    check_choice(np.zeros((1, 60), np.float32), top_k, tune)
    for _ in range(4):
        logits = rng.integers(-2, 3, (1, 60)).astype(np.float32)
        logits *= rng.choice([-1.0, 1.0], logits.shape)  # zeros of either sign tie
        check_choice(logits, top_k, tune)


@BOTH
@pytest.mark.parametrize(
    "logits",
    [
        [NAN, 1, NAN, 1, 0, 2],
        [NAN, NAN, NAN, NAN, NAN, NAN],
        [-INF, -INF, -INF, -INF, -INF, -INF],
        [NAN, NAN, 5, NAN, -INF, NAN],
        [0, INF, 1, INF, NAN, -INF],
        [0, 1, 7, INF, 9, 8],
    ],
)
def test_what_is_not_finite(logits: list[float], tune: Tuning) -> None:
    for top_k in (1, 2, 4, 6):
        check_choice(np.array([logits], np.float32), top_k, tune)
    # Far apart in a long row, so that leaders and others hold them.
    row = np.resize(np.array(logits, np.float32), 97)
    row[::5] = NAN
    check_choice(row[None, :], 3, tune)


@pytest.mark.parametrize(
    ("type_name", "n_rows", "dim"),
    [("Q8_0", 5, 32), ("MXFP4", 3, 32), ("Q4_K", 3, 256), ("F16", 3, 36)],
)
def test_adds_up_from_parts(type_name: str, n_rows: int, dim: int) -> None:
    weights = matrix(type_name, 11, 2 * n_rows, dim)
    x, logits = random_input(1, 1, dim), scores_for(range(10, -1, -1), 11)
    most = 4 * len(weights.raw) // 11
    with bench() as on:
        assert len(weights.place(on, most).parts) == 3
        y, idx = choose(on, x, logits, 11, [weights], max_bytes=[most])
    gate, up = weights.values[:, :n_rows], weights.values[:, n_rows:]
    expect(y, x, idx, gate, up)


def test_gate_and_up_are_split_in_different_places() -> None:
    gate, up = matrix("Q4_0", 11, 4, 64), matrix("Q8_0", 11, 4, 64, seed=1)
    x, logits = random_input(1, 1, 64), scores_for(range(11), 11)
    most = [3 * len(gate.raw) // 11, 4 * len(up.raw) // 11]
    with bench() as on:
        begins = [
            [part.begin for part in m.place(on, size).parts]
            for m, size in zip((gate, up), most, strict=True)
        ]
        assert begins == [[0, 3, 6, 9], [0, 4, 8]]
        y, idx = choose(on, x, logits, 11, [gate, up], max_bytes=most)
    expect(y, x, idx, gate.values, up.values)


def test_finds_experts_through_the_table_and_skips_absent_ones() -> None:
    pool = matrix("Q4_K", 3, 8, 256)
    table = [ABSENT, ABSENT, 2, ABSENT, ABSENT, 0]  # experts 2 and 5 are in the pool
    x, logits = random_input(1, 1, 256), scores_for([5, 1, 2], 6)
    with bench() as on:
        y, idx = choose(on, x, logits, 3, [pool], table)
    values = np.zeros((6, 8, 256), np.float32)
    values[2], values[5] = pool.values[2], pool.values[0]
    there = [0, 2]
    expect(y[there], x, idx[:, there], values[:, :4], values[:, 4:])


@BOTH
def test_repeats_bit_by_bit(tune: Tuning) -> None:
    # Many candidates, which come in whatever order.
    logits = np.repeat(random_input(1, 1, 16), 8, axis=1)
    weights, x = matrix("Q5_K", 128, 4, 256), random_input(1, 1, 256)
    with bench(tune) as on:
        runs = [choose(on, x, logits, 24, [weights])[0].tobytes() for _ in range(4)]
    assert len(set(runs)) == 1


@pytest.mark.parametrize(("dim", "ffn_dim"), [(33, 8), (32, 7)])
def test_odd_widths_go_by_buckets(dim: int, ffn_dim: int) -> None:
    both = matrix("F32", 5, 2 * ffn_dim, dim)
    gate, up = both.values[:, :ffn_dim], both.values[:, ffn_dim:]
    down = matrix("F32", 5, dim, ffn_dim, seed=1)
    x, logits = random_input(1, 1, dim), scores_for([4, 2], 5)
    scale = 1.0 + 0.3 * random_input(1, 5)
    with bench() as on:
        slots = expert_slots(on, range(5))
        placed = both.place(on), down.place(on)

        def record(ops: Ops) -> list[Tensor]:
            choice = Choice(2, scale=on.vector(scale))
            hidden, routing = ops.expert_hidden(
                on.tensor(x), placed[:1], on.tensor(logits), choice, slots, unit=GEGLU
            )
            return [ops.expert_output(hidden, placed[1], routing, slots)]

        (y,) = on.run(record)
    idx, weights = oracle.router_top_k(logits, scale, 2)
    hidden = oracle.expert_gate_up(x, idx, gate, up)
    expected = oracle.expert_down(hidden, idx, weights, down.values)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
