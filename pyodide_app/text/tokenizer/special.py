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
        begins = "|".join(_beginning(c, node) for c, node in self._root.items())
        self._begin = re.compile(begins) if begins else None

    def split(self, text: str) -> list[str]:
        """Return plain text and special strings in turns: the odd ones are special.

        The leftmost is found, and of several the longest. Each character is looked at
        once for every place at which a string that reaches it may begin, and places
        are found by two characters: a single space begins no run of them.
        """
        if self._begin is None:
            return [text]
        pieces: list[str] = []
        begin = position = 0
        while found := self._begin.search(text, position):
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


def _beginning(character: str, node: dict[str, Any]) -> str:
    """Return the pattern of a string's first two characters, where it has two."""
    first = re.escape(character)
    return first if _END in node else f"{first}[{''.join(map(re.escape, node))}]"
