"""matvec_glu against the oracle: up a matrix or a given vector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.kernels_vectors import GEGLU, SWIGLU
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix
from tests.shaders.streams import ODD, TURNS, Stream, kernels_of
from tests.shaders.test_matvec_many import mixed, widths
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

SLOPE = 1.13  # of gelu at its steepest; of silu it is 1.10
ACTS = {GEGLU: oracle.gelu_tanh, SWIGLU: oracle.silu}


def bounds(
    h: Array,
    magnitude: Array,
    gate: Array,
    up: Array | None,
    factor: Array,
    unit: str = GEGLU,
):
    """Return the expected result, and what the header's rtol is of."""
    expected = oracle.matvec_glu(h, gate, factor[0] if up is None else up, unit)
    of_gate = oracle.matvec(magnitude, np.abs(gate))
    of_up = np.abs(factor) if up is None else oracle.matvec(magnitude, np.abs(up))
    left = np.abs(ACTS[unit](oracle.matvec(h, gate)))
    return expected, SLOPE * of_gate * np.abs(factor) + left * of_up


def check(on: Bench, stream: Stream, gate: Matrix, up: Matrix | None) -> Array:
    """Run the unit on a stream with a matrix, or with a slice of a given vector."""
    given, begin = random_input(9, 1, gate.values.shape[0] + 300), 77
    factor = given[:, begin : begin + gate.values.shape[0]].astype(np.float64)
    second = on.tensor(given) if up is None else up.place(on)
    first = gate.place(on)
    begin = begin if up is None else 0

    def record(ops):
        x, h = stream.norm(ops)
        y = ops.gated(h, first, second, begin)
        assert kernels_of(ops) == ["matvec_glu"]
        return [x.tensor, y]

    total, y = on.run(record)
    values = None
    if up is not None:
        values, factor = up.values, oracle.matvec(stream.h, up.values)
    expected, bound = bounds(stream.h, stream.magnitude, gate.values, values, factor)
    close("add_norm", total, stream.total)
    close_sums("matvec_glu", y, expected, bound)
    return y


@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_matches_the_oracle(type_name: str) -> None:
    with bench(HARDWARE) as on:
        for i, dim in enumerate(widths(type_name)):
            gate, up = mixed(type_name, 2, dim, ((16, 16), (49, 49))[i])
            check(on, Stream(on, dim), gate, up)
            check(on, Stream(on, dim, normed=False), gate, None)


@pytest.mark.parametrize("tune", [ODD, TURNS], ids=["odd", "turns"])
@pytest.mark.parametrize("type_name", ["F32", "Q4_K", "Q6_K", "MXFP4"])
def test_workgroups_of_any_shape(type_name: str, tune: Tuning) -> None:
    with bench(tune) as on:
        dim, rows = widths(type_name)[-1], 3 * FOUR * tune.fold_rows + 1
        gate, up = mixed(type_name, 2, dim, (rows, rows))
        check(on, Stream(on, dim), gate, up)
        check(on, Stream(on, dim), gate, None)


@pytest.mark.parametrize("unit", [GEGLU, SWIGLU])
@pytest.mark.parametrize("given", [False, True], ids=["matrix", "given"])
@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)
def test_multiplies_a_given_vector(tune: Tuning, given: bool, unit: str) -> None:
    gate, up = matrix("Q4_K", 37, 512, seed=1), matrix("Q6_K", 37, 512, seed=2)
    x, factor = random_input(3, 1, 512), random_input(4, 1, 37)
    with bench(tune) as on:
        first = gate.place(on)
        second = on.tensor(factor) if given else up.place(on)
        (y,) = on.run(lambda ops: ops.gated(on.tensor(x), first, second, unit=unit))
    wide = x.astype(np.float64)
    values = None if given else up.values
    factor = factor if values is None else oracle.matvec(wide, values)
    expected, bound = bounds(wide, np.abs(wide), gate.values, values, factor, unit)
    close_sums("matvec_glu", y, expected, bound)


def test_multiplies_what_is_quantised_to_int8() -> None:
    gate, up = matrix("Q4_K", 37, 512, seed=1), matrix("Q6_K", 37, 512, seed=2)
    x = matrices.off_ties(random_input(3, 1, 512))
    with bench(dataclasses.replace(HARDWARE, precision="int8")) as on:
        first, second = gate.place(on), up.place(on)
        (y,) = on.run(lambda ops: ops.gated(on.tensor(x), first, second))
    h = oracle.quantise_int8(x)
    factor = oracle.matvec(h, up.values)
    expected, bound = bounds(h, np.abs(h), gate.values, up.values, factor)
    close_sums("matvec_glu", y, expected, bound)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 300])
def test_any_number_of_rows(rows: int) -> None:
    taking_turns = dataclasses.replace(HARDWARE, fold_groups=2)
    with bench(taking_turns) as on:
        gate, up = matrix("Q8_0", rows, 64, seed=1), matrix("Q5_1", rows, 64, seed=2)
        check(on, Stream(on, 64), gate, up)
        check(on, Stream(on, 64, normed=False), gate, None)


def test_several_tokens_and_divided_matrices_go_step_by_step() -> None:
    gate, up = matrix("Q8_0", 24, 32, seed=1), matrix("F16", 24, 32, seed=2)
    x = random_input(5, 3, 32)
    with bench(ODD) as on:
        first, second = gate.place(on), up.place(on)
        divided = gate.place(on, 8 * 34)
        assert len(divided.parts) == 3
        many, one = on.run(
            lambda ops: [
                ops.gated(on.tensor(x), first, second),
                ops.gated(on.tensor(x[:1]), divided, second),
            ]
        )
    wide = x.astype(np.float64)
    factor = oracle.matvec(wide, up.values)
    expected, bound = bounds(wide, np.abs(wide), gate.values, up.values, factor)
    close_sums("matvec_glu", many, expected, bound)
    close_sums("matvec_glu", one, expected[:1], bound[:1])


def test_repeats_to_the_bit() -> None:
    gate, up = matrix("Q4_K", 65, 1536, seed=1), matrix("Q4_K", 65, 1536, seed=2)
    with bench(HARDWARE) as on:
        first = check(on, Stream(on, 1536), gate, up)
        second = check(on, Stream(on, 1536), gate, up)
    assert first.tobytes() == second.tobytes()
