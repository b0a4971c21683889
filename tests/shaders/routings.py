"""Routings and slot tables for the expert kernels, made on the host."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from oracle import ops as oracle
from pyodide_app.graph.tensors import ExpertSlots, Routing
from tests.shaders.matrices import Ints
from tests.support.gpu import Bench

ABSENT = 0xFFFFFFFF  # in a slot table, and the expert of an unused tile


def expert_slots(on: Bench, table: Iterable[int]) -> ExpertSlots:
    """Upload a slot table."""
    slots = np.array(list(table), np.uint32)
    view = on.tensor(slots).fixed
    assert view is not None
    return ExpertSlots(view, slots.size)


def routing(on: Bench, idx: Ints) -> Routing:
    """Upload the choice of experts of a decode step; the weights are not read."""
    ones = np.ones(idx.shape, np.float32)
    return Routing(on.tensor(idx.astype(np.uint32)), on.tensor(ones))


def tiles_of(offsets: Ints, n_tiles: int, tile: int) -> Ints:
    """Cut buckets into tiles of (expert, first row), the unused ones last."""
    tiles = [
        (expert, first)
        for expert, (begin, end) in enumerate(pairwise(offsets))
        for first in range(begin, end, tile)
    ]
    return np.array(tiles + [(ABSENT, 0)] * (n_tiles - len(tiles)), np.uint32)


def sorted_routing(on: Bench, idx: Ints, n_experts: int) -> Routing:
    """Upload the choice of experts of a prefill, bucketed as expert_sort does."""
    offsets, token_idx, perm = oracle.expert_sort(idx, n_experts)
    tile = on.tuning.tile_tokens
    n_tiles = idx.size // tile + min(n_experts, idx.size)
    plain = routing(on, idx)
    rest = [offsets, token_idx, perm.reshape(-1), tiles_of(offsets, n_tiles, tile)]
    uploaded = [on.tensor(array.astype(np.uint32)) for array in rest]
    return Routing(plain.idx, plain.weight, *uploaded)
