"""JSON as models write it: read strictly where it is sound, else with kindness.

What is forgiven: quotes within texts, single quotes and none, Python's words, commas
too many or semicolons for them, brackets that are never closed. Every character is
looked at once.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pyodide_app.text.chat.json_values import MAX_DEPTH, finite, read_json

_SPACE = re.compile(r"\s*")
# A semicolon separates pairs only where a key follows: code is full of them.
_SEMICOLON = r""";\s*["'][^"'\n]{1,60}["']\s*:"""
_BARE = re.compile(rf"(?:[^,;{{}}\[\]\n]|(?!{_SEMICOLON});)*")
_BARE_KEY = re.compile(r"[^\s:{}\[\],\"']+")
# A quote ends a text only where the value that holds it can go on.
_REST = {
    quote: re.compile(
        rf"(?:[^{quote}\\]|\\.|{quote}(?!\s*(?:[,}}\]:]|$|{_SEMICOLON})))*", re.DOTALL
    )
    for quote in ('"', "'")
}
_NUMBER = re.compile(r"-?\d{1,400}(?:\.\d+)?(?:[eE][+-]?\d{1,4})?")
_WORDS = {"true": True, "false": False, "null": None, "none": None, "nan": None}
_UNESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)"')


def read(text: str) -> Any:
    """Return the value that a text begins with. Raises: ValueError."""
    try:
        return read_json(text)
    except ValueError:
        return _Reader(text).value(0)


class _Reader:
    """A recursive descent through one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("a value within too many others")
        mark = self._next()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._list(depth)
        if mark in _REST:
            return self._string(mark)
        return _word(self._take(_BARE).strip())

    def _object(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        self._at += 1
        while (mark := self._next()) not in ("}", ""):
            if mark in (",", ";"):
                self._at += 1
                continue
            if mark == "{":  # some models double the braces of an example
                pairs |= self.value(depth + 1)
                continue
            key = self._string(mark) if mark in _REST else self._take(_BARE_KEY)
            if self._next() != ":":
                raise ValueError("a key without a value")
            self._at += 1
            pairs[key] = self.value(depth + 1)
        self._at += 1
        return pairs

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        self._at += 1
        while (mark := self._next()) not in ("]", ""):
            if mark in ",}":
                self._at += 1
                continue
            items.append(self.value(depth + 1))
        self._at += 1
        return items

    def _string(self, quote: str) -> str:
        self._at += 1
        raw = self._take(_REST[quote])
        self._at += 1
        try:
            text: str = json.loads(f'"{_UNESCAPED.sub(_escaped, raw)}"', strict=False)
        except ValueError:
            return raw  # its escapes are none
        return text

    def _next(self) -> str:
        """Go to what is no white space, and return it; empty at the end."""
        self._take(_SPACE)
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        taken = found[0] if found else ""
        self._at += len(taken)
        return taken


def _escaped(quote: re.Match[str]) -> str:
    return f'{quote[1]}\\"'


def _word(text: str) -> Any:
    """Return what a text without quotes stands for."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        is_whole = text.lstrip("-").isdigit()
        return int(text) if is_whole else finite(text)
    return text
