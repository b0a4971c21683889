"""rms_norm against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph import tuning
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

WG = tuning.SOFTWARE.threads


@pytest.mark.parametrize("tune", [tuning.SOFTWARE, tuning.HARDWARE], ids=["cpu", "gpu"])
@pytest.mark.parametrize("dim", [1, 7, WG - 1, WG, WG + 1, 256, 704, 2112, 2816])
def test_matches_the_oracle(dim: int, tune: tuning.Tuning) -> None:
    bench = Bench(tune)
    x, weight = random_input(1, 3, dim, scale=50.0), random_input(2, dim)
    (y,) = bench.run(
        lambda ops: ops.rms_norm(bench.tensor(x), bench.vector(weight), 1e-6, scale=0.5)
    )
    close("rms_norm", y, oracle.rms_norm(x, weight, 1e-6, 0.5))
    bench.close()


def test_runs_without_a_weight() -> None:
    bench = Bench()
    x = random_input(3, 5, 96)
    (y,) = bench.run(lambda ops: ops.rms_norm(bench.tensor(x), None, 1e-6))
    close("rms_norm", y, oracle.rms_norm(x, None, 1e-6))
    bench.close()


def test_a_row_of_zeros_stays_zero() -> None:
    bench = Bench()
    x = np.zeros((2, 64), np.float32)
    (y,) = bench.run(lambda ops: ops.rms_norm(bench.tensor(x), None, 1e-6))
    assert not y.any()
    bench.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_overflows_does_not_become_zeros(value: float) -> None:
    bench, x = Bench(), np.ones((2, 64), np.float32)
    x[0, 5] = value
    (y,) = bench.run(lambda ops: ops.rms_norm(bench.tensor(x), None, 1e-6))
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()
    bench.close()
