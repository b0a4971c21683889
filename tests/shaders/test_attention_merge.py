"""attention_merge against the oracle: empty splits, one key, scores far apart."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

LOWEST = -3.0e38


@pytest.mark.parametrize("n_splits", [2, 3, 64, 130])
@pytest.mark.parametrize(("n_rows", "head_dim"), [(1, 8), (24, 64), (3, 512)])
@pytest.mark.parametrize("filled", ["all", "one", "some"])
def test_merges_what_the_splits_hold(
    n_splits: int, n_rows: int, head_dim: int, filled: str
) -> None:
    bench, rng = Bench(), np.random.default_rng(1)
    sums = random_input(2, n_splits, n_rows, head_dim)
    highest = random_input(3, n_splits, n_rows, scale=40.0)
    total = 1 + np.abs(random_input(4, n_splits, n_rows, scale=10.0))
    empty = rng.random((n_splits, n_rows)) < 0.5
    if filled == "one":
        empty[:] = True
    empty[rng.integers(n_splits, size=n_rows), np.arange(n_rows)] = False
    if filled == "all":
        empty[:] = False
    # What is left of another tensor in an empty split's sums must not matter.
    sums[empty], highest[empty], total[empty] = np.nan, LOWEST, 0.0
    stats = np.stack([highest, total], axis=-1)
    partials = bench.tensor(np.concatenate([sums.reshape(-1), stats.reshape(-1)]))
    (y,) = bench.run(
        lambda ops: ops.attention_merge(
            partials, (1, n_rows * head_dim), head_dim, n_splits
        )
    )
    expected = oracle.attention_merge(sums, highest, total)
    close("attention_merge", y.reshape(n_rows, head_dim), expected)
    bench.close()
