"""How to find markers in a text that arrives in pieces, and to show it without them."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Finder:
    """What finds the first of some strings in a text that arrives in pieces."""

    def __init__(self, strings: Iterable[str]) -> None:
        """Take the strings; of none, none is ever found."""
        strings = sorted(strings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, strings)) or "(?!)")
        self.longest = max(map(len, strings), default=0)
        self._beginnings = frozenset(s[:n] for s in strings for n in range(1, len(s)))

    def find(self, text: str, at: int) -> re.Match[str] | None:
        """Return the first of the strings from a position on."""
        return self._pattern.search(text, at)

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        """Return the string that stands at a position."""
        return self._pattern.match(text, at)

    def is_beginning(self, text: str) -> bool:
        """Say whether more text could make one of the strings of this."""
        return text in self._beginnings or (not text and self.longest > 0)

    def certain(self, text: str, at: int = 0) -> int:
        """Return up to where no more text can make one of the strings."""
        for length in range(min(self.longest - 1, len(text) - at), 0, -1):
            if text[-length:] in self._beginnings:
                return len(text) - length
        return len(text)


class Shown:
    """One stream of text for people: what stood around a marker never makes another."""

    def __init__(self, markers: Finder) -> None:
        self._markers = markers
        self._tail = ""  # the last that was shown
        self._gap = ""  # white space that shows if more text follows

    def say(self, text: str) -> str:
        """Return text as it is shown after what was shown before."""
        if not text:
            return ""
        shown = text if text[0].isspace() else self._gap + text
        self._gap = ""
        self._tail = (self._tail + shown)[-self._markers.longest :]
        return shown

    def interrupt(self, space: str = "") -> None:
        """Note that something is left out here, which had this space before it."""
        cut = self._markers.certain(self._tail) < len(self._tail)
        self._gap = space or self._gap or (" " if cut else "")

    def forget_space(self) -> None:
        """Let what follows begin anew, but for a marker that would come about."""
        self._gap = ""
        self.interrupt()
