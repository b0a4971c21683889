"""What templates do with texts, by what these mean, and with what they are kept.

A text may be of ours, from outside (`shifted`), or both. Where it is cut or trimmed
follows from what it means; the pieces stay what they are. What makes new characters
makes them all characters from outside, if any was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyodide_app.text.chat.shifted import is_shifted, plain, plain_value, shift

_ASKS = frozenset(
    "startswith endswith find rfind index rindex count isalnum isalpha isascii "
    "isdecimal isdigit islower isnumeric isspace istitle isupper".split()
)
_CHANGES = frozenset("upper lower capitalize title swapcase casefold".split())
_TRIMS = frozenset("strip lstrip rstrip removeprefix removesuffix".split())


def call(text: str, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return what a method of a text gives. Raises: LookupError for one without rules.

    What may be longer than the text has to be checked before: `replace` and `join`.
    """
    meaning = plain(text)
    meant: list[Any] = plain_value(list(args))
    meant = [tuple(value) if isinstance(value, list) else value for value in meant]
    named = {key: plain_value(value) for key, value in kwargs.items()}
    method: Callable[..., Any] = getattr(meaning, name)
    if name in _ASKS:
        return method(*meant, **named)
    if name in _CHANGES:
        changed: str = method()
        return shift(changed) if is_shifted(text) else changed
    if name in _TRIMS:
        return _trimmed(text, meaning, name, meant)
    if name in ("split", "rsplit"):
        separator = meant[0] if meant else named.get("sep")
        return _pieces(text, meaning, method(*meant, **named), separator)
    if name == "splitlines":
        return _lines(text, meaning)
    if name in ("partition", "rpartition"):
        at = meaning.find(meant[0]) if name == "partition" else meaning.rfind(meant[0])
        end = at + len(meant[0])
        if at < 0:
            return (text, "", "") if name == "partition" else ("", "", text)
        return text[:at], text[at:end], text[end:]
    if name == "replace":
        return _replaced(text, meaning, meant, args[1], named)
    if name == "join":
        return text.join(args[0])
    raise LookupError(name)


def _trimmed(text: str, meaning: str, name: str, args: Sequence[Any]) -> str:
    left: str = getattr(meaning, name)(*args)
    if name in ("lstrip", "removeprefix"):
        return text[len(text) - len(left) :]
    start = len(meaning) - len(meaning.lstrip(*args)) if name == "strip" else 0
    return text[start : start + len(left)]


def _pieces(
    text: str, meaning: str, pieces: Sequence[str], separator: str | None
) -> list[str]:
    found, at = [], 0
    for piece in pieces:
        at = meaning.index(piece, at)
        found.append(text[at : at + len(piece)])
        at += len(piece) + len(separator or "")
    return found


def _lines(text: str, meaning: str) -> list[str]:
    found, at = [], 0
    for line, whole in zip(
        meaning.splitlines(), meaning.splitlines(keepends=True), strict=True
    ):
        found.append(text[at : at + len(line)])
        at += len(whole)
    return found


def _replaced(
    text: str, meaning: str, args: Sequence[Any], new: str, named: dict[str, Any]
) -> str:
    old = args[0]
    if not old:
        raise LookupError("replace")
    most = args[2] if len(args) > 2 else named.get("count", -1)
    return new.join(_pieces(text, meaning, meaning.split(old, most), old))
