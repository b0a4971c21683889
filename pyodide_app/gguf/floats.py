"""Vectors of a file as the floats of 32 bits that kernels read."""

from __future__ import annotations

from array import array
from struct import iter_unpack

from pyodide_app.gguf.types import BY_NAME, GGMLType

FLOATS = ("F32", "F16", "BF16")
F32 = BY_NAME["F32"]


def widen(kind: GGMLType, data: bytes) -> bytes:
    """Return little-endian floats of one of FLOATS as F32; every one is exact."""
    if kind is F32:
        return data
    if kind.name == "BF16":
        widened = bytearray(2 * len(data))
        widened[2::4], widened[3::4] = data[::2], data[1::2]
        return bytes(widened)
    return array("f", (value for (value,) in iter_unpack("<e", data))).tobytes()
