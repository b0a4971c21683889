"""Rotary tables, made on the host in float64 and added up exactly on the GPU."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

_COPIED = 1e20  # a frequency factor above this leaves its pair unrotated


def fine_positions(n_ctx: int) -> int:
    """Return how many positions get entries of their own: about the square root."""
    return 1 << max(0, math.ceil(math.log2(max(n_ctx, 1)) / 2))


def rotated_pairs(factors: Sequence[float]) -> int:
    """Return how many leading pairs rotate."""
    return sum(factor < _COPIED for factor in factors)


def make_table(
    theta: float,
    n_dims: int,
    factors: Sequence[float],
    n_ctx: int,
    scale: float = 1.0,
) -> bytes:
    """Return (cos, sin) for the fine positions, then for their multiples.

    The frequency of pair i is scale * theta^(-2 i / n_dims) / factors[i]: the exponent
    always counts all dims, however few pairs rotate ("proportional" RoPE).
    Shapes: factors [n_pairs or more]; the result [fine + coarse, n_pairs, 2] float32.
    """
    fine = fine_positions(n_ctx)
    coarse = -(-n_ctx // fine)
    positions = [*range(fine), *(row * fine for row in range(coarse))]
    frequencies = [
        scale * theta ** (-2 * i / n_dims) / factors[i]
        for i in range(rotated_pairs(factors))
    ]
    table = array("f")
    for position in positions:
        for frequency in frequencies:
            angle = position * frequency
            table.append(math.cos(angle))
            table.append(math.sin(angle))
    return table.tobytes()
