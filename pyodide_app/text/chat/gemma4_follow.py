"""Whether a string or a value of a tool call ends here: by what follows it.

The notation has no escapes, and models write its delimiters within strings, leave
quotes away and forget brackets. So what may be an end is one only if the call goes on
after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.gemma4_markers import CALL_ENDS
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.incremental import after_space

LOOK = 300  # characters that are looked at: the longest key, and white space
ENDS = Finder(CALL_ENDS)

_QUOTED_KEY = {
    quote: r"{0}(?:(?!{0})[^\n]){{0,100}}{0}".format(re.escape(quote))
    for quote in (QUOTE, '"', "'")
}
_ELEMENT = re.compile(
    rf""",\s*(?:{re.escape(QUOTE)}|["'{{\[\]]|[\w.+-]+\s*[,\]])""",
)
_NEXT_CALL = re.compile(r"[\s,;)\]}]*call:")
_LEFT_OVER = re.compile(r"[\s,;)\]}]*")
_ANY_QUOTED_KEY = rf"(?:{'|'.join(_QUOTED_KEY.values())})\s*:"
_ANY_KEY = re.compile(rf",\s*(?:[\w.$-]+\s*:|{_ANY_QUOTED_KEY}|\}})")
# After text: an address or a path of Windows is no key.
_PLAIN_KEY = re.compile(rf",\s*(?:[^\W\d][\w.$-]*\s*:(?!//|\\)|{_ANY_QUOTED_KEY}|\}})")


def _key_after_comma(quote: str = "") -> re.Pattern[str]:
    quoted = f"|{_QUOTED_KEY[quote]}" if quote else ""
    return re.compile(rf",\s*(?:(?:[\w.$-]+{quoted})\s*:|\}})")


_KEYS = {quote: _key_after_comma(quote) for quote in ("", *_QUOTED_KEY)}


@dataclass(slots=True)
class Open:
    """A bracket that is open: what closes it, and for an object what its keys are."""

    closer: str
    known: Iterable[str] = ()
    quote: str = ""  # of the key that is being read
    _known: re.Pattern[str] | None = field(default=None, init=False)

    def goes_on(self, text: str, at: int) -> bool:
        """Say whether a comma begins a further pair or element, after a string."""
        pattern = _ELEMENT if self.closer == "]" else _KEYS[self.quote]
        return pattern.match(text, at) is not None

    def goes_on_plainly(self, text: str, simple: bool, ended: bool) -> bool:
        """Say the same after a value without quotes.

        Text may hold anything, so of an object only keys that are known end it, unless
        none is. A number or word (`simple`) ends at any.
        """
        if self.closer == "]":
            return True
        if simple:
            return bool(_ANY_KEY.match(text)) or string_may_end(text[1:], ended)
        if self._known is None:
            quotes = r"""(?:<\|"\|>|["'])?"""
            names = "|".join(map(re.escape, self.known))
            known = rf",\s*{quotes}(?:{names}){quotes}\s*:|,\s*\}}"
            self._known = re.compile(known) if names else _PLAIN_KEY
        return self._known.match(text) is not None


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
        if window[at] == ",":
            return bracket.goes_on(window, at)
        if window[at] != bracket.closer:
            return False
        at = after_space(window, at + 1)
        remaining -= 1


def _next_call(window: str) -> bool:
    return _NEXT_CALL.match(window) is not None


def string_may_end(window: str, ended: bool) -> bool:
    """Say whether a string can end before this at all, however unsound the rest is."""
    rest = window.lstrip()
    return (ended and not rest) or rest.startswith((",", "}", "]", *CALL_ENDS))
