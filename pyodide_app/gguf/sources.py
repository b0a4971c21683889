"""Byte sources: where the bytes of a model come from, read by range."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Lock
from typing import Protocol

from pyodide_app.errors import SourceError
from pyodide_app.gguf.strings import printable


class ByteSource(Protocol):
    """A file, Blob or URL of known size that is read by range."""

    @property
    def name(self) -> str:
        """Return the name that messages use."""

    @property
    def size(self) -> int:
        """Return the size in bytes."""

    async def read(self, begin: int, end: int) -> bytes:
        """Return the whole range `begin <= offset < end`.

        Raises: SourceError when the range is not all there or has changed.
        """


def check_range(name: str, size: int, begin: int, end: int) -> None:
    """Refuse a range that is not inside the source."""
    if not 0 <= begin <= end <= size:
        raise SourceError(
            f"cannot read bytes {begin} to {end} of {name}",
            found=f"{size} bytes in it",
            remedy="Choose the file again.",
        )


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        """Wrap the bytes."""
        self.name = name
        self.size = len(data)
        self._data = data

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range."""
        return self.read_sync(begin, end)

    def read_sync(self, begin: int, end: int) -> bytes:
        """Return the range without awaiting."""
        check_range(self.name, self.size, begin, end)
        return self._data[begin:end]

    def close(self) -> None:
        """Do nothing: the bytes go when their last user does."""


class FileSource:
    """A local file, opened once.

    The open file is kept, so that replacing the path by another file changes nothing;
    a file that is written to in place while it is in use is noticed at the next read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file. Raises: SourceError when it cannot be opened."""
        self.path = Path(path)
        self.name = printable(self.path.name or str(path))
        try:
            # Opening a pipe would wait for a writer, perhaps for ever: look first.
            kind = self.path.stat().st_mode
            if not stat.S_ISREG(kind):
                raise SourceError(
                    f"cannot read {printable(str(self.path))}",
                    found="a directory" if stat.S_ISDIR(kind) else "no regular file",
                    expected="a file",
                    remedy="Name the model's .gguf file itself.",
                )
            self._file = open(self.path, "rb", buffering=0)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise _os_failure(self.path, error) from error
        self._lock = Lock()  # a seek and its read belong together
        self._state = self._now()
        self.size = self._state[0]

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range."""
        return self.read_sync(begin, end)

    def read_sync(self, begin: int, end: int) -> bytes:
        """Return the range without awaiting."""
        check_range(self.name, self.size, begin, end)
        data = bytearray(end - begin)
        self.read_into(begin, memoryview(data))
        return bytes(data)

    def read_into(self, begin: int, buffer: memoryview) -> None:
        """Fill a writable buffer of bytes with the range that starts at `begin`."""
        check_range(self.name, self.size, begin, begin + len(buffer))
        try:
            with self._lock:
                n_read = self._fill(begin, buffer)
                now = self._now()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise _os_failure(self.path, error) from error
        if now != self._state or n_read < len(buffer):
            raise SourceError(
                f"{printable(str(self.path))} has changed while it was in use",
                found=f"{now[0]} bytes",
                expected=f"{self.size} bytes, last written before it was opened",
                remedy="Load the model again when the file is no longer written to.",
            )

    def _fill(self, begin: int, buffer: memoryview) -> int:
        self._file.seek(begin)
        n_read = 0
        while n_read < len(buffer):  # one system call reads at most 2 GiB
            n = self._file.readinto(buffer[n_read:])
            if not n:
                break
            n_read += n
        return n_read

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def close(self) -> None:
        """Close the file; later reads raise SourceError."""
        self._file.close()


def _os_failure(path: Path, error: OSError | ValueError) -> SourceError:
    remedy = "Choose the file again."
    if isinstance(error, PermissionError):
        remedy = "Give this user the right to read it."
    elif isinstance(error, FileNotFoundError):
        remedy = "Check the path."
    reason = getattr(error, "strerror", None) or str(error)
    shown = printable(str(path))
    return SourceError(f"cannot read {shown}", found=reason, remedy=remedy)
