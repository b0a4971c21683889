"""Stop strings: a reply ends before the first of them, and none of it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from pyodide_app.errors import RequestError


def undecided(text: str, strings: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that begins one of the strings.

    A string that is there as a whole does not count: only what is still to come can
    tell whether the rest follows.
    """
    longest = max(map(len, strings), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(len(s) > length and s.startswith(end) for s in strings):
            return length
    return 0


class StopStrings:
    """Pass on a text that arrives in pieces, up to the first stop string.

    What is passed on does not depend on where the text is cut. The first string is the
    one that is complete first, and of several that end at one place, the longest.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """Take the strings. Raises: RequestError for an empty one, or another type."""
        if isinstance(strings, str):
            raise _wrong(strings)
        for string in strings:
            if not isinstance(string, str) or not string:
                raise _wrong(string)
        self._strings = tuple(strings)
        self._held = ""  # may be the beginning of one
        self.found = False  # whether the text has come to its end

    def push(self, text: str) -> str:
        """Return what of the text so far is certain to be shown."""
        if self.found:
            return ""
        text = self._held + text
        ends = [
            (begin + len(string), begin)
            for string in self._strings
            if (begin := text.find(string)) >= 0
        ]
        self.found = bool(ends)
        end = min(ends)[1] if ends else len(text) - undecided(text, self._strings)
        self._held = "" if ends else text[end:]
        return text[:end]

    def finish(self) -> str:
        """Return what was held back: nothing more comes to complete it."""
        text, self._held = self._held, ""
        return text


def _wrong(found: object) -> RequestError:
    return RequestError(
        "stop", found=ascii(found)[:60], expected="texts of at least one character"
    )
