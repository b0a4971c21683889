"""The expert_combine kernel against its oracle."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Routing
from tests.support import compare, gpu


def combine(y: np.ndarray, weight: np.ndarray, perm: np.ndarray) -> np.ndarray:
    """Run the kernel."""
    bench = gpu.Bench()
    try:
        y_gpu, weight_gpu = bench.tensor(y), bench.tensor(weight)
        idx = bench.tensor(np.zeros(weight.shape, np.uint32))
        perm_gpu = bench.tensor(perm.astype(np.uint32))
        routing = Routing(idx, weight_gpu, perm=perm_gpu)
        return bench.run(lambda ops: ops.expert_combine(y_gpu, routing))[0]
    finally:
        bench.close()


CASES = [(1, 1, 1), (1, 8, 31), (3, 2, 33), (17, 8, 2816), (2, 32, 100), (600, 4, 64)]


@pytest.mark.parametrize(("n_tokens", "top_k", "dim"), CASES)
def test_matches_oracle(n_tokens: int, top_k: int, dim: int) -> None:
    n = n_tokens * top_k
    y = gpu.random_input(n, n, dim)
    weight = np.abs(gpu.random_input(1, n_tokens, top_k))
    perm = np.random.default_rng(n).permutation(n).reshape(n_tokens, top_k)
    expected = oracle.expert_combine(y, perm, weight)
    compare.close("expert_combine", combine(y, weight, perm), expected)


def test_sums_in_slot_order() -> None:
    # In slot order the first two cancel and the last survives; in any other it is lost.
    y = np.array([[2.0**30], [-(2.0**30)], [1.0]], np.float32)
    for perm in ([0, 1, 2], [1, 0, 2]):
        got = combine(y, np.ones((1, 3), np.float32), np.array([perm]))
        assert got.tolist() == [[1.0]]
    late = combine(y, np.ones((1, 3), np.float32), np.array([[0, 2, 1]]))
    assert late.tolist() == [[0.0]]
