"""What tests of the GGUF reader share: how they read, and what they read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.strings import StringArray
from tests.samples.gguf_bytes import (
    key_value,
)

EXTREMES: dict[str, list[Any]] = {
    "u8": [0, 255],
    "i8": [-128, 127],
    "u16": [0, 65_535],
    "i16": [-32_768, 32_767],
    "u32": [0, 2**32 - 1],
    "i32": [-(2**31), 2**31 - 1],
    "u64": [0, 2**64 - 1],
    "i64": [-(2**63), 2**63 - 1],
    "f32": [-1.5, 0.1],
    "f64": [1e300, 0.1],
    "bool": [False, True],
    "str": ["", "é\n\0\"'x"],
}


ARCH = {"general.architecture": "gemma4"}
ARCH_KV = key_value("general.architecture", "gemma4")
ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("LAPIDARY_GOLDEN", ROOT.parent / "shared" / "golden"))


def read(*files: bytes) -> GGUFFile:
    sources = [BytesSource(data, f"part{i}.gguf") for i, data in enumerate(files)]
    return asyncio.run(read_gguf(sources))


class CountingSource(BytesSource):
    """Remembers which ranges were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    async def read(self, begin: int, end: int) -> bytes:
        self.ranges.append((begin, end))
        return await super().read(begin, end)


def touch_everything(file: GGUFFile) -> None:
    """Use all lazy parts of a file."""
    for value in file.metadata.values():
        if isinstance(value, StringArray):
            assert len(value.to_list()) == len(value)
            assert len(value.raw_index()) <= len(value)
        elif isinstance(value, memoryview):
            value.tolist()
    for tensor in file.tensors.values():
        assert tensor.offset + tensor.size <= tensor.source.size
