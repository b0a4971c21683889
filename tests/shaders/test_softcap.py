"""The softcap kernel against its oracle."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from tests.support import compare, gpu


def softcap(x: np.ndarray, cap: float) -> np.ndarray:
    """Run the kernel."""
    bench = gpu.Bench()
    try:
        x_gpu = bench.tensor(x)
        return bench.run(lambda ops: ops.softcap(x_gpu, cap))[0]
    finally:
        bench.close()


@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 262_144])
def test_matches_oracle(n: int) -> None:
    x = gpu.random_input(n, 1, n, scale=20.0)
    compare.close("softcap", softcap(x, 30.0), oracle.softcap(x, 30.0))


def test_is_relative_to_each_element() -> None:
    x = np.geomspace(1e-20, 1e4, 4096, dtype=np.float32)[None]
    x = np.concatenate([x, -x], axis=1)
    np.testing.assert_allclose(softcap(x, 30.0), oracle.softcap(x, 30.0), rtol=1e-6)


def test_keeps_zero_and_bounds_extremes() -> None:
    x = np.array([[0.0, 3e38, -3e38]], np.float32)
    np.testing.assert_array_equal(softcap(x, 30.0), [[0.0, 30.0, -30.0]])


def test_hides_nothing_that_is_no_number() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    np.testing.assert_array_equal(softcap(x, 30.0)[:, :3], x[:, :3])
    compare.close("softcap", softcap(x[:, 3:], 30.0), oracle.softcap(x[:, 3:], 30.0))
    np.testing.assert_array_equal(oracle.softcap(x, 30.0)[:, :3], x[:, :3])


def test_keeps_order() -> None:
    x = np.linspace(-90.0, 90.0, 50_001, dtype=np.float32)[None]
    assert np.all(np.diff(softcap(x, 30.0)[0]) >= -(2.0**-19))  # 1 ulp of 30
