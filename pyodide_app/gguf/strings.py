"""Strings of a GGUF: arrays that are decoded on demand, and texts fit to be shown."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import pairwise

LENGTH_BYTES = 8  # the length in front of every string


class StringArray:
    """An array of strings, kept as the file's bytes and decoded on demand.

    A vocabulary has 262,144 tokens and twice as many merges: decoding them all at once
    costs as much as the rest of the header together, and most are never looked at.
    """

    __slots__ = ("_data", "_starts")

    def __init__(self, data: bytes, starts: array[int]) -> None:
        """Wrap the array's bytes: `data[starts[i] : starts[i + 1] - 8]` is string i."""
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> str:
        return decode(self.raw(index))

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_list())

    def __repr__(self) -> str:
        return f"StringArray({len(self)} strings)"

    def raw(self, index: int) -> bytes:
        """Return the bytes of one string; a negative index counts from the end."""
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"string {index} of an array of {n}")
        index %= n
        return self._data[self._starts[index] : self._starts[index + 1] - LENGTH_BYTES]

    def raw_list(self) -> list[bytes]:
        """Return all strings as bytes."""
        data = self._data
        return [data[a : b - LENGTH_BYTES] for a, b in pairwise(self._starts)]

    def to_list(self) -> list[str]:
        """Decode all strings; bytes that are not UTF-8 become lone surrogates."""
        raw = self.raw_list()
        # One decode and one split are several times faster than a decode per string.
        strings = decode(b"\0".join(raw)).split("\0") if raw else []
        if len(strings) == len(raw):
            return strings
        return [decode(string) for string in raw]  # a string holds a NUL itself

    def raw_index(self) -> dict[bytes, int]:
        """Return each string's index by its bytes; of equal strings the first counts.

        Keys stay bytes: a merge is looked up as `left + b" " + right`, and half a
        million tuples or integers would cost 70 MB more in WebAssembly.
        """
        data = self._data
        bounds = enumerate(pairwise(self._starts))
        index = {data[a : b - LENGTH_BYTES]: i for i, (a, b) in bounds}
        if len(index) == len(self):
            return index
        # Later duplicates overwrote earlier ones; assigning backwards undoes that.
        for i in range(len(self) - 1, -1, -1):
            index[self.raw(i)] = i
        return index


def decode(raw: bytes) -> str:
    """Decode UTF-8; bytes that are not UTF-8 become lone surrogates, losslessly."""
    return raw.decode("utf-8", "surrogateescape")


def quote(text: str | bytes, limit: int = 60) -> str:
    """Return a text from a file as one short line that is safe to print anywhere."""
    if isinstance(text, bytes):
        text = decode(text[: 4 * limit])
    quoted = ascii(text[:limit])
    return quoted if len(text) <= limit else f"{quoted}…"


def printable(name: str, limit: int = 300) -> str:
    """Return a file's name or path as one line that a terminal shows as it is."""
    if len(name) > limit:
        name = f"{name[: limit // 2]}…{name[-limit // 2 :]}"
    return name if name.isprintable() else ascii(name)[1:-1]
