"""Models that are split into several files."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    RequestError,
)
from tests.app.gguf_reading import (
    ARCH,
    read,
)
from tests.samples.gguf_bytes import (
    build_gguf,
    typed,
)


def shard(no: int, count: int, names: str, total: int | None = None) -> bytes:
    metadata: dict[str, Any] = dict(ARCH) if no == 0 else {}
    metadata |= {
        "split.no": typed("u16", no),
        "split.count": typed("u16", count),
        "split.tensors.count": typed("i32", 3 if total is None else total),
    }
    data = [(name, (2,), "F32", name.encode() * 8) for name in names]
    return build_gguf(metadata, data)


def test_reads_shards_in_any_order() -> None:
    shards = [shard(0, 3, "a"), shard(1, 3, "b"), shard(2, 3, "c")]
    for order in ((0, 1, 2), (2, 0, 1)):
        file = read(*(shards[no] for no in order))
        assert file.architecture == "gemma4"
        assert list(file.tensors) == ["a", "b", "c"]
        assert file.n_bytes == sum(map(len, shards))
        for name, tensor in file.tensors.items():
            assert tensor.source.name == f"part{order.index('abc'.index(name))}.gguf"
            raw = asyncio.run(
                tensor.source.read(tensor.offset, tensor.offset + tensor.size)
            )
            assert raw == name.encode() * 8


def test_a_file_that_says_it_is_one_part_of_one_is_whole() -> None:
    assert list(read(shard(0, 1, "abc")).tensors) == ["a", "b", "c"]


SPLITS: dict[str, tuple[list[bytes], type[EngineError], str]] = {
    "one part alone": (
        [shard(1, 3, "b")],
        FileFormatError,
        "is split in 3: found 1 of them; expected also 1, 3",
    ),
    "a part missing": ([shard(0, 3, "a"), shard(2, 3, "c")], FileFormatError, "also 2"),
    "a part twice": ([shard(0, 2, "a")] * 2, FileFormatError, "does not fit"),
    "parts of other models": (
        [shard(0, 2, "a"), shard(1, 3, "b")],
        FileFormatError,
        "found part 2 of 3; expected one more part of 2",
    ),
    "a part beyond the count": (
        [shard(0, 2, "a"), shard(2, 2, "b")],
        FileFormatError,
        "split.no",
    ),
    "too few tensors": (
        [shard(0, 2, "a"), shard(1, 2, "b")],
        FileFormatError,
        "found 2 tensors; expected 3",
    ),
    "a tensor in two parts": (
        [shard(0, 2, "ab"), shard(1, 2, "b")],
        FileFormatError,
        "found it in part0.gguf as well",
    ),
    "a negative count": (
        [build_gguf(ARCH | {"split.count": -1})],
        FileFormatError,
        "split.count",
    ),
    "two whole models": (
        [build_gguf(ARCH), build_gguf(ARCH)],
        RequestError,
        "several files were chosen",
    ),
    "a whole model and a part": (
        [build_gguf(ARCH), shard(0, 2, "a")],
        RequestError,
        "several files were chosen",
    ),
    "nothing": ([], RequestError, "no file was chosen"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_refuses_shards_that_are_no_whole(case: str) -> None:
    files, error_class, fragment = SPLITS[case]
    with pytest.raises(EngineError) as caught:
        read(*files)
    assert type(caught.value) is error_class
    assert fragment in str(caught.value)
