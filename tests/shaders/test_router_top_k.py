"""The router_top_k kernel against its oracle, and its rules for ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from tests.support import compare, gpu

INF, NAN = np.inf, np.nan


def route(
    logits: np.ndarray, top_k: int, scale: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Run the kernel: (idx, weight)."""
    bench = gpu.Bench()
    try:
        logits_gpu = bench.tensor(logits)
        ones = np.ones(logits.shape[1], np.float32)
        scale_gpu = bench.vector(ones if scale is None else scale)

        def record(ops):
            routing = ops.router_top_k(logits_gpu, scale_gpu, top_k)
            return [routing.idx, routing.weight]

        idx, weight = bench.run(record, dtypes=[np.uint32, np.float32])
        return idx, weight
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k"),
    [
        (1, 1, 1),
        (1, 128, 8),  # Gemma 4 26B-A4B
        (33, 128, 8),
        (3, 8, 8),
        (5, 31, 4),
        (5, 33, 32),
        (2, 100, 2),
        (2, 1000, 10),
        (2, 1024, 32),
    ],
)
def test_matches_oracle(n_tokens: int, n_experts: int, top_k: int) -> None:
    logits = gpu.random_input(n_experts, n_tokens, n_experts, scale=3.0)
    scale = 1.0 + 0.3 * gpu.random_input(1, n_experts)
    idx, weight = route(logits, top_k, scale)
    expected_idx, expected_weight = oracle.router_top_k(logits, scale, top_k)
    np.testing.assert_array_equal(idx, expected_idx)
    compare.close("router_top_k", weight, expected_weight)


def test_matches_oracle_where_logits_repeat() -> None:
    rng = np.random.default_rng(7)
    logits = rng.integers(-2, 3, (40, 60)).astype(np.float32)
    logits *= rng.choice([-1.0, 1.0], logits.shape)  # zeros of either sign tie
    idx, weight = route(logits, 12)
    expected_idx, expected_weight = oracle.router_top_k(
        logits, np.ones(60, np.float32), 12
    )
    np.testing.assert_array_equal(idx, expected_idx)
    compare.close("router_top_k", weight, expected_weight)


@pytest.mark.parametrize(
    ("logits", "idx", "weight"),
    [
        ([1, 3, 3, 0], [1, 2], [0.5, 0.5]),
        ([2, 2, 2, 2], [0, 1], [0.5, 0.5]),
        ([0.0, -0.0, -0.0, 0.0], [0, 1], [0.5, 0.5]),
        ([0, -3e38, 3e38, 0], [2, 0], [1.0, 0.0]),
        # What is no number is chosen, and nothing passes for a weight beside it.
        ([5, 1, NAN, 1], [2, 0], [NAN, NAN]),
        ([5, INF, 1, NAN], [1, 3], [NAN, NAN]),
        ([5, 1, -INF, 2], [2, 0], [NAN, NAN]),
        ([-INF, -INF, -INF, -INF], [0, 1], [NAN, NAN]),
    ],
)
def test_rules(logits: list[float], idx: list[int], weight: list[float]) -> None:
    row = np.array([logits], np.float32)
    for got_idx, got_weight in (
        route(row, 2),
        oracle.router_top_k(row, np.ones(4, np.float32), 2),
    ):
        assert got_idx[0].tolist() == idx
        np.testing.assert_array_equal(got_weight[0], weight)


def test_does_not_depend_on_the_batch() -> None:
    logits = gpu.random_input(3, 6, 128)
    together = route(logits, 8)
    for t in range(6):
        alone = route(logits[t : t + 1], 8)
        assert all(
            np.array_equal(a[0], b[t]) for a, b in zip(alone, together, strict=True)
        )
