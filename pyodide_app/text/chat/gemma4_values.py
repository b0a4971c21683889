"""What a value of a tool call means: numbers, words and escapes, with schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.json_values import read_json
from pyodide_app.text.chat.python_calls import value_of_python
from pyodide_app.text.chat.schemas import kinds_of, wants_text

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_WORDS: dict[str, bool | None] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    rf"\\(?:u({_HEX}{{4}})|x({_HEX}{{2}})|U(00(?:0{_HEX}|10){_HEX}{{4}})|(.))",
    re.DOTALL,
)
_BOTH = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "\n": ""}
_ESCAPES = {QUOTE: {}, '"': _BOTH | {"b": "\b", "f": "\f", "/": "/"}, "'": _BOTH}


def plain_value(text: str, schema: Any) -> Any:
    """Return what stands without quotes: a number, a word of JSON or Python, or text.

    Where the schema wants a string it is text, whatever it looks like.
    """
    kinds = kinds_of(schema)
    if text in _WORDS and _WORDS[text] is None:
        return None
    if (items := _tuple(text)) is not None and not wants_text(schema):
        return items
    found = _WORDS[text] if text in _WORDS else _number(text)
    if found is None:
        return text
    if "string" in kinds and not kinds & _kinds_of_value(found):
        return text
    return found


def _tuple(text: str) -> list[Any] | None:
    """Return the items of a tuple as Python writes it, None for other text."""
    if not (text.startswith("(") and text.endswith(")")):
        return None
    try:
        found = value_of_python(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def is_simple(text: str) -> bool:
    """Say whether text without quotes is a number, or a word of JSON or Python."""
    return text in _WORDS or _NUMBER.fullmatch(text) is not None


def _number(text: str) -> int | float | None:
    """Return the number that a text is, None for one that JSON cannot carry."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = read_json(text)
    except ValueError:  # thousands of digits
        return None
    return None if isinstance(value, str) else value


def _kinds_of_value(value: float) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    return {"number"} if isinstance(value, float) else {"integer", "number"}


def unescape(text: str, quote: str) -> str:
    """Return a string's text: JSON's or Python's escapes, none between delimiters.

    An escape that is none stays as it is: models write regular expressions.
    """
    escapes = _ESCAPES[quote]
    if escapes:
        text = _ESCAPE.sub(lambda found: _unescaped(found, escapes), text)
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace(QUOTE, '"')


def _unescaped(found: re.Match[str], escapes: Mapping[str, str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else escapes.get(found[4], found[0])
