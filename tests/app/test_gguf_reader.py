"""Tests of the GGUF reader: round trips, another writer, hostile files, scale."""

from __future__ import annotations

import asyncio
import math
import os
import struct
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyodide_app.cli.inspection import describe
from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    RequestError,
    UnsupportedFormatError,
)
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import BytesSource, FileSource
from pyodide_app.gguf.strings import StringArray
from pyodide_app.gguf.types import BY_ID, TYPES, UNSUPPORTED
from tests.samples.gguf_bytes import (
    KINDS,
    assemble,
    build_gguf,
    key_value,
    string,
    tensor_info,
    typed,
    u32,
    u64,
)

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


# ---- round trips ---------------------------------------------------------------------

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


@pytest.mark.parametrize("kind", sorted(EXTREMES))
def test_reads_scalars_and_arrays_of_every_type(kind: str) -> None:
    low, high = EXTREMES[kind]
    values = {"low": low, "high": high, "both": [low, high], "none": []}
    metadata = {key: typed(kind, value) for key, value in values.items()}
    file = read(build_gguf(ARCH | metadata))
    expected_high = (
        struct.unpack("<f", struct.pack("<f", high))[0] if (kind == "f32") else high
    )
    assert file.metadata["low"] == low
    assert file.metadata["high"] == expected_high
    assert type(file.metadata["high"]) is type(high)
    assert list(file.metadata["both"]) == [low, expected_high]  # type: ignore[arg-type]
    assert list(file.metadata["none"]) == []  # type: ignore[arg-type]


def test_every_metadata_type_has_a_round_trip() -> None:
    assert set(EXTREMES) == set(KINDS) - {"array"}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_finds_tensors_by_alignment(version: int, alignment: int) -> None:
    tensors = [
        (f"t{i}", (t.block_size, 3), t.name, bytes([i]) * (3 * t.block_bytes))
        for i, t in enumerate(TYPES, start=1)
    ]
    data = build_gguf(ARCH, tensors, alignment, version)
    file = read(data)
    assert (file.version, file.alignment, file.n_bytes) == (
        version,
        alignment,
        len(data),
    )
    assert [t.type.name for t in file.tensors.values()] == [t.name for t in TYPES]
    for name, dims, _, raw in tensors:
        tensor = file.tensors[name]
        assert data[tensor.offset : tensor.offset + tensor.size] == raw
        assert tensor.offset % alignment == 0
        assert tensor.shape == dims[::-1]
        assert tensor.n_elements == 3 * dims[0]
        assert tensor.row_bytes * 3 == tensor.size


def test_accepts_a_file_that_ends_with_the_last_tensor_or_with_padding() -> None:
    data = build_gguf(ARCH, [("w", (3,), "F32", bytes(12))])
    assert read(data).tensors["w"].size == 12
    assert read(data + bytes(20)).tensors["w"].size == 12


def test_accepts_tensors_in_any_order_of_offset() -> None:
    tensors = [("b", (1,), "F32", bytes(4), 32), ("a", (1,), "F32", bytes(60), 0)]
    file = read(build_gguf(ARCH, tensors))
    assert file.tensors["b"].offset == file.tensors["a"].offset + 32


def test_a_tensor_without_dimensions_is_a_scalar() -> None:
    info = tensor_info("w", (), 0, 0)
    assert read(assemble([ARCH_KV], [info], bytes(4))).tensors["w"].dims == (1,)


def test_a_file_without_tensors_needs_no_data_section() -> None:
    assert read(build_gguf(ARCH)).tensors == {}
    assert read(build_gguf(ARCH, alignment=1024)).alignment == 1024


def test_reads_little_more_than_the_header() -> None:
    data = build_gguf(ARCH, [("w", (1 << 22,), "F32", None)])
    source = CountingSource(data)
    asyncio.run(read_gguf([source]))
    assert source.ranges == [(0, 1 << 20)]


