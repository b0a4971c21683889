"""Dequantisation of the types with code books of whole groups: IQ1, IQ2, IQ3."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import grids
from oracle.fields import F32, U8, fields, half, scale_groups, words

# What the levels of the IQ types' grids stand for.
IQ1_VALUES = np.array([-1, 0, 1], np.float32)
IQ2_VALUES = np.array([8, 25, 43], np.float32)
IQ3_XXS_VALUES = np.array([4, 12, 20, 28, 36, 44, 52, 62], np.float32)
IQ3_S_VALUES = np.array([1, 3, 5, 7, 9, 11, 13, 15], np.float32)


def sign_values(bits: U8) -> F32:
    """Read a bit for each element, set for a negative one."""
    flat = np.unpackbits(np.ascontiguousarray(bits), axis=1, bitorder="little")
    return 1 - 2 * flat.astype(np.float32)


def even_signs(seven: U8) -> F32:
    """Read seven bits for eight elements; the number of negative ones is even."""
    parity = np.bitwise_xor.reduce(fields(seven, range(7), 1).reshape(-1, 7), axis=1)
    return sign_values(seven | parity.reshape(seven.shape) << 7)


def half_steps(steps: npt.NDArray[Any], unit: float) -> F32:
    """Return (1/2 + steps) * unit."""
    found: F32 = ((steps.astype(np.float32) + 0.5) * unit).astype(np.float32)
    return found


def look_up(grid: U8, codes: npt.NDArray[Any], values: F32) -> F32:
    """Return the values of all elements of a block, the rows of a grid in turn."""
    found: F32 = values[grid[codes]].reshape(len(codes), -1)
    return found


def dequantise_iq2_xxs(blocks: U8) -> F32:
    """Decode d * (1/2 + scale) / 4 * grid[code], 8 groups of 32."""
    pairs = words(blocks[:, 2:], "<u4").reshape(-1, 8, 2)
    codes = fields(pairs[:, :, 0], range(0, 32, 8), 255)
    signs = even_signs(fields(pairs[:, :, 1], range(0, 28, 7), 127))
    scale = half(blocks, 0) * half_steps(pairs[:, :, 1] >> 28, 0.25)
    return scale_groups(scale, look_up(grids.IQ2_XXS, codes, IQ2_VALUES) * signs)


def iq2_scale(blocks: U8, offset: int) -> F32:
    """Read d * (1/2 + scale) / 4 of 16 groups, two nibbles to a byte."""
    steps = fields(blocks[:, offset : offset + 8], range(0, 8, 4), 15)
    return half(blocks, 0) * half_steps(steps, 0.25)


def dequantise_iq2_xs(blocks: U8) -> F32:
    """Decode d * (1/2 + scale) / 4 * grid[code], 16 groups of 16, codes of 9 bits."""
    q = words(blocks[:, 2:66], "<u2")
    signs = even_signs((q >> 9).astype(np.uint8))
    values = look_up(grids.IQ2_XS, q & 511, IQ2_VALUES)
    return scale_groups(iq2_scale(blocks, 66), values * signs)


def dequantise_iq2_s(blocks: U8) -> F32:
    """Decode as IQ2_XS, codes of 10 bits, and a sign for every element."""
    top = fields(blocks[:, 66:74], range(0, 8, 2), 3).astype(np.uint32)
    values = look_up(grids.IQ2_S, blocks[:, 2:34] | top << 8, IQ2_VALUES)
    return scale_groups(iq2_scale(blocks, 74), values * sign_values(blocks[:, 34:66]))


def dequantise_iq3_xxs(blocks: U8) -> F32:
    """Decode d * (1/2 + scale) / 2 * grid[code], 8 groups of 32, codes for four."""
    tail = words(blocks[:, 66:], "<u4")
    signs = even_signs(fields(tail, range(0, 28, 7), 127))
    scale = half(blocks, 0) * half_steps(tail >> 28, 0.5)
    values = look_up(grids.IQ3_XXS, blocks[:, 2:66], IQ3_XXS_VALUES)
    return scale_groups(scale, values * signs)


def dequantise_iq3_s(blocks: U8) -> F32:
    """Decode d * (1 + 2 scale) * grid[code], 8 groups of 32, codes of 9 bits."""
    ninth = fields(blocks[:, 66:74], range(8), 1).astype(np.uint32)
    values = look_up(grids.IQ3_S, blocks[:, 2:66] | ninth << 8, IQ3_S_VALUES)
    scale = fields(blocks[:, 106:], range(0, 8, 4), 15).astype(np.float32)
    signs = sign_values(blocks[:, 74:106])
    return scale_groups(half(blocks, 0) * (1 + 2 * scale), values * signs)


def dequantise_iq1_s(blocks: U8) -> F32:
    """Decode d * (1 + 2 scale) * (grid[code] +- 1/8), 8 groups of 32."""
    head = words(blocks[:, 34:], "<u2")
    top = fields(head, range(0, 12, 3), 7).astype(np.uint32)
    values = look_up(grids.IQ1_S, blocks[:, 2:34] | top << 8, IQ1_VALUES)
    shift = np.where(head & 0x8000, -0.125, 0.125).astype(np.float32)
    scale = half(blocks, 0) * (1 + 2 * (head >> 12 & 7).astype(np.float32))
    return scale_groups(scale, values + np.repeat(shift, 32, axis=1))


def dequantise_iq1_m(blocks: U8) -> F32:
    """Decode as IQ1_S, 16 groups of 16 and +- 1/8 for each code.

    The f16 d is spread over the top nibbles of the four words of scales.
    """
    tops = fields(blocks[:, 32:48], range(0, 8, 4), 15).astype(np.uint32)
    values = look_up(grids.IQ1_S, blocks[:, :32] | (tops & 7) << 8, IQ1_VALUES)
    shift = np.where(tops & 8, -0.125, 0.125).astype(np.float32)
    packed = words(blocks[:, 48:], "<u2")
    bits = (packed >> 12) << np.array([0, 4, 8, 12], np.uint32)
    d = bits.sum(axis=1, dtype=np.uint16, keepdims=True).view(np.float16)
    scale = 1 + 2 * fields(packed, range(0, 12, 3), 7).astype(np.float32)
    shifted = values + np.repeat(shift, 8, axis=1)
    return scale_groups(d.astype(np.float32) * scale, shifted)
