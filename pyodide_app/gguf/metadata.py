"""Metadata of a GGUF: a read-only mapping with typed getters and lazy arrays."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from typing import TypeAlias, TypeVar

from pyodide_app.errors import EngineError, FileFormatError
from pyodide_app.gguf.strings import LENGTH_BYTES, StringArray, quote

# A number array is a memoryview over the file's bytes: format "f" or "d" for floats,
# "?" for bools, else integers.
Value: TypeAlias = "int | float | bool | str | StringArray | memoryview"


FLOAT32_MAX = 3.4028234663852886e38


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
            found = describe(self._values[key])
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
        self,
        key: str,
        default: Default | Missing = MISSING,
        *,
        minimum: float = -FLOAT32_MAX,
        maximum: float = FLOAT32_MAX,
    ) -> float | Default:
        """Return a float within the given bounds, those of float32 at most.

        All arithmetic is in float32: a larger one would be infinite there.
        """
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) is not float:
            raise self._wrong(key, "a finite float")
        if not minimum <= value <= maximum:  # NaN is in no range
            expected = f"a float from {minimum:.3g} to {maximum:.3g}"
            raise self._wrong(key, expected, found=str(value))
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
        most: int | None = None,
    ) -> list[int] | Default:
        """Return an array of integers of any width; a scalar counts as one element.

        One of more than `most` elements is refused before it becomes a list.
        """
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if type(value) is int:
            numbers = [value]
        elif isinstance(value, memoryview) and value.format not in ("f", "d", "?"):
            self._check_length(key, value, most)
            numbers = value.tolist()
        else:
            raise self._wrong(key, "an integer or an array of integers")
        self._check_range(key, numbers, minimum, maximum)
        return numbers

    def get_bools(
        self,
        key: str,
        default: Default | Missing = MISSING,
        *,
        most: int | None = None,
    ) -> list[bool] | Default:
        """Return an array of bools; a scalar counts as one element, 0 and 1 too."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        numbers: Sequence[object] = [value]
        if isinstance(value, memoryview):
            self._check_length(key, value, most)
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

    def _check_length(self, key: str, value: memoryview, most: int | None) -> None:
        if most is not None and len(value) > most:
            raise self._wrong(key, f"at most {most}", found=f"{len(value)} elements")

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