@pytest.mark.parametrize("n_strings", [30_000, 200_000, 1_200_000])
def test_reads_a_long_header_once_and_in_growing_parts(n_strings: int) -> None:
    # Strings of many lengths, so that the window's ends fall everywhere in them.
    strings = [b"s" * (i % 23) for i in range(n_strings)]
    tail = {"last": 7, "numbers": typed("u16", list(range(9)))}
    tensors = [("w", (2,), "F32", None)]
    source = CountingSource(build_gguf(ARCH | {"strings": strings} | tail, tensors))
    file = asyncio.run(read_gguf([source]))
    array = file.metadata.get_strings("strings")
    assert array.raw_list() == strings
    assert file.metadata.get_int("last") == 7
    assert file.metadata.get_ints("numbers") == list(range(9))
    begins, ends = zip(*source.ranges, strict=True)
    assert begins == (0, *ends[:-1])
    assert len(begins) <= 8


# ---- metadata getters ----------------------------------------------------------------


def getters_file() -> GGUFFile:
    metadata = {
        "int": typed("i64", -5),
        "byte": typed("u8", 1),
        "ints": typed("i16", [1, -2]),
        "float": 0.5,
        "double": typed("f64", 0.1),
        "nan": math.nan,
        "nans": [1.0, math.inf],
        "bool": True,
        "bools": [True, False],
        "str": "text",
        "strs": ["a", "b", "a"],
        "empty": [],
        "damaged": b"\xff\xe9",
        "damaged_strs": [b"ok", b"\xc3", b"\0", b""],
    }
    return read(build_gguf(ARCH | metadata))


def test_getters_return_typed_values() -> None:
    metadata = getters_file().metadata
    assert metadata.get_int("int") == -5
    assert metadata.get_int("int", 3, minimum=-5, maximum=-5) == -5
    assert metadata.get_int("absent", None) is None
    assert metadata.get_ints("ints") == [1, -2]
    assert metadata.get_ints("int") == [-5]
    assert metadata.get_ints("empty") == []
    assert metadata.get_float("float") == 0.5
    assert metadata.get_float("double") == 0.1
    assert metadata.get_bool("bool") is True
    assert metadata.get_bool("byte") is True
    assert metadata.get_bools("bools") == [True, False]
    assert metadata.get_bools("bool") == [True]
    assert metadata.get_str("str") == "text"
    assert metadata.get_strings("strs").to_list() == ["a", "b", "a"]
    assert metadata.get_strings("empty").to_list() == []
    assert metadata.key("block_count") == "gemma4.block_count"
    assert "int" in metadata
    assert "absent" not in metadata
    assert list(metadata.keys())[:2] == ["general.architecture", "int"]


@pytest.mark.parametrize(
    ("getter", "key", "options", "fragment"),
    [
        ("get_int", "absent", {}, "lacks the metadata key absent"),
        ("get_int", "float", {}, "found the float 0.5; expected an integer"),
        ("get_int", "bool", {}, "found the bool True; expected an integer"),
        ("get_int", "int", {"minimum": 0}, "found -5; expected an integer from 0 to …"),
        ("get_ints", "ints", {"maximum": 0}, "found 1; expected an integer from … to"),
        ("get_ints", "bools", {}, "found an array of 2 bools"),
        ("get_ints", "strs", {}, "found an array of 3 strings"),
        ("get_float", "int", {}, "found the integer -5; expected a finite float"),
        ("get_float", "nan", {}, "found nan; expected a float from "),
        ("get_bool", "int", {}, "expected a bool"),
        ("get_bools", "ints", {}, "expected a bool"),
        ("get_str", "strs", {}, "expected a string"),
        ("get_strings", "str", {}, "found the string 'text'; expected an array"),
        ("get_strings", "ints", {}, "expected an array of strings"),
    ],
)
def test_getters_refuse_other_kinds(
    getter: str, key: str, options: dict[str, int], fragment: str
) -> None:
    metadata = getters_file().metadata
    with pytest.raises(FileFormatError) as caught:
        getattr(metadata, getter)(key, **options)
    assert fragment in str(caught.value)
    assert key in caught.value.what


