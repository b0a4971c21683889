"""Calls of tools that a reply writes as JSON or as Python, read as they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyodide_app.text.chat import ToolCall
from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.incremental import Reading, Source, take_any
from pyodide_app.text.chat.json_values import read_json
from pyodide_app.text.chat.loose_json import read
from pyodide_app.text.chat.python_calls import calls_of_python
from pyodide_app.text.chat.tagged_calls import TaggedReader

_LOOK = 200  # characters: of a name before its arguments, and of what is between
# A name that stands before its arguments, with or without markers between them.
_HEAD = re.compile(
    r"\s*(?P<name>[\w.-]{1,100})\s*"
    r"(?:(?:\[CALL_ID\]\s*[\w-]*\s*)?(?:\[ARGS\])?\s*(?=\{)|(?=\())"
)
_HEAD_BEGUN = re.compile(r"\s*(?:[\w.-]+\s*(?:\[.*)?)?", re.DOTALL)
_NEXT = re.compile(r"[\s,;]*(?P<name>[\w.-]{1,100})(?=\()")
_NEXT_BEGUN = re.compile(r"[\s,;]*[\w.-]*")
_BETWEEN = re.compile(r"[\s,;]*(?=[\[{])")
_GAP = re.compile(r"[\s,;]*")
_BRACKETS = {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}
# What counts outside of strings, by the bracket that began: Python has two quotes.
_OUTSIDE = {"{": r'"{}\[\]', "[": r'"{}\[\]', "(": r""""'{}()\[\]"""}
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_NAMES = ("name", "function", "tool", "tool_name")


class CallReader:
    """Reads calls from the front of a source.

    Nothing is read twice, but for one text per reply that is never closed.
    """

    def __init__(
        self,
        source: Source,
        markers: Sequence[str],
        schemas: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Take every marker of the format, and the parameters of each tool by name."""
        self._source = source
        self._names = frozenset(schemas)
        self._tagged = TaggedReader(source, markers, schemas)
        self._markers = Finder(markers)
        quoted = "".join(f"|{re.escape(marker)}" for marker in markers)
        self._outside = {
            begin: re.compile(f"[{marks}]{quoted}") for begin, marks in _OUTSIDE.items()
        }
        self._inside = {
            quote: re.compile(rf"[{quote}\\]{quoted}") for quote in ('"', "'")
        }
        self._trusts_strings = True

    def comes_bare(self) -> Reading[bool]:
        """Say whether what comes may be a call that lacks its marker."""
        source = self._source
        while self._names and not source.n_left and not source.ended:
            yield
        return bool(self._names) and source.peek(1) in ("{", "[") and source.n_left > 0

    def read(self, close: Finder, *, needs_tool: bool) -> Reading[list[ToolCall]]:
        """Read what follows an opening marker: calls, up to the closing one.

        None are returned where it is no call; `needs_tool` takes those alone whose
        tools are known. Only what belongs to calls is read then, and all else if there
        is none.
        """
        source = self._source
        calls = [] if needs_tool else (yield from self._tagged.read())
        name = ""
        if not (needs_tool or calls):
            name = yield from self._name(_HEAD, _HEAD_BEGUN)
        while (is_python := bool(name) and source.peek(1) == "(") or (
            yield from self._bracket_comes()
        ):
            text = yield from self._balanced()
            found = _calls_in(text, name)
            is_known = all(call.name in self._names for call in found)
            if not found or (needs_tool and not is_known):
                if calls:
                    source.put_back(name + text)
                break
            calls += found
            name = ""
            if is_python:
                name = yield from self._name(_NEXT, _NEXT_BEGUN)
        if calls and close.longest:
            yield from source.skip_space()
            yield from take_any(source, close)
        return calls

    def _name(self, head: re.Pattern[str], begun: re.Pattern[str]) -> Reading[str]:
        """Read a name that stands before its arguments; empty where none does."""
        source = self._source
        while True:
            window = source.peek(_LOOK)
            if found := head.match(window):
                source.skip(found.end())
                return found["name"]
            if source.ended or len(window) == _LOOK or not begun.fullmatch(window):
                return ""
            yield

    def _bracket_comes(self) -> Reading[bool]:
        """Read up to a bracket that opens, if one comes after white space."""
        source = self._source
        while True:
            window = source.peek(_LOOK)
            if found := _BETWEEN.match(window):
                source.skip(found.end())
                return True
            if source.ended or len(window) == _LOOK or not _GAP.fullmatch(window):
                return False
            yield

    def _balanced(self) -> Reading[str]:
        """Read up to the bracket that closes the first one, or to a marker before it.

        A marker within a string belongs to it, if the string is closed at all.
        """
        source, parts = self._source, []
        outside = self._outside[source.peek(1)]
        depth, in_string = 0, ""
        length, cut = 0, -1
        while True:
            pattern = self._inside[in_string] if in_string else outside
            found = pattern.search(source.text, source.at)
            if found is None or (found[0] == "\\" and found.end() == len(source.text)):
                end = found.start() if found else self._certain()
                end = len(source.text) if source.ended else end
                parts.append(source.take(end))
                length += len(parts[-1])
                if not source.ended:
                    yield
                    continue
                break
            mark = found[0]
            if len(mark) > 1:
                if not (in_string and self._trusts_strings):
                    parts.append(source.take(found.start()))
                    return "".join(parts)
                if cut < 0:
                    cut = length + found.start() - source.at
            parts.append(source.take(found.end() + (mark == "\\")))
            length += len(parts[-1])
            if mark in self._inside:
                in_string = "" if in_string else mark
            depth += _BRACKETS.get(mark, 0)
            if mark in _BRACKETS and depth == 0:
                return "".join(parts)
        text = "".join(parts)
        if cut >= 0:  # the string was never closed
            self._trusts_strings = False
            source.put_back(text[cut:])
            text = text[:cut]
        return text

    def _certain(self) -> int:
        return self._markers.certain(self._source.text, self._source.at)


def _calls_in(text: str, name: str) -> list[ToolCall]:
    """Return the calls that a text makes, none where it is something else."""
    try:
        if not text.startswith("("):
            return list(calls_of(read(text), name))
    except ValueError:
        pass
    try:
        return calls_of_python(name + text)
    except ValueError:
        return []


def calls_of(value: Any, name: str = "") -> Iterator[ToolCall]:
    """Yield the calls that a value stands for. Raises: ValueError if it is none."""
    if name:
        yield ToolCall(name, _arguments(value))
        return
    if isinstance(value, list):
        for item in value:
            yield from calls_of(item)
        return
    if not isinstance(value, Mapping):
        raise ValueError("no call")
    inner = value.get("function")
    if isinstance(value.get("tool_calls"), list):
        yield from calls_of(value["tool_calls"])
    elif isinstance(inner, Mapping):
        yield from calls_of(inner)
    else:
        names = (value[key] for key in _NAMES if isinstance(value.get(key), str))
        called = next(names, "").strip()
        if not called:
            raise ValueError("a call without a name")
        arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
        yield ToolCall(called, _arguments(arguments))


def _arguments(value: Any) -> dict[str, Any]:
    """Return arguments as an object; some models write them as JSON within a text."""
    if isinstance(value, str) and value.strip():
        value = read_json(value)
    if value is None or value == "" or value == []:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("arguments that are no object")
    return dict(value)
