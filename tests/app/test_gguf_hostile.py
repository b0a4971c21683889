"""Hostile and damaged files, and what is no GGUF: typed errors, nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyodide_app.cli.inspection import describe
from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    UnsupportedFormatError,
)
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.types import BY_ID, UNSUPPORTED
from tests.app.gguf_reading import (
    ARCH,
    ARCH_KV,
    EXTREMES,
    read,
    touch_everything,
)
from tests.samples.gguf_bytes import (
    assemble,
    build_gguf,
    key_value,
    string,
    tensor_info,
    typed,
    u32,
    u64,
)

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
