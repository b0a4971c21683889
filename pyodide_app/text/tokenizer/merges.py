"""Byte-pair merging: two neighbours at a time, by rank, over a heap."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import pairwise

Rank = Callable[[bytes], "int | None"]


def merge(symbols: list[bytes], rank: Rank, joint: bytes = b" ") -> list[bytes]:
    """Merge neighbours, lowest rank first and leftmost first, until none are left.

    The rank of two neighbours is that of their strings with `joint` between them; None
    means that they do not merge.

    n log n: a heap of rank and position over a linked list. An entry is stale when the
    pair that is now at its position has another rank.
    """
    n = len(symbols)
    shift = n.bit_length()
    heap = _mergeable(symbols, rank, joint, shift)
    following = list(range(1, n + 1))
    preceding = list(range(-1, n))  # one more, so that the last has a neighbour
    while heap:
        entry = heappop(heap)
        left = entry & ((1 << shift) - 1)
        right = following[left]
        if right >= n or not symbols[left]:
            continue
        if rank(symbols[left] + joint + symbols[right]) != entry >> shift:
            continue
        symbols[left] += symbols[right]
        symbols[right] = b""
        after = following[left] = following[right]
        preceding[after] = left
        before = preceding[left]
        if before >= 0:
            found = rank(symbols[before] + joint + symbols[left])
            if found is not None:
                heappush(heap, found << shift | before)
        if after < n:
            found = rank(symbols[left] + joint + symbols[after])
            if found is not None:
                heappush(heap, found << shift | left)
    return [symbol for symbol in symbols if symbol]


def _mergeable(symbols: list[bytes], rank: Rank, joint: bytes, shift: int) -> list[int]:
    """Return a heap of `rank << shift | position` of the pairs that can merge."""
    found = [rank(a + joint + b) for a, b in pairwise(symbols)]
    heap = [at << shift | i for i, at in enumerate(found) if at is not None]
    heapify(heap)
    return heap
