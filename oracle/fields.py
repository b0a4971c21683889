"""Fields of the ggml blocks: halves, signed bytes, nibbles, other runs of bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


def half(blocks: U8, offset: int) -> F32:
    """Read the f16 field at a byte offset of every block; shape [n_blocks, 1]."""
    field = np.ascontiguousarray(blocks[:, offset : offset + 2])
    return field.view("<f2").astype(np.float32)


def signed(values: U8) -> F32:
    """Read bytes as two's complement."""
    return np.ascontiguousarray(values).view(np.int8).astype(np.float32)


def nibbles(values: U8) -> U8:
    """Put the low halves of a run of bytes before its high halves (last axis)."""
    return np.concatenate([values & 15, values >> 4], axis=-1)


def crumbs(values: U8) -> U8:
    """Put the four 2-bit fields of a run of bytes after one another (last axis)."""
    return np.concatenate([(values >> shift) & 3 for shift in (0, 2, 4, 6)], axis=-1)


def bits(values: U8) -> U8:
    """Put the eight bits of a run of bytes after one another, all bits 0 first."""
    return np.concatenate([(values >> shift) & 1 for shift in range(8)], axis=-1)


def fifth_bits(blocks: U8, offset: int) -> U8:
    """Read a little-endian u32 as 32 bits, moved to bit 4: element i has bit i."""
    field = blocks[:, offset : offset + 4]
    return np.unpackbits(field, axis=1, bitorder="little") << np.uint8(4)


def scale_groups(scales: F32, values: F32) -> F32:
    """Multiply equal groups of each row by one scale each.

    Shapes: scales [n_blocks, n_groups]; values and result [n_blocks, block_size].
    """
    n_blocks, n_groups = scales.shape
    grouped = values.reshape(n_blocks, n_groups, -1)
    return (scales[:, :, None] * grouped).reshape(n_blocks, -1)


def words(values: U8, kind: str) -> npt.NDArray[np.uint32]:
    """Read bytes as little-endian numbers of a NumPy type."""
    return np.ascontiguousarray(values).view(kind).astype(np.uint32)


def fields(numbers: npt.NDArray[np.unsignedinteger], shifts: range, mask: int) -> U8:
    """Put the fields of each number beside one another, in the place of the number."""
    found = numbers[..., None] >> np.array(shifts, numbers.dtype) & numbers.dtype.type(
        mask
    )
    return found.reshape(len(numbers), -1).astype(np.uint8)
