"""The calls of tools in a Gemma 4 reply, read as they arrive into JSON values.

A tolerant recursive descent: models close too little, quote as JSON, as Python or not
at all, call as Python does, and write markers within strings. Nothing is read twice,
but for one string per reply that is never closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pyodide_app.text.chat import ToolCall
from pyodide_app.text.chat.gemma4_follow import ENDS, LOOK, Open
from pyodide_app.text.chat.gemma4_strings import StringReader
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.gemma4_values import is_simple, plain_value
from pyodide_app.text.chat.incremental import Reading, Source
from pyodide_app.text.chat.json_calls import calls_of
from pyodide_app.text.chat.json_values import MAX_DEPTH
from pyodide_app.text.chat.messages import check_tools
from pyodide_app.text.chat.schemas import element_of, properties_of, wants_text

_NAME = r"""[^\s{}\[\]()<>"',;]+"""
_LEAD = r"[\s\[\]}),;]*"
_HEAD = re.compile(
    rf"{_LEAD}(?P<call>call:|:)?[ \t]*(?P<name>{_NAME})\s*"
    r"(?:\(?\s*(?={)|(?=\(\s*(?:(?P<pair>\w+\s*=)|\w*\s*[^\s\w={]|\w+\s+\w)))"
)
_HEAD_BEGUN = re.compile(rf"{_LEAD}(?:call:|:)?[ \t]*(?:{_NAME}\s*(?:\(\s*\w*\s*)?)?")
_WHOLE = re.compile(rf"{_LEAD}(?={{)")  # the call itself as one JSON object
_SIMPLE = 40  # characters; no number or word that matters is longer
_LEFT_OVER = " \t\r\n[]{}(),;"
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
_PLAIN_STOP = re.compile(r"[,;{}\[\]()<]")
_KEY_STOP = re.compile(r"[:={}\[\](),;<]")


class MalformedCallError(ValueError):
    """The text is no tool call, however kindly it is read."""


class CallReader:
    """Reads calls from the front of a source."""

    def __init__(self, source: Source, tools: object = ()) -> None:
        self._source = source
        functions = [tool["function"] for tool in check_tools(tools)]
        self._schemas = {f["name"]: f.get("parameters") for f in functions}
        self._open: list[Open] = []
        self._strings = StringReader(source)

    @property
    def names(self) -> list[str]:
        """Return the names of the tools that are known."""
        return list(self._schemas)

    def at_call(self) -> Reading[bool]:
        """Say whether a call begins here, as far as its brace."""
        while True:
            window = self._source.peek(LOOK)
            if head := _HEAD.match(window):
                is_known = head["name"] in self._schemas
                return bool(head["call"] or head["pair"]) or is_known
            if _WHOLE.match(window):
                return True
            begun = _HEAD_BEGUN.fullmatch(window)
            if not begun or len(window) == LOOK or self._source.ended:
                return False
            yield

    def leave(self) -> Reading[None]:
        """Read what is left of an envelope: brackets and commas before its end."""
        while True:
            window = self._source.peek(LOOK)
            end = len(window) - len(window.lstrip(_LEFT_OVER))
            marker = window[end : end + ENDS.longest]
            if ENDS.match(marker) or (self._source.ended and not marker):
                self._source.skip(end)
                return
            if self._source.ended or not ENDS.is_beginning(marker):
                return
            yield

    def call(self) -> Reading[ToolCall]:
        """Read one call. Raises: MalformedCallError."""
        source, name = self._source, ""
        if head := _HEAD.match(source.peek(LOOK)):
            name = head["name"]
            source.skip(head.end())
        elif whole := _WHOLE.match(source.peek(LOOK)):
            source.skip(whole.end())
        self._open = []
        arguments = yield from self._value(self._schemas.get(name))
        return ToolCall(name, arguments) if name else _whole_call(arguments)

    # -- values ----------------------------------------------------------------------

    def _value(self, schema: Any) -> Reading[Any]:
        if len(self._open) > MAX_DEPTH:
            raise MalformedCallError("nested too deeply")
        yield from self._source.skip_space()
        start = self._source.peek(1)
        outermost = not self._open
        opens = "{[(" if outermost else "{[" if not wants_text(schema) else ""
        if start and start in opens:
            self._source.skip(1)
            read = self._array if start == "[" else self._object
            return (yield from self._bracketed(read, _BRACKETS[start], schema))
        if quote := (yield from self._strings.quote()):
            return (yield from self._strings.string(quote, self._open, False))
        return (yield from self._plain(schema))

    def _bracketed(
        self, read: Callable[[Any], Reading[Any]], closer: str, schema: Any
    ) -> Reading[Any]:
        known = () if closer == "]" else properties_of(schema)
        self._open.append(Open(closer, tuple(known)))
        value = yield from read(schema)
        self._open.pop()
        return value

    def _object(self, schema: Any) -> Reading[dict[str, Any]]:
        pairs: dict[str, Any] = {}
        properties, closer = properties_of(schema), self._open[-1].closer
        while not (yield from self._closed(closer)):
            key = yield from self._key()
            pairs[key] = yield from self._value(properties.get(key))
            if not (yield from self._comma()):
                yield from self._closed(closer, may_lack=True)
                break
        return pairs

    def _array(self, schema: Any) -> Reading[list[Any]]:
        items: list[Any] = []
        element = element_of(schema)
        while not (yield from self._closed("]")):
            items.append((yield from self._value(element)))
            if not (yield from self._comma()):
                yield from self._closed("]", may_lack=True)
                break
        return items

    def _closed(self, closer: str, may_lack: bool = False) -> Reading[bool]:
        """Read the closing bracket, if it is here; after a value it may be missing."""
        yield from self._source.skip_space()
        found = self._source.peek(1)
        if found == closer:
            self._source.skip(1)
            return True
        if not may_lack and (found in ("}", "]", ")") or (yield from self._at_end())):
            raise MalformedCallError(f"something was to come, or a {closer}")
        return False

    def _comma(self) -> Reading[bool]:
        yield from self._source.skip_space()
        mark, bracket = self._source.peek(1), self._open[-1]
        if mark in (",", ";"):
            bracket.comma = bracket.comma or mark
            self._source.skip(1)
            return True
        at_end = yield from self._at_end()
        if at_end or mark in ("}", "]", bracket.closer):
            return False
        raise MalformedCallError("no comma between values")

    def _at_end(self) -> Reading[bool]:
        """Say whether the call is over here: by a marker, or for want of more text."""
        while True:
            window = self._source.peek(ENDS.longest)
            if ENDS.match(window):
                return True
            if self._source.ended or not ENDS.is_beginning(window):
                return not window
            yield

    # -- keys --------------------------------------------------------------------------

    def _key(self) -> Reading[str]:
        yield from self._source.skip_space()
        bracket = self._open[-1]
        bracket.quote = quote = yield from self._strings.quote()
        if quote:
            key = yield from self._strings.string(quote, self._open, True)
        else:
            key = (yield from self._until(_KEY_STOP)).strip()
        yield from self._source.skip_space()
        colon = self._source.peek(1)
        if not (key or quote) or colon not in bracket.colons:
            raise MalformedCallError("no key and colon")
        bracket.colon = colon
        self._source.skip(1)
        return key

    def _until(self, stop: re.Pattern[str]) -> Reading[str]:
        parts = []
        while True:
            found = stop.search(self._source.text, self._source.at)
            parts.append(
                self._source.take(found.start() if found else len(self._source.text))
            )
            if found or self._source.ended:
                return "".join(parts)
            yield

    # -- what has no quotes ------------------------------------------------------------

    def _plain(self, schema: Any) -> Reading[Any]:
        """Read a number, a word, or text that lacks its quotes."""
        source, parts, depth, begin = self._source, list[str](), 0, ""
        # In an array a comma is no part of text, but for that of a tuple.
        closers = [bracket.closer for bracket in self._open]
        has_tuples = closers[-1] == "]" or ")" in closers
        opening, closing = ("{[(", "}])") if has_tuples else ("{[", "}]")
        while True:
            found = _PLAIN_STOP.search(source.text, source.at)
            parts.append(source.take(found.start() if found else len(source.text)))
            begin += parts[-1] if len(begin) < _SIMPLE else ""
            if found is None and not source.ended:
                yield
                continue
            if found is None or (yield from self._plain_ends(begin, depth)):
                break
            opens, closes = found[0] in opening, found[0] in closing
            depth += opens - (closes and depth > 0)
            parts.append(source.take(source.at + 1))
            begin += found[0] if len(begin) < _SIMPLE else ""
        text = "".join(parts).strip().removesuffix(QUOTE).rstrip()
        if not text:
            raise MalformedCallError("no value")
        return plain_value(text.replace(QUOTE, '"'), schema)

    def _plain_ends(self, begin: str, depth: int) -> Reading[bool]:
        """Say whether a value without quotes ends before the next character."""
        mark = self._source.peek(1)
        if mark == "<":
            return (yield from self._at_end())
        if depth or mark in "{[(":
            return False
        if mark in "}])":
            return any(bracket.closer == mark for bracket in self._open)
        simple = len(begin) < _SIMPLE and is_simple(begin.strip())
        while True:
            window = self._source.peek(LOOK)
            if self._open[-1].goes_on_plainly(window, simple, self._source.ended):
                return True
            if self._source.ended or len(window) == LOOK:
                return False
            yield


def _whole_call(content: Any) -> ToolCall:
    """Return the call that is written as one JSON object. Raises MalformedCallError."""
    try:
        (call,) = calls_of(content)
    except ValueError as error:
        raise MalformedCallError(str(error)) from error
    return call
