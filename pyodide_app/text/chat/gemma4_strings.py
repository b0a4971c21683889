"""The quoted strings of a Gemma 4 tool call: which quote closes one, what it holds."""

from __future__ import annotations

import re

from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.gemma4_follow import LOOK, Open, string_ends, string_may_end
from pyodide_app.text.chat.gemma4_markers import CALL_CLOSE
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.gemma4_values import unescape
from pyodide_app.text.chat.incremental import Reading, Source, take_any

_STOPS = rf"{re.escape(QUOTE)}|{re.escape(CALL_CLOSE)}"
_STOP = {
    QUOTE: re.compile(_STOPS),
    '"': re.compile(rf'{_STOPS}|"|\\'),
    "'": re.compile(rf"{_STOPS}|'|\\"),
}
_DELIMITER = Finder((QUOTE,))
_MARKS = Finder((QUOTE, CALL_CLOSE))


class StringReader:
    """Reads strings from the front of a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hasty = False  # after a string that nothing closed: take the first end

    def quote(self) -> Reading[str]:
        """Read an opening quote, if there is one."""
        while True:
            window = self._source.peek(len(QUOTE))
            for quote in _STOP:
                if window.startswith(quote):
                    self._source.skip(len(quote))
                    return quote
            if self._source.ended or not QUOTE.startswith(window):
                return ""
            yield

    def string(self, quote: str, brackets: list[Open], is_key: bool) -> Reading[str]:
        """Read up to the quote after which the call goes on; others are text."""
        source, parts, retreat = self._source, list[str](), -1
        while found := (yield from self._stop(quote, parts)):
            if found == CALL_CLOSE and self._hasty:
                return _cut(quote, "".join(parts), brackets)
            if found == "\\":
                while source.n_left < 2 and not source.ended:
                    yield
                parts.append(source.take(source.at + 2))
                continue
            if found != CALL_CLOSE and (
                yield from self._closes(found, brackets, is_key)
            ):
                source.skip(len(found))
                if quote != QUOTE:  # the model at times adds the delimiter
                    yield from source.skip_space()
                    yield from take_any(source, _DELIMITER)
                return unescape("".join(parts), quote)
            if retreat < 0 and self._may_close(found, brackets):
                retreat = len(parts)
            parts.append(source.take(source.at + len(found)))
        return self._unclosed(quote, parts, retreat, brackets)

    def _stop(self, quote: str, parts: list[str]) -> Reading[str]:
        """Read text up to what may end a string, and return that; empty at the end."""
        source = self._source
        while True:
            # A delimiter that is cut in two has a plain quote in it.
            end = _MARKS.certain(source.text, source.at)
            end = len(source.text) if source.ended else end
            if found := _STOP[quote].search(source.text, source.at, end):
                parts.append(source.take(found.start()))
                return found[0]
            parts.append(source.take(end))
            if source.ended:
                return ""
            yield

    def _closes(self, quote: str, brackets: list[Open], is_key: bool) -> Reading[bool]:
        """Look as far as needed to say whether a quote is the closing one."""
        while True:
            window = self._source.peek(len(quote) + LOOK)[len(quote) :]
            ended = self._source.ended
            if is_key:
                closes = window.lstrip().startswith(brackets[-1].colons)
            elif self._hasty:
                closes = string_may_end(window, ended, brackets)
            else:
                closes = string_ends(window, ended, quote, brackets)
            if closes or ended or len(window) == LOOK:
                return closes
            yield

    def _may_close(self, found: str, brackets: list[Open]) -> bool:
        after, ended = self._source.peek(len(found) + LOOK), self._source.ended
        may_end = string_may_end(after[len(found) :], ended, brackets)
        return found == CALL_CLOSE or may_end

    def _unclosed(
        self, quote: str, parts: list[str], retreat: int, brackets: list[Open]
    ) -> str:
        """End a string that nothing closes: at the first place that could have."""
        self._hasty = True
        if retreat < 0:
            return _cut(quote, "".join(parts), brackets)
        text = "".join(parts[:retreat])
        self._source.put_back("".join(parts[retreat:]))
        if parts[retreat] == CALL_CLOSE:
            return _cut(quote, text, brackets)
        self._source.skip(len(parts[retreat]))
        return unescape(text, quote)


def _cut(quote: str, text: str, brackets: list[Open]) -> str:
    """Take from a string's end the brackets that it has swallowed."""
    text = text.rstrip()
    for bracket in brackets:
        if not text.endswith(bracket.closer):
            break
        text = text[:-1].rstrip()
    return unescape(text, quote)
