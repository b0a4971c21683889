"""A small GGUF reader of its own, over a memory map."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.quant import FORMATS_BY_ID, Format, dequantise

F32 = npt.NDArray[np.float32]

# The number of a metadata type: its struct code. 8 is a string, 9 an array.
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor table; shape in NumPy order, offset from file start."""

    name: str
    shape: tuple[int, ...]
    format: Format
    offset: int

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row, that is of the last axis."""
        return self.shape[-1] // self.format.block_size * self.format.block_bytes

    @property
    def n_rows(self) -> int:
        """Return the number of rows over all other axes."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))


class _Cursor:
    """Reads little-endian fields one after another."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data: memoryview = data.data
        self.at = 0

    def scalar(self, code: str) -> Any:
        """Read one number of a struct code."""
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        """Read a string with its length before it."""
        n = self.scalar("Q")
        raw = bytes(self.data[self.at : self.at + n])
        self.at += n
        return raw.decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        """Read a metadata value of a type number."""
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        kind, n = self.scalar("I"), self.scalar("Q")
        if kind == STRING:
            return [self.string() for _ in range(n)]
        values = struct.unpack_from(f"<{n}{SCALARS[kind]}", self.data, self.at)
        self.at += struct.calcsize(f"<{n}{SCALARS[kind]}")
        return list(values)


class GGUFFile:
    """A file's metadata, and its tensors dequantised on demand.

    It trusts the file: validation is the subject of the reader it is compared with.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._bytes: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        cursor = _Cursor(self._bytes)
        magic, version = cursor.scalar("4s"), cursor.scalar("I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: {magic!r} version {version}, not GGUF 2 or 3")
        n_tensors, n_keys = cursor.scalar("Q"), cursor.scalar("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = cursor.string()
            self.metadata[key] = cursor.value(cursor.scalar("I"))
        self.tensors = self._read_table(cursor, n_tensors)

    def _read_table(self, cursor: _Cursor, n_tensors: int) -> dict[str, Tensor]:
        entries = []
        for _ in range(n_tensors):
            name, n_dims = cursor.string(), cursor.scalar("I")
            dims = [cursor.scalar("Q") for _ in range(n_dims)] or [1]
            kind, offset = cursor.scalar("I"), cursor.scalar("Q")
            entries.append((name, tuple(reversed(dims)), FORMATS_BY_ID[kind], offset))
        alignment = self.metadata.get("general.alignment", 32)
        start = -(-cursor.at // alignment) * alignment
        return {
            name: Tensor(name, shape, form, start + offset)
            for name, shape, form, offset in entries
        }

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def rows(self, name: str, begin: int, end: int) -> F32:
        """Dequantise rows begin to end, counted over all axes but the last.

        Shapes: result [end - begin, shape[-1]].
        """
        tensor = self.tensors[name]
        first = tensor.offset + begin * tensor.row_bytes
        raw = self._bytes[first : first + (end - begin) * tensor.row_bytes]
        n_columns = tensor.shape[-1]
        values = dequantise(tensor.format.name, raw, (end - begin) * n_columns)
        return values.reshape(end - begin, n_columns)

    def tensor(self, name: str) -> F32:
        """Dequantise a whole tensor, in its NumPy shape."""
        entry = self.tensors[name]
        return self.rows(name, 0, entry.n_rows).reshape(entry.shape)

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """Return a tensor's bytes as they lie in the file."""
        entry = self.tensors[name]
        end = entry.offset + entry.n_rows * entry.row_bytes
        return self._bytes[entry.offset : end]
