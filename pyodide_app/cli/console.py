"""Standard input and output, whatever encoding the console or the sender has."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress
from typing import BinaryIO


def prepare() -> None:
    """Read any encoding that says which it is, and show what a console cannot as `?`.

    Without this, what a model says decides whether printing fails.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper) and not sys.stdin.isatty():
        sys.stdin = Input(sys.stdin.buffer)


def silence() -> None:
    """Send what is still to be printed nowhere: it cannot be taken any more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Input(io.TextIOBase):
    """The lines of piped input: UTF-8, or what a byte order mark or zeros tell.

    PowerShell writes UTF-16 and marks, and a console's own encoding says nothing of
    what is piped. Each line is decoded for itself, so that UnicodeDecodeError is that
    of the line; wide text has no lines until it is decoded, and gets U+FFFD there.
    """

    def __init__(self, binary: BinaryIO) -> None:
        self._binary = binary
        self._begun = False
        self._wide: io.StringIO | None = None  # the whole text, where it is not UTF-8

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """Return the next line, empty at the end."""
        if self._wide is not None:
            return self._wide.readline()
        line, encoding = self._binary.readline(), "utf-8"
        if not self._begun:
            self._begun = True
            encoding = json.detect_encoding(line)
        if not encoding.startswith("utf-8"):
            text = (line + self._binary.read()).decode(encoding, "replace")
            self._wide = io.StringIO(text, newline=None)
            return self._wide.readline()
        return line.decode(encoding).replace("\r\n", "\n")
