"""Vocabularies for tests: those of files, and toy ones made in memory."""

from __future__ import annotations

import asyncio
import functools
from array import array
from collections.abc import Iterable
from pathlib import Path

from pyodide_app.gguf.metadata import Metadata, Value
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gguf.strings import StringArray
from pyodide_app.text.tokenizer import Tokenizer

BYTES = [b"<0x%02X>" % byte for byte in range(256)]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@functools.cache
def metadata_of(path: Path) -> Metadata:
    """Return the metadata of a file, read once."""
    source = FileSource(path)
    try:
        return asyncio.run(read_gguf([source])).metadata
    finally:
        source.close()


def strings(items: Iterable[bytes]) -> StringArray:
    """Return strings as a file holds them."""
    starts, data = array("I"), bytearray()
    for item in items:
        data += len(item).to_bytes(8, "little")
        starts.append(len(data))
        data += item
    starts.append(len(data) + 8)
    return StringArray(bytes(data), starts)


def ints(items: Iterable[int]) -> memoryview:
    """Return integers as a file holds them."""
    return memoryview(array("i", items))


def floats(items: Iterable[float]) -> memoryview:
    """Return floats as a file holds them."""
    return memoryview(array("f", items))


def toy_metadata(architecture: str = "", **keys: Value) -> Metadata:
    """Return metadata with keys of the tokenizer's."""
    values: dict[str, Value] = {f"tokenizer.ggml.{k}": v for k, v in keys.items()}
    if architecture:
        values["general.architecture"] = architecture
    return Metadata(values)


def scored(
    tokens: dict[bytes, float], types: dict[bytes, int] | None = None, **more: Value
) -> Tokenizer:
    """Return a toy of SentencePiece: these tokens behind <unk> and the bytes."""
    names = [b"<unk>", *BYTES, *tokens]
    kinds = {b"<unk>": UNKNOWN, **dict.fromkeys(BYTES, BYTE), **(types or {})}
    more.setdefault("add_space_prefix", False)
    metadata = toy_metadata(
        model="llama",
        tokens=strings(names),
        scores=floats([*[0.0] * 257, *tokens.values()]),
        token_type=ints(kinds.get(name, NORMAL) for name in names),
        **more,
    )
    return Tokenizer.from_metadata(metadata)


def byte_level(
    merges: list[str],
    special: dict[str, int] | None = None,
    *,
    left_out: Iterable[str] = (),
    **more: Value,
) -> Tokenizer:
    """Return a toy of byte-level merges: a token for each byte and each merge."""
    special = special or {}
    names = [*letters(), *(merge.replace(" ", "") for merge in merges)]
    names = [name for name in dict.fromkeys(names) if name not in set(left_out)]
    types = [NORMAL] * len(names) + list(special.values())
    metadata = toy_metadata(
        model="gpt2",
        tokens=strings(name.encode() for name in [*names, *special]),
        merges=strings(merge.encode() for merge in merges),
        token_type=ints(types),
        **more,
    )
    return Tokenizer.from_metadata(metadata)


@functools.cache
def letters() -> list[str]:
    """Return how byte-level vocabularies write the 256 bytes, in their order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(others)) for b in range(256)]
