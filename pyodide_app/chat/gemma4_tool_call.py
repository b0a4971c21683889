"""The text of a Gemma 4 tool call, parsed into JSON values, with careful repairs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pyodide_app.chat import Tool, ToolCall
from pyodide_app.chat.gemma4_tools import QUOTE, function_of

MAX_DEPTH = 100  # of nested values; real calls have three or four

SPACE = re.compile(r"\s*")
KEY = re.compile(r'[^\s:{}\[\],"]+')
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
QUOTED = rf"{re.escape(QUOTE)}.*?(?:{re.escape(QUOTE)}|\Z)"
SINGLE_QUOTED = re.compile(
    rf"""(?P<kept>{QUOTED}|{STRING.pattern})
    |(?P<colon>:\s*)'(?P<text>(?:[^'\\]|\\.)*)'(?:{re.escape(QUOTE)})?""",
    re.DOTALL | re.VERBOSE,
)
STRUCTURED = re.compile(rf"""{re.escape(QUOTE)}|['"{{\[\-0-9tfn]""")
LITERALS = {"true": True, "false": False, "null": None}


class MalformedCallError(ValueError):
    """The text is no tool call in Gemma 4's notation."""


def parse_tool_call(text: str, tools: Iterable[Tool] = ()) -> ToolCall | None:
    """Parse what stands between the tool-call tags, `call:NAME{…}`.

    Repairs are tried only after the strict reading has failed; the schemas in `tools`
    allow one more. Returns None if nothing helps.
    """
    head, brace, body = text.strip().partition("{")
    name = head.removeprefix("call:").strip()
    if not head.startswith("call:") or not brace or not name:
        return None
    for candidate in _candidates(brace + body, _properties(name, tools)):
        try:
            return ToolCall(name, _Reader(candidate).read_arguments())
        except MalformedCallError:
            continue
    return None


class _Reader:
    """A recursive-descent reader of arguments."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read_arguments(self) -> dict[str, Any]:
        """Read one object that fills the whole text."""
        self._space()
        if not self._text.startswith("{", self._at):
            raise MalformedCallError(f"no object at {self._at}")
        arguments: dict[str, Any] = self._value(0)
        self._space()
        if self._at != len(self._text):
            raise MalformedCallError(f"text after the object at {self._at}")
        return arguments

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise MalformedCallError("nested too deeply")
        if self._skip(QUOTE):
            return self._quoted()
        if self._skip("{"):
            return dict(self._items("}", self._pair, depth))
        if self._skip("["):
            return list(self._items("]", self._value, depth))
        if self._text.startswith('"', self._at):
            return self._json(STRING)
        for word, literal in LITERALS.items():
            if self._skip(word):
                return literal
        return self._json(NUMBER)

    def _items(
        self, close: str, read: Callable[[int], Any], depth: int
    ) -> Iterator[Any]:
        """Read comma-separated items up to the closing bracket."""
        self._space()
        if self._skip(close):
            return
        while True:
            self._space()
            yield read(depth + 1)
            self._space()
            if self._skip(close):
                return
            self._expect(",")

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._key()
        self._space()
        self._expect(":")
        self._space()
        return key, self._value(depth)

    def _key(self) -> str:
        if self._skip(QUOTE):
            return self._quoted()
        if self._text.startswith('"', self._at):
            return str(self._json(STRING))
        return self._match(KEY)

    def _quoted(self) -> str:
        """Read raw text up to the closing quote; there are no escapes."""
        end = self._text.find(QUOTE, self._at)
        if end < 0:
            raise MalformedCallError(f"string at {self._at} is not closed")
        text = self._text[self._at : end]
        self._at = end + len(QUOTE)
        return text

    def _json(self, pattern: re.Pattern[str]) -> Any:
        """Read a JSON string or number."""
        text = self._match(pattern)
        try:
            value = json.loads(text, strict=False)
        except ValueError as error:  # a bad escape, or a number of thousands of digits
            raise MalformedCallError(str(error)) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise MalformedCallError(f"number {text} is too large")
        return value

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise MalformedCallError(f"nothing readable at {self._at}")
        self._at = match.end()
        return match[0]

    def _space(self) -> None:
        self._match(SPACE)

    def _skip(self, token: str) -> bool:
        found = self._text.startswith(token, self._at)
        self._at += len(token) if found else 0
        return found

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise MalformedCallError(f"no {token} at {self._at}")


def _candidates(text: str, properties: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arguments as they are, then repaired, then with raw text quoted."""
    yield text
    repaired = _repair(text)
    if repaired != text:
        yield _close_object(repaired)
    quoted = _quote_raw_values(text, properties)
    if quoted != text:
        yield _close_object(_repair(quoted))


def _repair(text: str) -> str:
    """Quote what is in single quotes, and close a string that is left open."""
    text = SINGLE_QUOTED.sub(_requote, text)
    if text.count(QUOTE) % 2 == 0:
        return text
    text = text.rstrip()
    at = len(text) - text.endswith(("}", "]"))
    return text[:at] + QUOTE + text[at:]


def _requote(match: re.Match[str]) -> str:
    if match["kept"] is not None:
        return match["kept"]
    return f"{match['colon']}{QUOTE}{match['text']}{QUOTE}"


def _close_object(text: str) -> str:
    text = text.rstrip()
    return text if text.endswith("}") else text + "}"


def _properties(name: str, tools: Iterable[Tool]) -> Mapping[str, Any]:
    """Return the schemas of a tool's arguments, or nothing if it is not known."""
    for tool in tools:
        function = function_of(tool)
        if function["name"] == name:
            properties = (function.get("parameters") or {}).get("properties")
            return properties if isinstance(properties, Mapping) else {}
    return {}


def _quote_raw_values(text: str, properties: Mapping[str, Any]) -> str:
    """Quote raw text where the schema wants a string.

    Such a value reaches to the next known key or the last brace. Without a schema this
    would be guessing: raw text can hold anything.
    """
    known = "|".join(map(re.escape, properties))
    next_key = re.compile(rf",\s*(?:{known})\s*:")
    for key, schema in properties.items():
        start = _raw_value_start(text, key) if _accepts_string(schema) else None
        if start is not None:
            following = next_key.search(text, start)
            end = following.start() if following else _last_brace(text, start)
            text = f"{text[:start]}{QUOTE}{text[start:end]}{QUOTE}{text[end:]}"
    return text


def _raw_value_start(text: str, key: str) -> int | None:
    """Return where the raw value of a key begins, if it has one."""
    pattern = re.compile(
        rf"{QUOTED}|{STRING.pattern}|[{{,]\s*{re.escape(key)}\s*:\s*()", re.DOTALL
    )
    starts = (match.start(1) for match in pattern.finditer(text))
    found = (at for at in starts if at >= 0 and not STRUCTURED.match(text, at))
    return next(found, None)


def _last_brace(text: str, start: int) -> int:
    """Return the position of the closing brace of the arguments, or of the end."""
    end = len(text.rstrip())
    return end - 1 if end > start and text[end - 1] == "}" else end


def _accepts_string(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in [str(kind).lower() for kind in kinds]:
        return True
    return any(map(_accepts_string, schema.get("anyOf") or ()))
