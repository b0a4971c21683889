"""The fields of a GGUF header, read from a growing window over the file.

Every number in the header is hostile until checked: a length is compared with the bytes
that are left before anything is read, allocated or looped by it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from struct import Struct, unpack_from

from pyodide_app.errors import FileFormatError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Value
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gguf.strings import LENGTH_BYTES, StringArray, decode, quote

FIRST_READ = 1 << 20
LARGEST_READ = 8 << 20
MAX_HEADER_BYTES = 128 << 20  # the largest known headers have about 20 MiB
MAX_KEYS = 1 << 16
MAX_KEY_BYTES = 65_535
MAX_STRING_BYTES = 16 << 20
MAX_ARRAY_LENGTH = 1 << 26
SMALLEST_KEY_VALUE = 8 + 0 + 4 + 1  # key length, key, value type, value

UINT32, BOOL, STRING, ARRAY = 4, 7, 8, 9


@dataclass(frozen=True, slots=True)
class Scalar:
    """A metadata type of fixed size; `format` is its struct and memoryview code."""

    name: str
    format: str
    size: int


SCALARS: dict[int, Scalar] = {
    0: Scalar("uint8", "B", 1),
    1: Scalar("int8", "b", 1),
    2: Scalar("uint16", "H", 2),
    3: Scalar("int16", "h", 2),
    UINT32: Scalar("uint32", "I", 4),
    5: Scalar("int32", "i", 4),
    6: Scalar("float32", "f", 4),
    BOOL: Scalar("bool", "?", 1),
    10: Scalar("uint64", "Q", 8),
    11: Scalar("int64", "q", 8),
    12: Scalar("float64", "d", 8),
}

_u32 = Struct("<I").unpack_from
_u64 = Struct("<Q").unpack_from

INCOMPLETE = "The file is incomplete or damaged: download or copy it again."
DAMAGED = "The file is damaged or was written by a faulty converter: get it again."


class HeaderReader:
    """Reads one field after the other; `field` names it in messages.

    The window holds the bytes from the field being read on. It grows by larger and
    larger reads, since nothing says how long a header is, and forgets what was read.
    """

    def __init__(self, source: ByteSource) -> None:
        """Start at the first byte; nothing is read yet."""
        self.source = source
        self._window = b""
        self._base = 0  # the file's offset of the window's first byte
        self._pos = 0  # in the window
        self._step = FIRST_READ

    @property
    def offset(self) -> int:
        """Return the file's offset of the next field."""
        return self._base + self._pos

    @property
    def remaining(self) -> int:
        """Return how many bytes the file has from the next field on."""
        return self.source.size - self.offset

    def error(
        self, field: str, found: str, expected: str, remedy: str = DAMAGED
    ) -> FileFormatError:
        """Build the error of a field that holds what it must not."""
        what = f"{self.source.name}, {field} (before offset {self.offset})"
        return FileFormatError(what, found=found, expected=expected, remedy=remedy)

    def unsupported(self, found: str, expected: str, remedy: str) -> FileFormatError:
        """Build the error of a sound file of a kind that is not supported."""
        what = f"{self.source.name} cannot be used"
        return UnsupportedFormatError(
            what, found=found, expected=expected, remedy=remedy
        )

    async def peek(self, n_bytes: int, field: str) -> bytes:
        """Return the next bytes without stepping over them."""
        await self._need(n_bytes, field)
        return self._window[self._pos : self._pos + n_bytes]

    async def peek_some(self) -> bytes:
        """Return what the first read brings: at least one byte unless empty."""
        if not self._window and self.remaining:
            await self._need(1, "the first byte")
        return self._window[self._pos :]

    async def u32(self, field: str) -> int:
        """Read an unsigned 32-bit integer."""
        start = await self._take(4, field)
        value: int = _u32(self._window, start)[0]
        return value

    async def u64(self, field: str) -> int:
        """Read an unsigned 64-bit integer."""
        start = await self._take(8, field)
        value: int = _u64(self._window, start)[0]
        return value

    async def count(self, field: str, smallest: int, cap: int) -> int:
        """Read how many things of at least `smallest` bytes follow."""
        n = await self.u64(field)
        limit = min(cap, self.remaining // smallest)
        if n > limit:
            expected = f"at most {limit}: {self.remaining} bytes are left"
            raise self.error(field, str(n), expected, INCOMPLETE)
        return n

    async def unpack(self, layout: str, n_bytes: int, field: str) -> tuple[int, ...]:
        """Read integers by a struct layout."""
        start = await self._take(n_bytes, field)
        return unpack_from(layout, self._window, start)

    async def text(self, field: str, cap: int) -> bytes:
        """Read a string's bytes."""
        length = await self.u64(f"the length of {field}")
        limit = min(cap, self.remaining)
        if length > limit:
            expected = f"at most {limit}: {self.remaining} bytes are left"
            what = f"the length of {field}"
            raise self.error(what, str(length), expected, INCOMPLETE)
        start = await self._take(length, field)
        return self._window[start : start + length]

    async def name(self, field: str, cap: int) -> str:
        """Read a string that names something: not empty, UTF-8 and free of NUL."""
        raw = await self.text(field, cap)
        try:
            name = raw.decode()
        except UnicodeDecodeError as error:
            raise self.error(field, quote(raw), "UTF-8") from error
        if not name or "\0" in name:
            raise self.error(field, quote(raw), "a text that is not empty, without NUL")
        return name

    async def value(self, key: str) -> Value:
        """Read the type and the value of a key."""
        field = f"the value of {quote(key)}"
        type_id = await self.u32(f"the type of {quote(key)}")
        if type_id == STRING:
            return decode(await self.text(field, MAX_STRING_BYTES))
        if type_id == ARRAY:
            return await self._array(key, field)
        if type_id not in SCALARS:
            raise self.error(
                f"the type of {quote(key)}", str(type_id), "a value type from 0 to 12"
            )
        scalar = SCALARS[type_id]
        start = await self._take(scalar.size, field)
        raw = self._window[start : start + scalar.size]
        self._check_bools(type_id, raw, field)
        value: int | float | bool = unpack_from(f"<{scalar.format}", raw)[0]
        return value

    async def _array(self, key: str, field: str) -> Value:
        element = await self.u32(f"the element type of {quote(key)}")
        if element != STRING and element not in SCALARS:
            found = "an array in an array" if element == ARRAY else str(element)
            expected = "an element type from 0 to 12 other than 9"
            raise self.error(f"the element type of {quote(key)}", found, expected)
        scalar = SCALARS.get(element)
        size = scalar.size if scalar else LENGTH_BYTES
        n = await self.count(f"the length of {quote(key)}", size, MAX_ARRAY_LENGTH)
        if scalar is None:
            return await self._strings(n, field)
        start = await self._take(n * size, field)
        raw = self._window[start : start + n * size]
        self._check_bools(element, raw, field)
        # Little-endian like the file: so is every machine that WebGPU runs on.
        return memoryview(raw).cast(scalar.format)  # type: ignore[call-overload,no-any-return]

    def _check_bools(self, type_id: int, raw: bytes, field: str) -> None:
        if type_id == BOOL and (wrong := raw.translate(None, b"\0\1")):
            raise self.error(field, f"the byte {wrong[0]}", "0 or 1 for a bool")

    async def _strings(self, n: int, field: str) -> StringArray:
        """Record where each string starts, and keep the bytes as they are."""
        starts = array("I")
        length = 0  # bytes of the array walked over so far
        while len(starts) < n:
            string = f"string {len(starts)} of {field}"
            await self._need(length + LENGTH_BYTES, string)
            length = self._walk(starts, n, length, field)
            await self._need(length, f"string {len(starts) - 1} of {field}")
        starts.append(length + LENGTH_BYTES)
        start = await self._take(length, field)
        return StringArray(self._window[start : start + length], starts)

    def _walk(self, starts: array[int], n: int, length: int, field: str) -> int:
        """Walk over the strings that begin in the window; return the bytes walked."""
        window, origin = self._window, self._pos
        pos = origin + length
        last = len(window) - LENGTH_BYTES
        for i in range(len(starts), n):
            if pos > last:
                break
            size: int = _u64(window, pos)[0]
            if size > MAX_STRING_BYTES:
                string = f"the length of string {i} of {field}"
                raise self.error(string, str(size), f"at most {MAX_STRING_BYTES}")
            pos += LENGTH_BYTES
            starts.append(pos - origin)
            pos += size
        return pos - origin

    async def _take(self, n_bytes: int, field: str) -> int:
        """Step over the next bytes; return where they start in the window."""
        if self._pos + n_bytes > len(self._window):
            await self._need(n_bytes, field)
        start = self._pos
        self._pos += n_bytes
        return start

    async def _need(self, n_bytes: int, field: str) -> None:
        """Have the next bytes in the window."""
        if self._pos + n_bytes <= len(self._window):
            return
        if n_bytes > self.remaining:
            raise FileFormatError(
                f"{self.source.name} ends inside {field} at offset {self.offset}",
                found=f"{self.remaining} bytes left",
                expected=f"{n_bytes}",
                remedy=INCOMPLETE,
            )
        if self.offset + n_bytes > MAX_HEADER_BYTES:
            raise self.error(
                field,
                f"a header of more than {MAX_HEADER_BYTES} bytes",
                "a header of about 20 MiB at most",
            )
        await self._grow(self.offset + n_bytes)

    async def _grow(self, end: int) -> None:
        begin = self._base + len(self._window)
        end = min(max(end, begin + self._step), self.source.size)
        self._step = min(2 * self._step, LARGEST_READ)
        more = await self.source.read(begin, end)
        self._window = self._window[self._pos :] + more
        self._base += self._pos
        self._pos = 0
