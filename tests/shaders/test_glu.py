"""glu against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph import tuning
from pyodide_app.graph.kernels_vectors import GEGLU, SWIGLU
from tests.support.compare import close, tolerance
from tests.support.gpu import Bench, random_input

WG = tuning.SOFTWARE.threads


@pytest.mark.parametrize("unit", [GEGLU, SWIGLU])
@pytest.mark.parametrize("dim", [1, WG - 1, WG, WG + 1, 704, 2112])
def test_matches_the_oracle(dim: int, unit: str) -> None:
    bench = Bench()
    gate, up = random_input(1, 3, dim, scale=3.0), random_input(2, 3, dim)
    (y,) = bench.run(
        lambda ops: ops.glu(bench.tensor(gate), bench.tensor(up), dim, unit=unit)
    )
    close("glu", y, oracle.glu(gate, up, unit))
    bench.close()


@pytest.mark.parametrize("unit", [GEGLU, SWIGLU])
def test_each_element_is_precise_from_deep_negative_to_huge(unit: str) -> None:
    """Compare relative to each element: no large neighbour hides a small error."""
    bench = Bench()
    gate = np.linspace(-9, 9, 1001, dtype=np.float32)[None]
    gate = np.concatenate([gate, [[300.0, 1e4, 1e6, 0.0]]], axis=1).astype(np.float32)
    up = np.ones_like(gate)
    (y,) = bench.run(
        lambda ops: ops.glu(
            bench.tensor(gate), bench.tensor(up), gate.shape[1], unit=unit
        )
    )
    wide = gate.astype(np.float64)
    u = np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3) if unit == GEGLU else wide / 2
    expected = wide / (1 + np.exp(-2 * np.maximum(u, -40)))
    rtol = tolerance("glu")[0]
    # exp turns an absolute error of its argument 2u into a relative one of the result.
    bound = (rtol + 2 * np.abs(np.minimum(u, 0)) * 2**-22) * np.abs(expected)
    assert (np.abs(y - expected) <= bound).all()
    bench.close()


def test_reads_columns_of_wider_tensors() -> None:
    bench = Bench()
    fused, inputs = random_input(1, 5, 96), random_input(2, 5, 70)
    (y,) = bench.run(
        lambda ops: ops.glu(
            bench.tensor(fused), bench.tensor(inputs), 33, gate_offset=48, up_offset=37
        )
    )
    close("glu", y, oracle.geglu(fused[:, 48:81], inputs[:, 37:70]))
    bench.close()


@pytest.mark.parametrize("unit", [GEGLU, SWIGLU])
def test_very_negative_gates_give_zero_not_nan(unit: str) -> None:
    bench = Bench()
    gate = np.array([[-80.0, -1e4, -3e12]], np.float32)
    up = np.full_like(gate, 7.0)
    (y,) = bench.run(
        lambda ops: ops.glu(bench.tensor(gate), bench.tensor(up), 3, unit=unit)
    )
    assert (np.abs(y) < 1e-20).all()
    bench.close()
