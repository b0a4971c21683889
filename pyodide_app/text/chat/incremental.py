"""Text that arrives in pieces, read from the front by coroutines that wait for more."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

from pyodide_app.text.chat.finder import Finder

_T = TypeVar("_T")
_SPACE = re.compile(r"\s*")

Reading = Generator[None, None, _T]
"""A reader: it yields where it needs more text, and returns what it has read."""


class Source:
    """The text that is not yet read. Reading costs what is read, not what is there."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0  # where the unread text begins
        self.ended = False  # whether no more will come
        self._taken: list[str] | None = None

    def push(self, text: str) -> None:
        """Add text at the end."""
        self.text = self.text[self.at :] + text
        self.at = 0

    @property
    def n_left(self) -> int:
        """Return how many characters are there to read."""
        return len(self.text) - self.at

    @property
    def done(self) -> bool:
        """Say whether all is read, and nothing more comes."""
        return self.ended and not self.n_left

    def peek(self, length: int) -> str:
        """Return the next characters, fewer where there are no more yet."""
        return self.text[self.at : self.at + length]

    def take(self, end: int) -> str:
        """Read up to a position in `text`."""
        taken = self.text[self.at : end]
        self.at = end
        if self._taken is not None:
            self._taken.append(taken)
        return taken

    def skip(self, length: int) -> None:
        """Read so many characters, and forget them."""
        self.take(self.at + length)

    def put_back(self, text: str) -> None:
        """Make text that was read unread again; it is the end of what was recorded."""
        self.text = text + self.text[self.at :]
        self.at = 0
        if self._taken is not None:
            recorded = "".join(self._taken)
            self._taken = [recorded[: len(recorded) - len(text)]]

    def record(self) -> None:
        """Remember from here on what is read."""
        self._taken = []

    def recorded(self) -> str:
        """Return what was read since `record`, and end it."""
        text = "".join(self._taken or ())
        self._taken = None
        return text

    def skip_space(self) -> Reading[None]:
        """Read white space, up to something else or the end."""
        while True:
            self.take(after_space(self.text, self.at))
            if self.n_left or self.ended:
                return
            yield


def comes(source: Source, what: Finder) -> Reading[bool]:
    """Say whether one of some strings comes next."""
    while True:
        window = source.peek(what.longest)
        if what.match(window):
            return True
        if source.ended or not what.is_beginning(window):
            return False
        yield


def take_any(source: Source, what: Finder) -> Reading[str]:
    """Read one of some strings if one comes, and return it; empty if none does."""
    if not (yield from comes(source, what)):
        return ""
    found = what.match(source.text, source.at)
    return source.take(found.end() if found else source.at)


def read_until(source: Source, what: Finder) -> Reading[tuple[str, str]]:
    """Read up to one of some strings. Return the text and that, empty at the end."""
    parts: list[str] = []
    while (found := what.find(source.text, source.at)) is None:
        if source.ended:
            parts.append(source.take(len(source.text)))
            return "".join(parts), ""
        parts.append(source.take(what.certain(source.text, source.at)))
        yield
    parts.append(source.take(found.start()))
    return "".join(parts), found[0]


def after_space(text: str, at: int = 0) -> int:
    """Return the position of the first character that is no white space."""
    found = _SPACE.match(text, at)
    assert found is not None  # it may be empty
    return found.end()
