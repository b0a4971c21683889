"""router against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.matrix_ops import FOUR
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(SOFTWARE, threads=21)
EPS = 1e-6


def widths(type_name: str) -> tuple[int, ...]:
    """Return row lengths: multiples of four, of the real models and awkward ones."""
    return tuple(dim for dim in matrices.widths(type_name) if dim % 4 == 0) + (
        (4, 36) if type_name in matrices.FLOATS else ()
    )


def score(
    on: Bench, x: Array, weights: Matrix, max_bytes: int | None = None
) -> tuple[Array, Array]:
    """Score by the kernel and compare with the oracle; returns (logits, y)."""
    dim = x.shape[1]
    scale, norm_weight = random_input(2, dim), random_input(3, dim)
    placed = weights.place(on, max_bytes)
    if max_bytes is not None:
        assert len(placed.parts) == 3
    logits, y = on.run(
        lambda ops: ops.router(
            on.tensor(x), on.vector(scale), placed, on.vector(norm_weight), EPS
        )
    )
    expected, expected_y = oracle.router(x, scale, weights.values, norm_weight, EPS)
    magnitude, _ = oracle.router(
        np.abs(x), np.abs(scale), np.abs(weights.values), norm_weight, EPS
    )
    close_sums("router", logits, expected, magnitude)
    close("router", y, expected_y)
    return logits, y


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE, ODD], ids=lambda t: t.label)
@pytest.mark.parametrize("type_name", matrices.LAYOUTS)
def test_matches_the_oracle(type_name: str, tune: Tuning) -> None:
    with bench(tune) as on:
        rows = [1, FOUR - 1, FOUR, 2 * FOUR + 1]
        dims = widths(type_name)
        for i, n_rows in enumerate(rows):
            dim = dims[i % len(dims)]
            x = random_input(1, 1, dim, scale=10.0 ** (3 * i - 4))
            score(on, x, matrix(type_name, n_rows, dim))


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)
def test_scores_the_128_experts_of_a_real_model(tune: Tuning) -> None:
    with bench(tune) as on:
        score(on, random_input(1, 1, 2816), matrix("F32", 128, 2816))


@pytest.mark.parametrize("type_name", ["F32", "Q8_0", "Q4_K"])
def test_adds_up_from_parts(type_name: str) -> None:
    weights = matrix(type_name, 11, 256)
    with bench() as on:
        score(on, random_input(1, 1, 256), weights, 4 * len(weights.raw) // 11)


def test_zeros_score_zero() -> None:
    with bench() as on:
        logits, y = score(on, np.zeros((1, 64), np.float32), matrix("F32", 5, 64))
    assert not logits.any() and not y.any()


def test_repeats_bit_by_bit() -> None:
    x, weights = random_input(1, 1, 512), matrix("Q6_K", 33, 512)
    with bench(HARDWARE) as on:
        first, again = score(on, x, weights), score(on, x, weights)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
