"""norm_sum against the oracle."""

from __future__ import annotations

import pytest

from oracle import ops as oracle
from pyodide_app.graph import tuning
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

WG = tuning.SOFTWARE.threads


@pytest.mark.parametrize("tune", [tuning.SOFTWARE, tuning.HARDWARE], ids=["cpu", "gpu"])
@pytest.mark.parametrize("dim", [1, WG - 1, WG + 1, 704, 2816])
def test_matches_the_oracle(dim: int, tune: tuning.Tuning) -> None:
    bench = Bench(tune)
    a, b = random_input(1, 3, dim, scale=30.0), random_input(2, 3, dim, scale=0.01)
    weight_a, weight_b = random_input(3, dim), random_input(4, dim)
    (y,) = bench.run(
        lambda ops: ops.norm_sum(
            bench.tensor(a),
            bench.vector(weight_a),
            bench.tensor(b),
            bench.vector(weight_b),
            1e-6,
        )
    )
    close("norm_sum", y, oracle.norm_sum(a, weight_a, b, weight_b, 1e-6))
    bench.close()
