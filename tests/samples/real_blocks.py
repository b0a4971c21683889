"""Data for tensors of any size: blocks of sane magnitude, chosen by a hash."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from oracle.quant import FORMATS, random_blocks

POOL_BLOCKS = 4093  # distinct blocks of a type and magnitude
PIECE_BLOCKS = 1 << 16  # made at a time

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: its place in bytes from the file's start, its type."""

    name: str
    dims: tuple[int, ...]  # in ggml order
    type: str
    offset: int

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        form = FORMATS[self.type]
        return prod(self.dims) // form.block_size * form.block_bytes


def pieces(entry: Entry) -> Iterator[bytes]:
    """Yield a tensor's data from its beginning to its end."""
    n_blocks = entry.size // FORMATS[entry.type].block_bytes
    for begin in range(0, n_blocks, PIECE_BLOCKS):
        yield blocks(entry, begin, min(PIECE_BLOCKS, n_blocks - begin))


def blocks(entry: Entry, begin: int, count: int) -> bytes:
    """Return `count` blocks of a tensor from block `begin` on.

    A hash of the tensor's name and the block's number chooses each from a small pool.
    """
    if entry.name == "rope_freqs.weight":
        n = entry.dims[0]
        factors = np.where(np.arange(n) < n // 4, 1.0, 1e30).astype("<f4")
        return factors[begin : begin + count].tobytes()
    number = np.arange(begin, begin + count, dtype=np.uint64)
    mixed = (number + np.uint64(crc32(entry.name.encode()))) * np.uint64(
        0x9E3779B97F4A7C15
    )
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    chosen = (mixed >> np.uint64(33)) % np.uint64(POOL_BLOCKS)
    found = pool(entry.type, *spread(entry))[chosen.astype(np.intp)]
    return found.tobytes()


def spread(entry: Entry) -> tuple[float, float]:
    """Return the mean and the deviation of a tensor's values.

    Norms and scales lie about 1. A matrix keeps the magnitude of what it multiplies;
    the router, whose input has length 1, gives logits of deviation 2.
    """
    if len(entry.dims) == 1:
        return 1.0, 0.25
    if entry.name.endswith("ffn_gate_inp.weight"):
        return 0.0, 2.0
    if "token_embd" in entry.name:
        return 0.0, 0.0625
    return 0.0, 2.0 ** round(np.log2(entry.dims[0] ** -0.5))


@lru_cache(maxsize=32)
def pool(kind: str, mean: float, deviation: float) -> U8:
    """Return blocks to choose from, [POOL_BLOCKS, block_bytes]."""
    rng = np.random.default_rng(FORMATS[kind].id)
    raw = np.frombuffer(random_blocks(kind, POOL_BLOCKS, rng, deviation), np.uint8)
    made = raw.reshape(POOL_BLOCKS, -1).copy()
    if kind == "F32":
        made.view("<f4")[:] += np.float32(mean)
    return made
