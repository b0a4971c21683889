"""Special tokens in a text: found in one pass, however many of them there are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LONGEST = 256  # characters; those of released models have less than 40
_END = ""  # in a node: a string ends here


class SpecialTokens:
    """Strings that stand for tokens, as a tree of their characters.

    An alternation of thousands would be tried one by one at every `<` of a text.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        """Take the strings; ones longer than `LONGEST` are never found."""
        self._root: dict[str, Any] = {}
        for string in strings:
            if len(string) > LONGEST:
                continue
            node = self._root
            for character in string:
                node = node.setdefault(character, {})
            node[_END] = {}
        first = "".join(map(re.escape, self._root))
        self._first = re.compile(f"[{first}]") if first else None

    def split(self, text: str) -> list[str]:
        """Return plain text and special strings in turns: the odd ones are special.

        The leftmost is found, and of several the longest. Each character is looked at
        once for every place at which a string that reaches it may begin.
        """
        if self._first is None:
            return [text]
        pieces: list[str] = []
        begin = position = 0
        while found := self._first.search(text, position):
            start = found.start()
            end = self._end(text, start)
            if end == start:
                position = start + 1
                continue
            pieces += (text[begin:start], text[start:end])
            begin = position = end
        return [*pieces, text[begin:]]

    def _end(self, text: str, start: int) -> int:
        """Return where the longest string that begins at `start` ends, or `start`."""
        node, end = self._root, start
        for i in range(start, len(text)):
            node = node.get(text[i], {})
            if not node:
                break
            if _END in node:
                end = i + 1
        return end
