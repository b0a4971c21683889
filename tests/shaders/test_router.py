"""router against the oracle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Residual, Tensor, Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders import matrices
from tests.shaders.matrices import Array, Matrix, bench, close_sums, matrix
from tests.shaders.streams import kernels_of
from tests.support.gpu import Bench, random_input

ODD = dataclasses.replace(SOFTWARE, threads=21)
BOTH = pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=lambda t: t.label)
EPS = 1e-6


def widths(type_name: str) -> tuple[int, ...]:
    """Return row lengths: multiples of four, of the real models and awkward ones."""
    return tuple(dim for dim in matrices.widths(type_name) if dim % 4 == 0) + (
        (4, 36) if type_name in matrices.FLOATS else ()
    )


def score(
    on: Bench,
    x: Array,
    weights: Matrix,
    max_bytes: int | None = None,
    *,
    branch: Array | None = None,
    scaled: bool = True,
) -> tuple[Array, Array]:
    """Score by the kernel and compare with the oracle; returns (logits, y)."""
    dim = x.shape[1]
    scale, norm_weight = random_input(2, dim), random_input(3, dim)
    placed = weights.place(on, max_bytes)
    if max_bytes is not None:
        assert len(placed.parts) == 3
    own, shared = on.vectors(scale, norm_weight)

    def record(ops: Ops) -> list[Tensor]:
        added = None if branch is None else on.tensor(branch)
        stream, h = ops.norm(Residual(on.tensor(x), EPS, added), shared)
        results = ops.expert_scores(h, placed, own if scaled else None)
        assert set(kernels_of(ops)) == {"router"}
        assert ops.settle(h) is results[1]  # for whoever else reads it
        return [*results, stream.tensor]

    logits, y, total = on.run(record)
    if not scaled:
        scale = None
    sums, norm = x.astype(np.float64), np.abs(norm_weight)
    if branch is not None:
        sums = sums + branch
        np.testing.assert_array_equal(total, x + branch)
    args = (weights.values, norm_weight, EPS, scale)
    expected, expected_y = oracle.router(sums, *args)
    # What they would be if nothing cancelled in the sum.
    rms = np.sqrt(np.mean(sums**2) + EPS)
    terms = (np.abs(x) + (0 if branch is None else np.abs(branch))) / rms
    seen = terms * (norm if scale is None else np.abs(scale) * dim**-0.5)
    magnitude = oracle.matvec(seen, np.abs(weights.values))
    close_sums("router", logits, expected, magnitude)
    close_sums("router", y, expected_y, terms * norm)
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


@BOTH
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_adds_a_branch_and_sees_what_experts_see(
    branch: bool, scaled: bool, tune: Tuning
) -> None:
    with bench(tune) as on:
        for n_rows, dim in ((1, 4), (6, 36), (16, 128), (128, 2048)):
            x = random_input(1, 1, dim)
            added = random_input(4, 1, dim, scale=30.0) if branch else None
            weights = matrix("F32", n_rows, dim)
            score(on, x, weights, branch=added, scaled=scaled)


def test_a_branch_that_cancels_the_stream_scores_zero() -> None:
    x = random_input(1, 1, 64)
    with bench() as on:
        weights = matrix("F32", 5, 64)
        logits, y = score(on, x, weights, branch=-x, scaled=False)
    assert not logits.any() and not y.any()


@pytest.mark.parametrize(
    ("n", "dim", "normed"), [(3, 16, False), (1, 18, False), (1, 16, True)]
)
def test_other_rows_are_normed_apart(n: int, dim: int, normed: bool) -> None:
    x, branch, weights = random_input(1, n, dim), random_input(2, n, dim), [1, 2, 3]
    norm, scale, own = (1 + 0.3 * random_input(seed, dim) for seed in weights)
    total = x.astype(np.float64)
    total = total + (oracle.rms_norm(branch, own, EPS) if normed else branch)
    experts = matrix("F32", 5, dim)
    with bench() as on:
        placed, vectors = experts.place(on), on.vectors(norm, scale, own)
        residual = Residual(
            on.tensor(x), EPS, on.tensor(branch), vectors[2] if normed else None
        )
        for used in (None, vectors[1]):

            def record(ops: Ops, used: Weight | None = used) -> list[Tensor]:
                stream, h = ops.norm(residual, vectors[0])
                results = ops.expert_scores(h, placed, used)
                assert "router" not in kernels_of(ops)
                return [*results, stream.tensor]

            found = on.run(record)
            args = (experts.values, norm, EPS, scale if used else None)
            expected = [*oracle.router(total, *args), total]
            for got, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@BOTH
def test_scores_the_128_experts_of_a_real_model(tune: Tuning) -> None:
    with bench(tune) as on:
        score(on, random_input(1, 1, 2816), matrix("F32", 128, 2816))


@pytest.mark.parametrize("type_name", ["F32", "Q8_0", "Q4_K"])
def test_adds_up_from_parts(type_name: str) -> None:
    weights = matrix(type_name, 11, 256)
    x, most = random_input(1, 1, 256), 4 * len(weights.raw) // 11
    with bench() as on:
        score(on, x, weights, most)
        score(on, x, weights, most, branch=random_input(4, 1, 256), scaled=False)


def test_zeros_score_zero() -> None:
    with bench() as on:
        logits, y = score(on, np.zeros((1, 64), np.float32), matrix("F32", 5, 64))
    assert not logits.any() and not y.any()


def test_repeats_bit_by_bit() -> None:
    x, weights = random_input(1, 1, 512), matrix("Q6_K", 33, 512)
    with bench(HARDWARE) as on:
        first, again = score(on, x, weights), score(on, x, weights)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
