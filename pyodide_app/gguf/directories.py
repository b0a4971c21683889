"""Directories: where a model store's files are found, on a disk or chosen in a page."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pyodide_app.errors import SourceError
from pyodide_app.gguf.sources import ByteSource, FileSource
from pyodide_app.gguf.strings import printable

Kind = Literal["file", "directory"]
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class OpenFile(ByteSource, Protocol):
    """A byte source that its user closes."""

    def close(self) -> None:
        """Give the file back."""


class Directory(Protocol):
    """A folder whose entries are listed and opened by their own names, one level down.

    A name is one component: it holds no separator and is neither `.` nor `..`.
    """

    @property
    def name(self) -> str:
        """Return the name that messages use, with what is known of the path."""

    async def entries(self) -> Mapping[str, Kind]:
        """Return the names in it; what is neither file nor directory is left out.

        Raises: SourceError when it cannot be listed.
        """

    async def directory(self, name: str) -> Directory | None:
        """Return a folder in it, None if there is none of that name.

        Raises: SourceError when it must not be read.
        """

    async def open(self, name: str) -> OpenFile | None:
        """Open a file in it, None if there is none of that name.

        Raises: SourceError when it cannot be read.
        """


def check_component(name: str) -> None:
    """Refuse a name that is not one plain component of a path."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise SourceError("a name in a folder", found=repr(name)[:80])


@dataclass(frozen=True, slots=True)
class PathDirectory:
    """A folder of this machine.

    With `inside`, a folder without symbolic links in its path, nothing is found that
    lies outside of it: a link that leads out is refused.
    """

    path: Path
    inside: Path | None = None

    @classmethod
    def confined(cls, path: Path) -> PathDirectory:
        """Return a folder that no link leads out of."""
        real = path.resolve()
        return cls(real, real)

    @property
    def name(self) -> str:
        """Return the path."""
        return printable(str(self.path))

    async def entries(self) -> Mapping[str, Kind]:
        """Return the names in it; links count as what they lead to."""
        found: dict[str, Kind] = {}
        try:
            with os.scandir(self.path) as scan:
                for entry in scan:
                    with contextlib.suppress(OSError):  # a link in a circle
                        if entry.is_file():
                            found[entry.name] = "file"
                        elif entry.is_dir():
                            found[entry.name] = "directory"
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return found

    async def directory(self, name: str) -> PathDirectory | None:
        """Return a folder in it, None if there is none of that name."""
        path = self._find(name, stat.S_ISDIR)
        return None if path is None else PathDirectory(path, self.inside)

    async def open(self, name: str) -> FileSource | None:
        """Open a file in it, None if there is none of that name."""
        path = self._find(name, stat.S_ISREG)
        return None if path is None else FileSource(path)

    def _find(self, name: str, is_kind: Callable[[int], bool]) -> Path | None:
        """Return the path of an entry, links followed if they must stay inside."""
        check_component(name)
        path = self.path / name
        try:
            if not is_kind(path.stat().st_mode):
                return None
            if self.inside is not None:
                path = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            if getattr(error, "errno", None) in _NOT_THERE:
                return None
            raise _unreadable(path, error) from error
        if self.inside is not None and not path.is_relative_to(self.inside):
            raise SourceError(
                f"cannot read {printable(str(self.path / name))}",
                found="a link that leads out of the store",
                expected=f"a file below {printable(str(self.inside))}",
                remedy="Move the store as a whole, and name its new folder.",
            )
        return path


@dataclass(frozen=True, slots=True)
class MappedDirectory:
    """A folder made of files with relative paths, as a page's folder input gives them.

    `files` maps paths (parts joined by `/`) to sources. A source is closed after use:
    a mapping that makes one whenever it is asked serves files that are opened again.
    """

    files: Mapping[str, OpenFile]
    prefix: str = ""  # empty, or ends in a slash

    @property
    def name(self) -> str:
        """Return the relative path."""
        return printable(self.prefix.rstrip("/")) or "the chosen folder"

    async def entries(self) -> Mapping[str, Kind]:
        """Return the names in it."""
        found: dict[str, Kind] = {}
        for path in self.files:
            if path.startswith(self.prefix):
                name, slash, _ = path[len(self.prefix) :].partition("/")
                found[name] = "directory" if slash else "file"
        return found

    async def directory(self, name: str) -> MappedDirectory | None:
        """Return a folder in it, None if there is none of that name."""
        check_component(name)
        prefix = f"{self.prefix}{name}/"
        if not any(path.startswith(prefix) for path in self.files):
            return None
        return MappedDirectory(self.files, prefix)

    async def open(self, name: str) -> OpenFile | None:
        """Return a file in it, None if there is none of that name."""
        check_component(name)
        path = self.prefix + name
        return self.files[path] if path in self.files else None


def _unreadable(path: Path, error: Exception) -> SourceError:
    remedy = "Check the path."
    if isinstance(error, PermissionError):
        remedy = "Give this user the right to read it."
    reason = getattr(error, "strerror", None) or str(error)
    shown = printable(str(path))
    return SourceError(f"cannot read {shown}", found=reason, remedy=remedy)
