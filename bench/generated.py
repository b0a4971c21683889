"""Released sizes with data that are made when they are read: no file, no disk."""

from __future__ import annotations

from bisect import bisect_right

from oracle.quant import FORMATS
from pyodide_app.gguf.sources import check_range
from tests.samples.real_blocks import Entry, blocks
from tests.samples.realshape import Layout


class GeneratedSource:
    """A planned file that is nowhere; every read finds what a written one holds."""

    def __init__(self, layout: Layout, name: str = "generated.gguf") -> None:
        """Stand for what `tests.samples.realshape.write` fills whole."""
        self.name = name
        self.size = layout.size
        self._header = layout.header
        self._entries = layout.entries
        self._offsets = [entry.offset for entry in layout.entries]

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range. Raises SourceError."""
        check_range(self.name, self.size, begin, end)
        found = bytearray(self._header[begin:end].ljust(end - begin, b"\0"))
        first = max(0, bisect_right(self._offsets, begin) - 1)
        for entry in self._entries[first:]:
            if entry.offset >= end:
                break
            low = max(begin, entry.offset)
            high = min(end, entry.offset + entry.size)
            if low < high:
                data = part(entry, low - entry.offset, high - entry.offset)
                found[low - begin : high - begin] = data
        return bytes(found)


def part(entry: Entry, begin: int, end: int) -> bytes:
    """Return a range of a tensor's bytes, wherever its blocks begin."""
    size = FORMATS[entry.type].block_bytes
    first, last = begin // size, -(-end // size)
    data = blocks(entry, first, last - first)
    return data[begin - first * size : end - first * size]
