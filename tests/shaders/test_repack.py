"""repack against the oracle, through the loader."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.gguf.grids import grid_bytes
from pyodide_app.gguf.types import BY_NAME, TYPES
from pyodide_app.graph.tuning import SOFTWARE, Tuning
from pyodide_app.load import weights
from tests.shaders.matrices import bench

SPLIT = tuple(kind.name for kind in TYPES if kind.is_split)


def check(type_name: str, n_blocks: int, tune: Tuning = SOFTWARE) -> None:
    """Upload random bytes as one row of blocks and compare the planes."""
    kind = BY_NAME[type_name]
    rng = np.random.default_rng(n_blocks)
    raw = rng.integers(0, 256, n_blocks * kind.block_bytes, np.uint8)
    with bench(tune) as on:
        placed = on.weight(type_name, (n_blocks * kind.block_size, 1), raw.tobytes())
        planes = on.read(placed.parts[0].view.buffer, np.uint8)
    planes = planes[: planes.size - (grid_bytes(kind.grid) if kind.grid else 0)]
    bodies, scales = oracle.repack(
        raw, kind.block_bytes, kind.scale_offset, kind.scale_bytes
    )
    padding = np.zeros(-raw.size % weights.LOAD_BYTES, np.uint8)
    np.testing.assert_array_equal(planes, np.concatenate([bodies, scales, padding]))


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 4, 5, 66, 131])
@pytest.mark.parametrize("type_name", SPLIT)
def test_splits_blocks_into_planes(type_name: str, n_blocks: int) -> None:
    check(type_name, n_blocks)


@pytest.mark.parametrize("n_blocks", [56, 57, 59, 115])
@pytest.mark.parametrize("type_name", SPLIT)
def test_joins_chunks(
    type_name: str, n_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1000 bytes: 4 blocks of Q6_K at a time, 8 of Q3_K, 28 of Q8_0, 56 of MXFP4.
    monkeypatch.setattr(weights, "_STAGING", 1000)
    check(type_name, n_blocks)


def test_folds_more_workgroups_than_one_axis_holds() -> None:
    one = dataclasses.replace(SOFTWARE, threads=1)
    check("MXFP4", 65535 + 9, one)