def test_damaged_strings_survive_as_their_bytes() -> None:
    metadata = getters_file().metadata
    text = metadata.get_str("damaged")
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xe9"
    strings = metadata.get_strings("damaged_strs")
    assert strings.raw_list() == [b"ok", b"\xc3", b"\0", b""]
    assert strings.to_list() == ["ok", "\udcc3", "\0", ""]
    assert list(strings) == [strings[i] for i in range(4)]
    assert strings[-1] == ""
    with pytest.raises(IndexError):
        strings.raw(4)


def test_of_equal_strings_the_first_has_the_index() -> None:
    strings = getters_file().metadata.get_strings("strs")
    assert strings.raw_index() == {b"a": 0, b"b": 1}


# ---- an independent writer -----------------------------------------------------------


def test_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 96), dtype=np.float32)
    quantised = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(path, "gemma4")
    writer.add_custom_alignment(64)
    writer.add_block_count(7)
    writer.add_float32("f", 0.25)
    writer.add_float64("d", 0.1)
    writer.add_bool("flag", False)
    writer.add_array("pattern", [True, False, True])
    writer.add_array("heads", [1, -2, 3])
    writer.add_token_list(["a", "b c", "ß"])
    writer.add_token_scores([0.0, -1.0, 2.0])
    writer.add_tensor("full", weight)
    writer.add_tensor("quant", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("half", weight.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with closing(FileSource(path)) as source:
        file = asyncio.run(read_gguf([source]))
    data = path.read_bytes()
    metadata = file.metadata
    assert (file.architecture, file.alignment) == ("gemma4", 64)
    assert metadata.get_int(metadata.key("block_count")) == 7
    assert metadata.get_float("f") == 0.25
    assert metadata.get_float("d") == 0.1
    assert metadata.get_bool("flag") is False
    assert metadata.get_bools("pattern") == [True, False, True]
    assert metadata.get_ints("heads") == [1, -2, 3]
    tokens = metadata.get_strings("tokenizer.ggml.tokens")
    assert tokens.to_list() == ["a", "b c", "ß"]
    expected = {"full": weight, "quant": quantised, "half": weight.astype(np.float16)}
    assert file.tensors.keys() == expected.keys()
    for name, array in expected.items():
        tensor = file.tensors[name]
        assert tensor.shape == (5, 96)
        assert data[tensor.offset :][: tensor.size] == array.tobytes()


def golden_models() -> list[Path]:
    """List the models at hand; the package takes 20 s for a full vocabulary."""
    committed = ROOT / "tests" / "golden" / "models"
    folders = (GOLDEN / "models", committed)
    by_name = {path.name: path for d in folders for path in d.glob("*.gguf")}
    return sorted(by_name.values())


@pytest.mark.parametrize("path", golden_models(), ids=lambda path: path.stem)
def test_agrees_with_the_gguf_package_on_models(path: Path) -> None:
    with closing(FileSource(path)) as source:
        file = asyncio.run(read_gguf([source]))
    theirs = gguf.GGUFReader(path)
    mine = {
        t.name: (t.type.id, t.dims, t.offset, t.size) for t in file.tensors.values()
    }
    assert mine == {
        t.name: (t.tensor_type.value, tuple(t.shape), t.data_offset, t.n_bytes)
        for t in theirs.tensors
    }
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert set(file.metadata) == keys
    for key in keys:
        value: Any = file.metadata[key]
        content = theirs.fields[key].contents()
        assert (list(value) if isinstance(content, list) else value) == content


# ---- scale ---------------------------------------------------------------------------

if (FULL_VOCABULARY := GOLDEN / "tokenizer" / "vocab-262144.gguf").exists():

    def read_full_vocabulary() -> GGUFFile:
        with closing(FileSource(FULL_VOCABULARY)) as source:
            return asyncio.run(read_gguf([source]))

    def test_reads_a_header_of_real_size_fast() -> None:
        began = time.perf_counter()
        file = read_full_vocabulary()
        seconds = time.perf_counter() - began
        tokens = file.metadata.get_strings("tokenizer.ggml.tokens")
        merges = file.metadata.get_strings("tokenizer.ggml.merges")
        assert (len(tokens), len(merges)) == (262_144, 514_906)
        decoded = tokens.to_list()
        places = (0, 5, 100_000, 262_143)
        assert [decoded[i] for i in places] == [tokens[i] for i in places]
        index = merges.raw_index()
        assert [index[merges.raw(i)] for i in (0, 514_905)] == [0, 514_905]
        # 0.1 s on an idle core; the bound is for one that is slow and shared.
        assert seconds < 2

    def test_a_header_of_real_size_costs_little_memory() -> None:
        size = FULL_VOCABULARY.stat().st_size
        tracemalloc.start()
        try:
            file = read_full_vocabulary()
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(file.metadata) > 10
        # The header's own bytes and four more for each of its 777,050 strings.
        assert kept < size + 4_000_000
        # Besides, the window and its copy while it grows around the largest array.
        assert peak < 3 * size


# ---- hostile files -------------------------------------------------------------------

F32 = 0
INFO = tensor_info("w", (4,), F32, 0)
DATA = bytes(64)


def kv(key: str | bytes, type_id: int, raw: bytes) -> bytes:
    return string(key) + u32(type_id) + raw


def with_kv(*key_values: bytes) -> bytes:
    return assemble([ARCH_KV, *key_values])


def with_info(*infos: bytes, data: bytes = DATA) -> bytes:
    return assemble([ARCH_KV], infos, data)


def array(element_type: int, n: int, raw: bytes = b"") -> bytes:
    return kv("list", 9, u32(element_type) + u64(n) + raw)


def with_alignment(value: Any) -> bytes:
    return assemble([ARCH_KV, key_value("general.alignment", value)], [INFO], DATA)


HOSTILE: dict[str, tuple[bytes, type[EngineError], str]] = {
    "empty file": (b"", FileFormatError, "is empty"),
    "magic alone": (b"GGUF", FileFormatError, "the first 24 bytes at offset 0"),
    "version 0": (assemble([ARCH_KV], version=0), UnsupportedFormatError, "version 0"),
    "version 1": (assemble([ARCH_KV], version=1), UnsupportedFormatError, "version 1"),
    "version 4": (assemble([ARCH_KV], version=4), UnsupportedFormatError, "is newer"),
    "big endian": (
        assemble([ARCH_KV], version=3 << 24),
        UnsupportedFormatError,
        "a big-endian GGUF",
    ),
    "keys that the file cannot hold": (
        assemble([ARCH_KV], n_keys=5),
        FileFormatError,
        "the number of keys (before offset 24): found 5; expected at most 3",
    ),
    "negative number of keys": (
        assemble([ARCH_KV], n_keys=2**64 - 1),
        FileFormatError,
        "the number of keys",
    ),
    "too many keys": (
        assemble([ARCH_KV, bytes(13 << 17)], n_keys=1 << 17),
        FileFormatError,
        "expected at most 65536",
    ),
    "tensors that the file cannot hold": (
        assemble([ARCH_KV], n_tensors=7),
        FileFormatError,
        "the number of tensors (before offset 16): found 7; expected at most 1",
    ),
    "negative number of tensors": (
        assemble([ARCH_KV], n_tensors=1 << 63),
        FileFormatError,
        "the number of tensors",
    ),
    "fewer keys than said": (
        assemble([ARCH_KV, bytes(40)], n_keys=3),
        FileFormatError,
        "key 2 of 3",
    ),
    "empty key": (with_kv(kv("", 4, u32(1))), FileFormatError, "not empty"),
    "key with NUL": (with_kv(kv("a\0b", 4, u32(1))), FileFormatError, "without NUL"),
    "key that is not UTF-8": (
        with_kv(kv(b"\xff\x1b[2J", 4, u32(1))),
        FileFormatError,
        "found '\\udcff\\x1b[2J'; expected UTF-8",
    ),
    "key too long": (
        with_kv(kv("k" * 65_536, 4, u32(1))),
        FileFormatError,
        "the length of key 2 of 2 (before offset 78): found 65536",
    ),
    "key longer than the file": (
        with_kv(u64(1 << 62) + b"x"),
        FileFormatError,
        "the length of key",
    ),
    "key twice": (
        with_kv(ARCH_KV),
        FileFormatError,
        "key 2 (before offset 98): found 'general.architecture' again",
    ),
    "value type 13": (with_kv(kv("k", 13, u64(0))), FileFormatError, "found 13;"),
    "bool 2": (with_kv(kv("k", 7, b"\2")), FileFormatError, "0 or 1 for a bool"),
    "bool 255 in an array": (
        with_kv(array(7, 3, b"\1\xff\0")),
        FileFormatError,
        "found the byte 255",
    ),
    "string longer than the file": (
        with_kv(kv("k", 8, u64(2**64 - 1))),
        FileFormatError,
        "the length of the value of 'k'",
    ),
    "string of 17 MiB": (
        with_kv(kv("k", 8, string(bytes(17 << 20)))),
        FileFormatError,
        "expected at most 16777216",
    ),
    "array of arrays": (
        with_kv(array(9, 1, u32(4) + u64(0))),
        FileFormatError,
        "an array in an array",
    ),
    "array of type 13": (with_kv(array(13, 0)), FileFormatError, "found 13;"),
    "array longer than the file": (
        with_kv(array(10, 3, bytes(23))),
        FileFormatError,
        "the length of 'list' (before offset 98): found 3; expected at most 2",
    ),
    "array of 2^63 strings": (
        with_kv(array(8, 1 << 63)),
        FileFormatError,
        "the length of 'list'",
    ),
    "string in an array longer than the file": (
        with_kv(array(8, 2, string("a") + u64(5000) + bytes(7))),
        FileFormatError,
        "string 1 of the value of 'list'",
    ),
    "string in an array of 17 MiB": (
        with_kv(array(8, 2, string("a") + string(bytes(17 << 20)))),
        FileFormatError,
        "the length of string 1 of the value of 'list'",
    ),
    "alignment 0": (with_alignment(0), FileFormatError, "a power of two"),
    "alignment 4": (with_alignment(4), FileFormatError, "a power of two"),
    "alignment 48": (with_alignment(48), FileFormatError, "found 48; expected a power"),
    "alignment 2^21": (with_alignment(1 << 21), FileFormatError, "a power of two"),
    "alignment u64": (
        with_alignment(typed("u64", 32)),
        FileFormatError,
        "found 10; expected 4 (uint32)",
    ),
    "alignment text": (with_alignment("32"), FileFormatError, "expected 4 (uint32)"),
    "no architecture": (
        assemble([key_value("k", 1)]),
        FileFormatError,
        "lacks the metadata key general.architecture",
    ),
    "architecture a number": (
        build_gguf({"general.architecture": 4}),
        FileFormatError,
        "found the integer 4; expected a string",
    ),
    "architecture empty": (
        build_gguf({"general.architecture": ""}),
        FileFormatError,
        "found an empty text",
    ),
    "tensor name empty": (
        with_info(tensor_info("", (4,), F32, 0)),
        FileFormatError,
        "the name of tensor 1 of 1",
    ),
    "tensor name of 64 bytes": (
        with_info(tensor_info("n" * 64, (4,), F32, 0)),
        FileFormatError,
        "found 64; expected at most 63",
    ),
    "tensor name with NUL": (
        with_info(tensor_info("a\0", (4,), F32, 0)),
        FileFormatError,
        "without NUL",
    ),
    "tensor name that is not UTF-8": (
        with_info(tensor_info(b"a\xff", (4,), F32, 0)),
        FileFormatError,
        "expected UTF-8",
    ),
    "tensor twice": (
        with_info(INFO, tensor_info("w", (4,), F32, 32)),
        FileFormatError,
        "found 'w' twice",
    ),
    "5 dimensions": (
        with_info(tensor_info("w", (1,) * 5, F32, 0)),
        FileFormatError,
        "the number of dimensions of 'w'",
    ),
    "2^32 - 1 dimensions": (
        assemble([ARCH_KV], [string("w") + u32(2**32 - 1) + bytes(40)]),
        FileFormatError,
        "found 4294967295; expected at most 4",
    ),
    "dimension 0": (
        with_info(tensor_info("w", (4, 0), F32, 0)),
        FileFormatError,
        "found [4, 0]",
    ),
    "dimension 2^41": (
        with_info(tensor_info("w", (1 << 41,), F32, 0)),
        FileFormatError,
        "their product at most 1099511627776",
    ),
    "dimensions whose product is 0 in 64 bits": (
        with_info(tensor_info("w", (1 << 32, 1 << 32), F32, 0)),
        FileFormatError,
        "the dimensions of 'w'",
    ),
    "row that is no whole number of blocks": (
        with_info(tensor_info("w", (48, 2), 8, 0)),
        FileFormatError,
        "found rows of 48 elements; expected a multiple of 32",
    ),
    "offset not aligned": (
        with_info(tensor_info("w", (4,), F32, 16)),
        FileFormatError,
        "found offset 16; expected a multiple of 32",
    ),
    "unsupported type past the end": (
        with_info(tensor_info("w", (1024,), 41, 0)),
        FileFormatError,
        "tensor 'w' lies at bytes 128 to 272: found a file of 192 bytes",
    ),
    "unsupported type in half a block": (
        with_info(tensor_info("w", (48,), 41, 0)),
        FileFormatError,
        "of type Q1_0: found rows of 48 elements; expected a multiple of 128",
    ),
    "unknown type past the end": (
        with_info(tensor_info("w", (32,), 4, 96)),
        FileFormatError,
        "tensor 'w' lies at bytes 224 to 224: found a file of 192 bytes",
    ),
    "unknown type within another": (
        with_info(tensor_info("a", (16,), F32, 0), tensor_info("b", (8,), 4, 32)),
        FileFormatError,
        "tensors 'a' and 'b'",
    ),
    "tensor past the end": (
        with_info(tensor_info("w", (17,), F32, 0)),
        FileFormatError,
        "tensor 'w' lies at bytes 128 to 196: found a file of 192 bytes",
    ),
    "offset that wraps in 64 bits": (
        with_info(tensor_info("w", (16,), F32, 2**64 - 32)),
        FileFormatError,
        "tensor 'w' lies at",
    ),
    "tensors that overlap": (
        with_info(
            tensor_info("a", (16,), F32, 0),
            tensor_info("b", (8,), F32, 32),
        ),
        FileFormatError,
        "tensors 'a' and 'b'",
    ),
    "tensors at the same place": (
        with_info(tensor_info("a", (1,), F32, 0), tensor_info("b", (1,), F32, 0)),
        FileFormatError,
        "expected each in bytes of its own",
    ),
    "tensor without data section": (
        with_info(INFO, data=b""),
        FileFormatError,
        "tensor 'w' lies at",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refuses_hostile_files(case: str) -> None:
    data, error_class, fragment = HOSTILE[case]
    with pytest.raises(EngineError) as caught:
        read(data)
    assert type(caught.value) is error_class
    assert fragment in str(caught.value)
    assert caught.value.remedy
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("type_id", "name", "size"),
    [(41, "Q1_0", 36), (26, "I32", 1024), (9, "Q8_1", 0), (4, "unknown", 0)],
)
def test_a_type_that_is_not_supported_is_refused_only_where_it_is_needed(
    type_id: int, name: str, size: int
) -> None:
    tensors = [("w", (256,), type_id, bytes(size)), ("b.bias", (3,), "F32", None)]
    file = read(build_gguf(ARCH, tensors))
    info = file.tensors["w"]
    assert (info.type.name, info.size, info.n_elements) == (name, size, 256)
    assert describe(file)["types"][name]["bytes"] == size
    with pytest.raises(UnsupportedFormatError) as caught:
        info.check_type()
    expected = f"'w': found ggml type {type_id} ({name}); expected one of BF16, F16"
    assert expected in str(caught.value)
    assert caught.value.remedy
    file.tensors["b.bias"].check_type()


def test_sizes_of_unsupported_types_are_ggmls() -> None:
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    ours = {kind.id: (kind.block_size, kind.block_bytes) for kind in UNSUPPORTED}
    known = {number: size for number, size in ours.items() if size[1]}
    assert known == {number: sizes[number] for number in known}
    assert set(BY_ID) | set(ours) == set(sizes)
    assert set(ours) - set(known) == {9, 15}


def test_refuses_a_header_that_is_larger_than_any() -> None:
    class Endless(BytesSource):
        """A file of 2^40 bytes that is all zeros after its start."""

        def __init__(self, start: bytes) -> None:
            super().__init__(start)
            self.size = 1 << 40
            self.n_read = 0

        async def read(self, begin: int, end: int) -> bytes:
            self.n_read += end - begin
            return self._data[begin:end].ljust(end - begin, b"\0")

    for list_type, n in ((4, 1 << 26), (8, 1 << 26)):
        source = Endless(with_kv(array(list_type, n)))
        with pytest.raises(FileFormatError, match="more than 134217728 bytes"):
            asyncio.run(read_gguf([source]))
        assert source.n_read <= (128 + 8) << 20
    source = Endless(with_kv(array(0, (1 << 26) + 1)))
    with pytest.raises(FileFormatError, match="expected at most 67108864"):
        asyncio.run(read_gguf([source]))


# ---- damaged files -------------------------------------------------------------------


def small_file() -> bytes:
    values = {kind: typed(kind, extremes[1]) for kind, extremes in EXTREMES.items()}
    arrays = {f"{kind}s": typed(kind, list(v)) for kind, v in EXTREMES.items()}
    tensors = [("a.weight", (32, 2), "Q8_0", None), ("b.bias", (3,), "F32", None)]
    return build_gguf(ARCH | values | arrays, tensors)


SMALL = small_file()


def test_a_file_cut_anywhere_is_a_format_error_with_a_place() -> None:
    read(SMALL)
    for end in range(len(SMALL)):
        with pytest.raises(FileFormatError) as caught:
            read(SMALL[:end])
        assert not isinstance(caught.value, UnsupportedFormatError)
        assert caught.value.expected, end
        assert "damaged" in caught.value.remedy or "again" in caught.value.remedy


def test_a_cut_names_field_offset_and_what_was_expected() -> None:
    begin = SMALL.index(b"\x03\0\0\0\0\0\0\0i64") + 11 + 4
    with pytest.raises(FileFormatError) as caught:
        read(assemble([ARCH_KV, SMALL[begin - 15 : begin + 5]]))
    error = caught.value
    assert error.what == "part0.gguf ends inside the value of 'i64' at offset 85"
    assert (error.found, error.expected) == ("5 bytes left", "8")
    assert "incomplete" in error.remedy


@settings(max_examples=300, deadline=2000)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 40),
)
def test_changed_bytes_raise_nothing_but_typed_errors(
    changes: list[tuple[int, int]], n_cut: int
) -> None:
    data = bytearray(SMALL)
    for at, byte in changes:
        data[at] = byte
    try:
        touch_everything(read(bytes(data[: len(data) - n_cut])))
    except EngineError as error:
        assert str(error).isprintable()


@settings(max_examples=150, deadline=2000)
@given(st.binary(max_size=200), st.sampled_from([b"", b"GGUF", b"GGUF\3\0\0\0"]))
def test_random_bytes_raise_nothing_but_typed_errors(data: bytes, start: bytes) -> None:
    with pytest.raises(EngineError):
        read(start + data)


# ---- other kinds of files ------------------------------------------------------------

DIGEST = "a" * 64
MANIFEST = (
    b'{"schemaVersion":2,"config":{},"layers":[{"mediaType":"application/vnd.ollama.'
    b'image.model","digest":"sha256:' + DIGEST.encode() + b'","size":9}]}'
)
OTHERS: dict[str, tuple[bytes, str]] = {
    "safetensors": (u64(40) + b'{"__metadata__":{}}'.ljust(40) + bytes(99), "safeten"),
    "ggjt": (b"tjgg" + bytes(99), "before GGUF"),
    "ggml": (b"lmgg" + bytes(99), "before GGUF"),
    "ggla": (b"GGLA" + bytes(99), "before GGUF"),
    "FUGG": (b"FUGG" + bytes(99), "byte-swapped"),
    "zip": (b"PK\x03\x04" + bytes(99), "a ZIP archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "a gzip archive"),
    "tar": (b"dir/".ljust(257, b"\0") + b"ustar" + bytes(250), "a tar archive"),
    "pickle": (b"\x80\x02}q" + bytes(99), "a Python pickle"),
    "page": (b"\n<!DOCTYPE html><html>" + b"x" * 2_000_000, "a web page"),
    "xml": (b"<?xml version='1.0'?><Error/>" + bytes(0), "an XML text"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "zeros": (bytes(3_000_000), "an unfinished download"),
    "manifest": (MANIFEST, f"Choose blobs/sha256-{DIGEST} in Ollama's"),
    "config": (b'{"model_format":"gguf"}', "the configuration of an Ollama model"),
    "parameters": (b'{"temperature":1,"top_k":64}', "the parameters of an Ollama"),
    "template": ("é{{ .Prompt }}".encode(), "prompt template"),
    "license": (b"Gemma Terms of Use\n\nLast modified", "a license"),
    "modelfile": (b"# mine\nFROM gemma4\n", "a Modelfile".replace("a ", "Ollama ")),
    "index": (b'{"weight_map":{}}', "the index of a safetensors model"),
    "hf config": (b'{"model_type":"gemma4"}', "a Hugging Face model"),
    "json": (b'["x"]', "a JSON text"),
    "deep json": (b"[" * 200_000, "a JSON text that is damaged"),
    "long json": (b'{"a":"' + b"x" * 3_000_000, "a JSON text"),
    "words": (b"hello there", "found a text;"),
    "long words": ("aé".encode() * 700_000, "found a text;"),
    "noise": (b"\x07\x00\xff\x01\x02\x03\x04\x05", "07 00 ff 01 02 03 04 05"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_names_what_another_file_looks_like(case: str) -> None:
    data, fragment = OTHERS[case]
    with pytest.raises(UnsupportedFormatError) as caught:
        read(data)
    assert fragment in str(caught.value)
    assert caught.value.what == "part0.gguf cannot be used"
    assert caught.value.expected == "a GGUF file"
    assert caught.value.remedy


def test_shows_no_control_characters_of_a_file() -> None:
    with pytest.raises(FileFormatError) as caught:
        read(with_kv(kv("a\x1b[31m\n", 77, b"")))
    assert "'a\\x1b[31m\\n'" in str(caught.value)


# ---- split files ---------------------------------------------------------------------


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
