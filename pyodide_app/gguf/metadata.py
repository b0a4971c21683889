"""Metadata of a GGUF: a read-only mapping with typed getters and lazy arrays."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias, TypeVar, cast

from pyodide_app.errors import EngineError, FileFormatError

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


# A number array is a memoryview over the file's bytes: format "f" or "d" for floats,
# "?" for bools, else integers.
Value: TypeAlias = "int | float | bool | str | StringArray | memoryview"


class Missing:
    """The type of MISSING, the default that makes a key required."""


MISSING = Missing()
T = TypeVar("T")
Default = TypeVar("Default")


class Metadata(Mapping[str, Value]):
    """The keys and values of a GGUF.

    Getters accept every width of integer and float, since writers differ, and raise
    FileFormatError when a key without a default is missing or a value is of another
    kind or out of range. A key that is only advice is read by `advised`: where its
    value cannot be used, `notes` says so, and nothing fails.
    """

    __slots__ = ("_notes", "_values", "name")

    def __init__(self, values: Mapping[str, Value], name: str = "memory") -> None:
        """Wrap the values; `name` is the file's, for messages."""
        self._values = dict(values)
        self._notes: dict[str, str] = {}  # by key: who reads twice notes once
        self.name = name

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def keys(self) -> KeysView[str]:
        """Return the keys in the file's order."""
        return self._values.keys()

    def key(self, rest: str) -> str:
        """Return the architecture's own key: `gemma4.block_count` for `block_count`."""
        return f"{self.get_str('general.architecture')}.{rest}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what of it was ignored or taken otherwise, in whole sentences."""
        return tuple(self._notes.values())

    def note(self, key: str, what: str) -> None:
        """Keep what happened to a key: `is ignored: …`."""
        self._notes[key] = f"The metadata key {key} {what}."

    def advised(
        self, key: str, read: Callable[[str], T], default: Default
    ) -> T | Default:
        """Return what `read` makes of a key that no pass needs, if the file has it."""
        if key not in self._values:
            return default
        try:
            return read(key)
        except EngineError as error:
            found = error.found or describe(self._values[key])
            self.note(key, f"is ignored: found {found}, expected {error.expected}")
            return default

    def get_int(
        self,
        key: str,
        default: Default | Missing = MISSING,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> int | Default:
        """Return an integer of any width, within the given bounds (inclusive)."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) is not int:
            raise self._wrong(key, "an integer")
        self._check_range(key, [value], minimum, maximum)
        return value

    def get_float(
        self, key: str, default: Default | Missing = MISSING
    ) -> float | Default:
        """Return a finite float."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) is not float or not math.isfinite(value):
            raise self._wrong(key, "a finite float")
        return value

    def get_bool(
        self, key: str, default: Default | Missing = MISSING
    ) -> bool | Default:
        """Return a bool; an integer 0 or 1 counts as one."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) not in (bool, int) or value not in (0, 1):
            raise self._wrong(key, "a bool")
        return bool(value)

    def get_str(self, key: str, default: Default | Missing = MISSING) -> str | Default:
        """Return a string; bytes that are not UTF-8 are lone surrogates in it."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def get_ints(
        self,
        key: str,
        default: Default | Missing = MISSING,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> list[int] | Default:
        """Return an array of integers of any width; a scalar counts as one element."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) is int:
            numbers = [value]
        elif isinstance(value, memoryview) and value.format not in ("f", "d", "?"):
            numbers = value.tolist()
        else:
            raise self._wrong(key, "an integer or an array of integers")
        self._check_range(key, numbers, minimum, maximum)
        return numbers

    def get_floats(
        self, key: str, default: Default | Missing = MISSING
    ) -> list[float] | Default:
        """Return an array of finite floats; a scalar counts as one element."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        numbers: list[float]
        if type(value) is float:
            numbers = [value]
        elif isinstance(value, memoryview) and value.format in ("f", "d"):
            numbers = cast("list[float]", value.tolist())
        else:
            raise self._wrong(key, "a float or an array of floats")
        if not all(map(math.isfinite, numbers)):
            raise self._wrong(key, "finite floats", found="NaN or infinity among them")
        return numbers

    def get_bools(
        self, key: str, default: Default | Missing = MISSING
    ) -> list[bool] | Default:
        """Return an array of bools; a scalar counts as one element, 0 and 1 too."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        numbers: Sequence[object] = [value]
        if isinstance(value, memoryview):
            numbers = value.tolist()
        if not all(type(v) in (bool, int) and v in (0, 1) for v in numbers):
            raise self._wrong(key, "a bool or an array of bools")
        return [bool(v) for v in numbers]

    def get_strings(
        self, key: str, default: Default | Missing = MISSING
    ) -> StringArray | Default:
        """Return an array of strings."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if isinstance(value, StringArray):
            return value
        # An empty array has no say about its kind: some writers call it one of numbers.
        if isinstance(value, memoryview) and len(value) == 0:
            return StringArray(b"", array("I", [LENGTH_BYTES]))
        raise self._wrong(key, "an array of strings")

    def _default(self, key: str, default: T | Missing) -> T:
        if not isinstance(default, Missing):
            return default
        raise FileFormatError(
            f"{self.name} lacks the metadata key {key}",
            remedy="Choose a complete model file, or convert the model again.",
        )

    def _check_range(
        self, key: str, values: list[int], minimum: int | None, maximum: int | None
    ) -> None:
        for value in values:
            low = minimum is not None and value < minimum
            if low or (maximum is not None and value > maximum):
                bounds = f"{'…' if minimum is None else minimum} to "
                bounds += f"{'…' if maximum is None else maximum}"
                raise self._wrong(key, f"an integer from {bounds}", found=str(value))

    def _wrong(self, key: str, expected: str, found: str = "") -> FileFormatError:
        return FileFormatError(
            f"{self.name}, metadata key {key}",
            found=found or describe(self._values[key]),
            expected=expected,
            remedy="The file is damaged or was written by a faulty converter.",
        )


def decode(raw: bytes) -> str:
    """Decode UTF-8; bytes that are not UTF-8 become lone surrogates, losslessly."""
    return raw.decode("utf-8", "surrogateescape")


def quote(text: str | bytes, limit: int = 60) -> str:
    """Return a text from a file as one short line that is safe to print anywhere."""
    if isinstance(text, bytes):
        text = decode(text[: 4 * limit])
    quoted = ascii(text[:limit])
    return quoted if len(text) <= limit else f"{quoted}…"


def describe(value: Value) -> str:
    """Say in a few words what a value is, for messages."""
    if isinstance(value, StringArray):
        return f"an array of {len(value)} strings"
    if isinstance(value, memoryview):
        kinds = {"f": "floats", "d": "floats", "?": "bools"}
        return f"an array of {len(value)} {kinds.get(value.format, 'integers')}"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    kind = {bool: "bool", float: "float"}.get(type(value), "integer")
    return f"the {kind} {value}"
