"""The expert_sort kernel against its oracle, and the cover that its tiles make."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.tensors import Routing
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.support import gpu

UNUSED = 0xFFFFFFFF


def expert_sort(
    idx: np.ndarray, n_experts: int, tune: Tuning = SOFTWARE
) -> list[np.ndarray]:
    """Run the kernel: offsets, token_idx, perm, tiles."""
    bench = gpu.Bench(tune)
    try:
        routing = Routing(
            bench.tensor(idx), bench.tensor(np.zeros(idx.shape, np.float32))
        )

        def record(ops):
            done = ops.expert_sort(routing, n_experts)
            return [done.offsets, done.token_idx, done.perm, done.tiles]

        return bench.run(record, dtypes=[np.uint32] * 4)
    finally:
        bench.close()


def choices(seed: int, n_tokens: int, n_experts: int, top_k: int) -> np.ndarray:
    """Return top_k distinct experts per token."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(n_experts)[:top_k] for _ in range(n_tokens)]
    return np.array(rows, np.uint32)


def expected_tiles(offsets: np.ndarray, tile: int) -> list[tuple[int, int]]:
    """Cut each bucket into runs of at most `tile` positions."""
    return [
        (expert, begin)
        for expert in range(len(offsets) - 1)
        for begin in range(offsets[expert], offsets[expert + 1], tile)
    ]


def check(idx: np.ndarray, n_experts: int, tune: Tuning = SOFTWARE) -> None:
    """Assert that the kernel agrees with the oracle, and with the tiles above."""
    offsets, token_idx, perm, tiles = expert_sort(idx, n_experts, tune)
    want_offsets, want_token_idx, want_perm = oracle.expert_sort(
        idx.astype(np.int64), n_experts
    )
    np.testing.assert_array_equal(offsets, want_offsets)
    np.testing.assert_array_equal(token_idx, want_token_idx)
    np.testing.assert_array_equal(perm.reshape(want_perm.shape), want_perm)
    used = expected_tiles(want_offsets, tune.tile_tokens)
    assert [tuple(tile) for tile in tiles[: len(used)].tolist()] == used
    assert np.all(tiles[len(used) :] == (UNUSED, 0))


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k"),
    [
        (1, 1, 1),
        (1, 128, 8),
        (2, 8, 8),
        (7, 31, 3),
        (64, 33, 8),
        (65, 128, 8),  # one assignment more than a stage of 512 holds
        (300, 1000, 10),
        (512, 128, 8),
        (40, 1024, 32),
    ],
)
def test_matches_oracle(n_tokens: int, n_experts: int, top_k: int) -> None:
    for tune in (SOFTWARE, HARDWARE):
        check(choices(n_tokens, n_tokens, n_experts, top_k), n_experts, tune)


@pytest.mark.parametrize("expert", [0, 5, 127])
def test_takes_all_tokens_in_one_bucket(expert: int) -> None:
    check(np.full((100, 1), expert, np.uint32), 128)


def test_repeats_bit_for_bit() -> None:
    idx = choices(3, 200, 64, 8)
    first = expert_sort(idx, 64)
    for _ in range(3):
        again = expert_sort(idx, 64)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
