"""copy against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tuning import SOFTWARE, Tuning
from tests.support.compare import tolerance
from tests.support.gpu import Bench

WG = SOFTWARE.threads


def copied(x: np.ndarray, n: int, tune: Tuning = SOFTWARE) -> np.ndarray:
    """Copy n rows, and return all that the kernel had room for."""
    bench = Bench(tune)
    try:
        placed = bench.tensor(x)
        return bench.run(lambda ops: ops.copy(placed, n), dtypes=[np.uint32])[0]
    finally:
        bench.close()


def words(n: int) -> np.ndarray:
    """Return random bits, the patterns of NaNs among them."""
    return np.random.default_rng(n).integers(1, 2**32, (n, 4), np.uint32)


@pytest.mark.parametrize("n", [1, WG - 1, WG, WG + 1, 704, 2112, 262_144])
def test_matches_the_oracle(n: int) -> None:
    assert tolerance("copy") == (0, 0)
    x = words(n)
    np.testing.assert_array_equal(copied(x, n), oracle.copy(x, n))


@pytest.mark.parametrize("n", [0, 1, WG + 1])
def test_leaves_the_other_rows(n: int) -> None:
    x = words(2 * WG)
    y = copied(x, n)
    np.testing.assert_array_equal(y[:n], oracle.copy(x, n))
    assert not y[n:].any()  # a new buffer's zeros


def test_folds_more_workgroups_than_one_axis_holds() -> None:
    x = words(65535 + 9)
    y = copied(x, len(x), dataclasses.replace(SOFTWARE, threads=1))
    np.testing.assert_array_equal(y, oracle.copy(x, len(x)))
