"""Tests of the GGUF reader: round trips, another writer, scale."""

from __future__ import annotations

import asyncio
import math
import struct
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from pyodide_app.errors import (
    FileFormatError,
)
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gguf.types import TYPES
from tests.app.gguf_reading import (
    ARCH,
    ARCH_KV,
    EXTREMES,
    GOLDEN,
    ROOT,
    CountingSource,
    read,
)
from tests.samples.gguf_bytes import (
    KINDS,
    assemble,
    build_gguf,
    tensor_info,
    typed,
)

# ---- round trips ---------------------------------------------------------------------


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
