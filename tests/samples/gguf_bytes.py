"""A small GGUF writer for tests: sound files, and hostile ones field by field.

    build_gguf({"general.architecture": "gemma4", "n": typed("i64", 5)},
               [("weight", (32, 2), "Q8_0", data)])

Metadata values: str, bytes (a string of these bytes), bool, int (u32, or i32, u64, i64
where it does not fit), float (f32), a list of one of them (an empty one is of u32), or
`typed(kind, value)` for any kind. Keys may also come as a list of pairs, to repeat one.
A tensor's type may be a number, its data None (zeros of the right size), and a fifth
item sets its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from pyodide_app.gguf.types import BY_ID, BY_NAME

KINDS: dict[str, tuple[int, str]] = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "str": (8, ""),
    "array": (9, ""),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}


@dataclass(frozen=True)
class Typed:
    """A value with its kind; a list is an array of that kind."""

    kind: str
    value: Any


def typed(kind: str, value: Any) -> Typed:
    """Fix the kind of a metadata value or of an array's elements."""
    return Typed(kind, value)


def u32(n: int) -> bytes:
    """Encode a u32."""
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    """Encode a u64."""
    return struct.pack("<Q", n)


def string(text: str | bytes) -> bytes:
    """Encode a string: its length, then its bytes."""
    raw = text if isinstance(text, bytes) else text.encode()
    return u64(len(raw)) + raw


def kind_of(value: Any) -> str:
    """Choose the kind of a Python value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        fits = ("u32", "i32") if -(2**31) <= value < 2**32 else ("u64", "i64")
        return fits[value < 0]
    if isinstance(value, float):
        return "f32"
    return "str"


def element(kind: str, value: Any) -> bytes:
    """Encode one value without its type."""
    return string(value) if kind == "str" else struct.pack("<" + KINDS[kind][1], value)


def key_value(key: str | bytes, value: Any) -> bytes:
    """Encode a key with the type and the value."""
    if not isinstance(value, Typed):
        first = value[0] if isinstance(value, list) and value else value
        value = Typed("u32" if first == [] else kind_of(first), value)
    code = u32(KINDS[value.kind][0])
    if not isinstance(value.value, list | tuple):
        return string(key) + code + element(value.kind, value.value)
    body = b"".join(element(value.kind, item) for item in value.value)
    array = u32(KINDS["array"][0]) + code + u64(len(value.value))
    return string(key) + array + body


def tensor_info(
    name: str | bytes, dims: Sequence[int], type_id: int, offset: int
) -> bytes:
    """Encode one row of the tensor table."""
    sizes = b"".join(map(u64, dims))
    return string(name) + u32(len(dims)) + sizes + u32(type_id) + u64(offset)


def pad(data: bytes, alignment: int) -> bytes:
    """Append zeros up to a multiple of the alignment."""
    return data + bytes(-len(data) % alignment)


def assemble(
    key_values: Sequence[bytes],
    tensor_infos: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    alignment: int = 32,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
) -> bytes:
    """Put encoded parts together; the counts may be made to lie."""
    header = b"GGUF" + u32(version)
    header += u64(len(tensor_infos) if n_tensors is None else n_tensors)
    header += u64(len(key_values) if n_keys is None else n_keys)
    header += b"".join(key_values) + b"".join(tensor_infos)
    return pad(header, alignment) + data if tensor_infos else header


def build_gguf(
    metadata: Mapping[str, Any] | Iterable[tuple[str, Any]],
    tensors: Iterable[Sequence[Any]] = (),
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """Build a whole file; an alignment other than 32 is written as a key as well."""
    pairs = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    if alignment != 32 and "general.alignment" not in dict(pairs):
        pairs.append(("general.alignment", alignment))
    infos: list[bytes] = []
    data = b""
    for name, dims, type_name, raw, *place in tensors:
        is_name = isinstance(type_name, str)
        ggml_type = BY_NAME[type_name] if is_name else BY_ID.get(type_name)
        type_id = ggml_type.id if ggml_type else type_name
        if raw is None:
            assert ggml_type, f"type {type_name} has no known size: give the data"
            raw = bytes(prod(dims) // ggml_type.block_size * ggml_type.block_bytes)
        data = pad(data, alignment)
        infos.append(tensor_info(name, dims, type_id, place[0] if place else len(data)))
        data += raw
    key_values = [key_value(key, value) for key, value in pairs]
    return assemble(key_values, infos, data, alignment=alignment, version=version)


def with_keys(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return a whole file with other values of some keys, or more of them.

    The values that it had stay, under names that nobody reads.
    """
    for key in changes:
        data = data.replace(string(key), string("-" + key[1:]), 1)
    new = b"".join(key_value(key, value) for key, value in changes.items())
    # What is new is filled up to whole steps of alignment, so that data move by these.
    empty = len(key_value("", ""))
    new += key_value("-" * (-(len(new) + empty) % 32), "")
    n_keys = int.from_bytes(data[16:24], "little") + len(changes) + 1
    return data[:16] + u64(n_keys) + new + data[24:]
