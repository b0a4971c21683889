"""add_norm against the oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle import ops as oracle
from pyodide_app.graph import tuning
from tests.support.compare import close
from tests.support.gpu import Bench, random_input

WG = tuning.SOFTWARE.threads


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("chained", [False, True], ids=["last", "chained"])
@pytest.mark.parametrize("dim", [1, WG - 1, WG + 1, 704, 2816])
def test_matches_the_oracle(dim: int, chained: bool, scaled: bool) -> None:
    bench = Bench()
    x, branch = random_input(1, 3, dim, scale=9.0), random_input(2, 3, dim)
    weight, following = random_input(3, dim), random_input(4, dim, scale=100.0)
    factor = random_input(5, 1)
    residual, y = bench.run(
        lambda ops: ops.add_norm(
            bench.tensor(x),
            bench.tensor(branch),
            bench.vector(weight),
            1e-6,
            layer_scale=bench.vector(factor) if scaled else None,
            next_weight=bench.vector(following) if chained else None,
        )
    )
    expected, expected_y = oracle.add_norm(
        x,
        branch,
        weight,
        float(factor[0]) if scaled else None,
        following if chained else None,
        1e-6,
    )
    close("add_norm", residual, expected)
    if chained:
        assert expected_y is not None
        close("add_norm", y, expected_y)
    bench.close()


@pytest.mark.parametrize("dim", [WG + 1, 704])
def test_adds_a_branch_as_it_is(dim: int) -> None:
    bench = Bench()
    x, branch, following = (random_input(i, 3, dim) for i in range(3))
    residual, y = bench.run(
        lambda ops: ops.add_norm(
            bench.tensor(x),
            bench.tensor(branch),
            None,
            1e-6,
            next_weight=bench.vector(following[0]),
        )
    )
    expected = oracle.add_norm(x, branch, None, None, following[0], 1e-6)
    assert expected[1] is not None
    close("add_norm", residual, expected[0])
    close("add_norm", y, expected[1])
    bench.close()


@pytest.mark.parametrize("subgroup", [0, 4])
def test_hardware_tuning_gives_the_same(subgroup: int) -> None:
    bench = Bench(replace(tuning.HARDWARE, subgroup=subgroup))
    x, branch, weight = (random_input(i, 2, 300) for i in range(3))
    residual, y = bench.run(
        lambda ops: ops.add_norm(
            bench.tensor(x),
            bench.tensor(branch),
            bench.vector(weight[0]),
            1e-6,
            next_weight=bench.vector(weight[1]),
        )
    )
    expected = oracle.add_norm(x, branch, weight[0], None, weight[1], 1e-6)
    assert expected[1] is not None
    close("add_norm", residual, expected[0])
    close("add_norm", y, expected[1])
    bench.close()
