"""head_norm_rope against the oracle, to the last position of the longest context."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph import rope as tables
from pyodide_app.graph.plan import View
from pyodide_app.graph.tensors import Rope
from tests.compare import close
from tests.gpu import Bench, random_input


def make_rope(
    bench: Bench, theta: float, head_dim: int, n_pairs: int, n_ctx: int
) -> Rope:
    factors = [1.0] * n_pairs + [1e30] * (head_dim // 2 - n_pairs)
    data = tables.make_table(theta, head_dim, factors, n_ctx)
    tensor = bench.tensor(np.frombuffer(data, np.float32))
    assert isinstance(tensor.fixed, View)
    return Rope(tensor.fixed, n_pairs, tables.fine_positions(n_ctx))


@pytest.mark.parametrize(
    ("theta", "head_dim", "n_pairs"),
    [(1e4, 8, 4), (1e4, 256, 128), (1e6, 16, 2), (1e6, 512, 64)],
    ids=["tiny", "sliding", "tiny-global", "global"],
)
@pytest.mark.parametrize("position", [0, 511, 8189])
def test_matches_the_oracle(
    theta: float, head_dim: int, n_pairs: int, position: int
) -> None:
    bench = Bench()
    x = random_input(1, 3, 2 * head_dim, scale=5.0)
    weight = random_input(2, head_dim)
    rope = make_rope(bench, theta, head_dim, n_pairs, 8192)
    (y,) = bench.run(
        lambda ops: ops.head_norm_rope(
            bench.tensor(x), bench.vector(weight), rope, head_dim, 1e-6
        ),
        n_tokens=3,
        position=position,
    )
    expected = oracle.head_norm_rope(
        x.reshape(3, 2, head_dim),
        weight,
        np.arange(position, position + 3),
        theta,
        n_pairs,
        1e-6,
    )
    close("head_norm_rope", y.reshape(3, 2, head_dim), expected)
    bench.close()


def test_the_last_position_of_the_longest_context_is_exact() -> None:
    """At 262,143 radians an f32 cosine would be off by 1e-2; the tables are not."""
    bench = Bench()
    x, weight = random_input(1, 1, 512), np.ones(512, np.float32)
    rope = make_rope(bench, 1e6, 512, 64, 262144)
    (y,) = bench.run(
        lambda ops: ops.head_norm_rope(
            bench.tensor(x), bench.vector(weight), rope, 512, 1e-6
        ),
        position=262143,
    )
    expected = oracle.head_norm_rope(
        x.reshape(1, 1, 512), weight, np.array([262143]), 1e6, 64, 1e-6
    )
    close("head_norm_rope", y.reshape(1, 1, 512), expected)
    bench.close()
