"""Values that a caller sent, held to what JSON can say; refused with where they lie."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

from pyodide_app.errors import RequestError
from pyodide_app.gguf.shallow import shallow

MAX_DEPTH = 100  # of values within values; no tool has ever needed ten
LEVELS = 2 * MAX_DEPTH  # of JSON, some of which is around the values
_MAX_BITS = 13_000  # of an integer: what Python writes as text by default

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel = 2


def refuse(where: str, found: object, expected: str) -> NoReturn:
    """Raise RequestError for what lies there."""
    raise RequestError(_brief(where), found=shown(found), expected=expected)


def shown(value: object) -> str:
    """Return a value in few words, whatever it is."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    try:
        return ascii(_short.repr(value))[1:-1][:80]
    except Exception:  # an object can fail in any way to say what it is
        return type(value).__name__


def text_of(value: object, where: str, expected: str = "a text") -> str:
    """Return a text; none is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(where, value, expected)
    return value


def list_of(value: object, where: str, expected: str) -> list[Any]:
    """Return a list; none is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        refuse(where, value, expected)
    return list(value)


def texts_of(value: object, where: str) -> list[str]:
    """Return a list of texts; none is an empty one."""
    expected = "a list of texts"
    items = list_of(value, where, expected)
    for i, item in enumerate(items):
        if not isinstance(item, str):
            refuse(f"{where}[{i}]", item, "a text")
    return items


def object_of(value: object, where: str, expected: str = "an object") -> dict[str, Any]:
    """Return an object whose keys are texts."""
    if not isinstance(value, Mapping):
        refuse(where, value, expected)
    for key in value:
        if not isinstance(key, str):
            refuse(f"a key of {where}", key, "a text")
    return dict(value)


def read_json(text: str, strict: bool = False) -> Any:
    """Read JSON that a model wrote into what JSON can say. Raises: ValueError.

    NaN is null, and a number beyond all others the text of it. Without `strict` a text
    may hold the ends of lines.
    """
    value = json.loads(
        shallow(text, LEVELS),
        strict=strict,
        parse_constant=lambda _: None,
        parse_float=finite,
    )
    try:
        return json_of(value, "")
    except RequestError as error:
        raise ValueError(str(error)) from error


def finite(text: str) -> float | str:
    """Return the number that a text is, or the text where JSON cannot say that."""
    value = float(text)
    return value if math.isfinite(value) else text


def json_of(value: object, where: str, depth: int = 0) -> Any:
    """Return a value that JSON can say, as lists, objects and scalars."""
    if depth > MAX_DEPTH:
        too_deep(where)
    if isinstance(value, Mapping):
        pairs = object_of(value, where)
        return {k: json_of(v, f"{where}.{k}", depth + 1) for k, v in pairs.items()}
    if isinstance(value, list | tuple):
        return [json_of(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        refuse(where, value, "a number that is finite")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        refuse(where, value, f"an integer of at most {_MAX_BITS} bits")
    if value is not None and not isinstance(value, str | int | float):
        refuse(where, value, "what JSON can say")
    return value


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, as chat templates write it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def too_deep(where: str) -> NoReturn:
    """Raise RequestError for values that are nested too deeply."""
    raise RequestError(
        _brief(where),
        found=f"a value within more than {MAX_DEPTH} others",
        expected="fewer levels",
    )


def _brief(where: str) -> str:
    """Return a path that people can read: its keys may be of any length."""
    where = ascii(where)[1:-1]
    return where if len(where) <= 160 else f"{where[:100]}...{where[-50:]}"
