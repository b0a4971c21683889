"""last_rows against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tuning import SOFTWARE
from tests.support.compare import tolerance
from tests.support.gpu import Bench, random_input

WG = SOFTWARE.threads


@pytest.mark.parametrize("dim", [1, WG - 1, WG, WG + 1, 2816])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_matches_the_oracle(dim: int, n: int) -> None:
    assert tolerance("last_rows") == (0, 0)
    bench = Bench(SOFTWARE)
    x = random_input(1, 5, dim)
    (y,) = bench.run(lambda ops: ops.last_rows(bench.tensor(x), n))
    np.testing.assert_array_equal(y, oracle.last_rows(x, n))
    bench.close()
