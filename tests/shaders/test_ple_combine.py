"""ple_combine against the oracle."""

from __future__ import annotations

import pytest

from oracle import ops as oracle
from tests.support.compare import close
from tests.support.gpu import Bench, random_input


@pytest.mark.parametrize("dim", [1, 8, 31, 33, 128, 256])
def test_matches_the_oracle(dim: int) -> None:
    bench = Bench()
    projected = random_input(1, 3, 5 * dim, scale=40.0)
    embedded, weight = random_input(2, 3, 5 * dim), random_input(3, dim)
    (y,) = bench.run(
        lambda ops: ops.ple_combine(
            bench.tensor(projected),
            bench.tensor(embedded),
            bench.vector(weight),
            1e-6,
            scale_projected=0.0625,
            scale_embedded=dim**0.5,
        )
    )
    expected = oracle.ple_combine(projected, embedded, weight, 0.0625, dim**0.5, 1e-6)
    close("ple_combine", y, expected)
    bench.close()
