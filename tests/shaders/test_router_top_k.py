"""The router_top_k kernel against its oracle, and its rules for ties and NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Choice
from tests.support import compare, gpu
from tests.support.golden_data import load_npz, require

INF, NAN = np.inf, np.nan


def route(
    logits: np.ndarray,
    top_k: int,
    scale: np.ndarray | None = None,
    renormalised: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the kernel: (idx, weight)."""
    bench = gpu.Bench()
    try:
        logits_gpu = bench.tensor(logits)
        scale_gpu = None if scale is None else bench.vector(scale)
        choice = Choice(top_k, renormalised, scale_gpu)

        def record(ops):
            routing = ops.router_top_k(logits_gpu, choice)
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


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k"),
    [(1, 1, 1), (7, 16, 4), (3, 16, 16), (33, 128, 8), (2, 1024, 32)],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_weights_of_other_kinds(
    n_tokens: int, n_experts: int, top_k: int, scaled: bool
) -> None:
    logits = gpu.random_input(n_experts, n_tokens, n_experts, scale=3.0)
    scale = 1.0 + 0.3 * gpu.random_input(1, n_experts) if scaled else None
    for renormalised in (False, True):
        idx, weight = route(logits, top_k, scale, renormalised)
        expected_idx, expected = oracle.router_top_k(logits, scale, top_k, renormalised)
        np.testing.assert_array_equal(idx, expected_idx)
        rtol, atol = compare.tolerance("router_top_k")
        rtol += 0 if renormalised else n_experts * 2**-24  # as its header says
        np.testing.assert_allclose(weight, expected, rtol, atol)
        if renormalised and not scaled:
            np.testing.assert_allclose(weight.sum(axis=-1), 1.0, rtol=top_k * 2**-23)


def test_a_router_of_zeros_takes_the_first_experts_alike() -> None:
    for renormalised, share in ((True, 1 / 4), (False, 1 / 60)):
        idx, weight = route(np.zeros((2, 60), np.float32), 4, None, renormalised)
        assert idx.tolist() == [[0, 1, 2, 3]] * 2
        np.testing.assert_allclose(weight, share, rtol=1e-6)


def test_what_is_not_finite_spoils_raw_weights_too() -> None:
    for row in ([5, 1, NAN, 1], [5, INF, 1, 2], [5, 1, -INF, 2]):
        _, weight = route(np.array([row], np.float32), 2, None, renormalised=False)
        assert np.isnan(weight).all()


def test_matches_oracle_where_logits_repeat() -> None:
    rng = np.random.default_rng(7)
    logits = rng.integers(-2, 3, (40, 60)).astype(np.float32)
    logits *= rng.choice([-1.0, 1.0], logits.shape)  # zeros of either sign tie
    idx, weight = route(logits, 12)
    expected_idx, expected_weight = oracle.router_top_k(logits, None, 12)
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
        oracle.router_top_k(row, None, 2),
    ):
        assert got_idx[0].tolist() == idx
        np.testing.assert_array_equal(got_weight[0], weight)


KINDS = {"softmax_norm": True, "softmax_selected": True, "softmax": False}
ROUTERS = load_npz(require("moe/blocks/router_cases.npz"))
META = json.loads(ROUTERS["meta"].item())


@pytest.mark.parametrize("kind", KINDS)
def test_golden_routers(kind: str) -> None:
    n_compared = 0
    for name, case in META.items():
        logits = ROUTERS[f"{name}_logits"]
        # Of what is not finite the kernel has a rule of its own.
        if case["kind"] == kind and np.isfinite(logits).all():
            idx, weight = route(logits, case["k"], None, KINDS[kind])
            expected = ROUTERS[f"{name}_w"]
            # exp underflows: zeros may stand in any order; denormals may be zeros.
            is_denormal = (logits != 0) & (np.abs(logits) < 1e-37)
            means = (expected > 1e-30) & ~is_denormal.any()
            np.testing.assert_array_equal(idx[means], ROUTERS[f"{name}_ids"][means])
            np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-6)
            n_compared += 1
    assert n_compared > 12


def test_does_not_depend_on_the_batch() -> None:
    logits = gpu.random_input(3, 6, 128)
    together = route(logits, 8)
    for t in range(6):
        alone = route(logits[t : t + 1], 8)
        assert all(
            np.array_equal(a[0], b[t]) for a, b in zip(alone, together, strict=True)
        )
