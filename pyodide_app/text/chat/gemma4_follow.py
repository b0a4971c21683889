"""Whether a string or a value of a tool call ends here: by what follows it.

The notation has no escapes, and models write its delimiters within strings, leave
quotes away and forget brackets. So what may be an end is one only if the call goes on
after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.gemma4_markers import CALL_ENDS
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.incremental import after_space

LOOK = 300  # characters that are looked at: the longest key, and white space
ENDS = Finder(CALL_ENDS)

_QUOTED_KEY = {
    "": "(?!)",
    **{
        quote: r"{0}(?:(?!{0})[^\n]){{0,100}}{0}".format(re.escape(quote))
        for quote in (QUOTE, '"', "'")
    },
}
_ANY_QUOTED_KEY = f"(?:{'|'.join(_QUOTED_KEY.values())})"
_WORD = r"[\w.$-]+"
_NAME = r"[^\W\d][\w.$-]*"  # text may hold a time, or what else begins with digits
_NO_ADDRESS = r"(?:[^/\\]|/[^/])"  # after a colon: nor a path of Windows
_ELEMENT = re.compile(
    rf"""[,;]\s*(?:{re.escape(QUOTE)}|["'{{\[\]]|[\w.+-]+\s*[,;\]])""",
)
_NEXT_CALL = re.compile(r"[\s,;)\]}]*call:")
_LEFT_OVER = re.compile(r"[\s,;)\]}]*")


@lru_cache(maxsize=64)
def _pair(key: str, colon: str, closer: str) -> re.Pattern[str]:
    """Return what finds the next pair of an object, or a comma too many at its end."""
    return re.compile(rf"[,;]\s*(?:{key})\s*{colon}|,\s*{re.escape(closer)}")


@dataclass(slots=True)
class Open:
    """A bracket that is open: what closes it, and how what is in it is written."""

    closer: str
    known: Iterable[str] = ()  # keys
    quote: str = ""  # of the key that is being read
    colon: str = ""  # or an equals sign: as the first pair has it
    comma: str = ""  # or a semicolon: as the first pair is followed by
    _known: str = field(default="", init=False)

    @property
    def commas(self) -> tuple[str, ...]:
        """Return what may stand between its pairs or elements."""
        return (",",) if self.comma == "," else (",", ";")

    @property
    def colons(self) -> tuple[str, ...]:
        """Return what may stand between a key and its value."""
        return (self.colon,) if self.colon else (":", "=")

    def goes_on(self, text: str, at: int) -> bool:
        """Say whether a comma begins a further pair or element, after a string."""
        if text[at] not in self.commas:
            return False
        if self.closer == "]":
            return _ELEMENT.match(text, at) is not None
        key = f"{_WORD}|{_QUOTED_KEY[self.quote]}"
        if text[at] == ";" and self.known:  # code within a string is full of them
            key = self._known_keys()
        return _pair(key, self.colon, self.closer).match(text, at) is not None

    def goes_on_plainly(self, text: str, simple: bool, ended: bool) -> bool:
        """Say the same after a value without quotes.

        Text may hold anything, so of an object only keys that are known end it, unless
        none is. A number or word (`simple`) ends at any.
        """
        if text[0] not in self.commas:
            return False
        if self.closer == "]":
            return True
        if simple:
            pair = _pair(f"{_WORD}|{_ANY_QUOTED_KEY}", self.colon, self.closer)
            return bool(pair.match(text)) or string_may_end(text[1:], ended, [self])
        if self.known:
            pair = _pair(self._known_keys(), self.colon, self.closer)
        elif self.colon == ":":
            key = rf"{_NAME}\s*:{_NO_ADDRESS}|{_ANY_QUOTED_KEY}\s*:"
            pair = _pair(key, "", self.closer)
        else:
            pair = _pair(f"{_NAME}|{_ANY_QUOTED_KEY}", self.colon, self.closer)
        return pair.match(text) is not None

    def _known_keys(self) -> str:
        if not self._known:
            quotes = r"""(?:<\|"\|>|["'])?"""
            names = "|".join(map(re.escape, self.known))
            self._known = f"{quotes}(?:{names}){quotes}"
        return self._known


def string_ends(window: str, ended: bool, quote: str, brackets: list[Open]) -> bool:
    """Say whether the call goes on soundly after a string's closing quote.

    `window` is what follows the quote, all there is of it if `ended`. True holds
    whatever comes after the window; False may become True with more text.
    """
    at = after_space(window)
    if quote != QUOTE and window.startswith(QUOTE, at):
        at = after_space(window, at + len(QUOTE))  # the model closes it twice
    remaining = len(brackets)
    while True:
        if at == len(window):
            return ended
        if ENDS.match(window, at):
            return True
        if not remaining:
            left = _LEFT_OVER.match(window, at)
            at = left.end() if left else at
            is_end = ended and at == len(window)
            return is_end or bool(ENDS.match(window, at) or _next_call(window))
        bracket = brackets[remaining - 1]
        if window[at] in ",;":
            return bracket.goes_on(window, at)
        if window[at] != bracket.closer:
            return False
        at = after_space(window, at + 1)
        remaining -= 1


def _next_call(window: str) -> bool:
    return _NEXT_CALL.match(window) is not None


def string_may_end(window: str, ended: bool, brackets: list[Open]) -> bool:
    """Say whether a string can end before this at all, however unsound the rest is."""
    rest = window.lstrip()
    ends = ["}", "]", *brackets[-1].commas, *(bracket.closer for bracket in brackets)]
    return (ended and not rest) or rest.startswith((*ends, *CALL_ENDS))
