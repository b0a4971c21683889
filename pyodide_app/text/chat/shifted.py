"""Text from outside as characters of private use, one for one, so that it stays known.

A template is a program of a stranger that puts texts together.
What came from outside must be told apart in what it gives, wherever it was cut, trimmed
or joined: so each of its characters is another one there, 983,040 further on, in the
two planes that Unicode leaves to private use. Characters that are there already cannot
be told, and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.text.chat import Fragment, Segment

FIRST = 0xF0000  # of the two planes
_PLACES = 0x20000  # characters in them

_SHIFTED = re.compile(f"[{chr(FIRST)}-{chr(FIRST + _PLACES - 1)}]+")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Object(dict[str, Any]):
    """An object from outside: a key that is no plain word is shifted, too."""

    def __missing__(self, key: str) -> Any:
        shifted = shift(plain(key)) if isinstance(key, str) else key
        if not dict.__contains__(self, shifted):
            raise KeyError(key)
        return dict.__getitem__(self, shifted)

    def __contains__(self, key: object) -> bool:
        known = dict.__contains__
        return known(self, key) or (
            isinstance(key, str) and known(self, shift(plain(key)))
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, however that is written."""
        return self[key] if key in self else default


def shift(text: str) -> str:
    """Return text from outside as it goes into a template.

    Raises: RequestError for a character that would not be known again.
    """
    if found := _SHIFTED.search(text):
        raise RequestError(
            "this model's chat template cannot be given every character",
            found=f"U+{ord(found[0][0]):X}",
            expected="no character of the planes of private use",
            remedy="Leave the character out.",
        )
    # Beyond the second plane no token has a character that matters.
    return "".join(chr(ord(c) + FIRST) if ord(c) < _PLACES else c for c in text)


def plain(text: str) -> str:
    """Return the text that a text stands for, wherever it came from."""
    return _SHIFTED.sub(lambda run: _unshift(run[0]), text)


def _unshift(run: str) -> str:
    return "".join(chr(ord(c) - FIRST) for c in run)


def is_shifted(text: str) -> bool:
    """Say whether any of a text is from outside."""
    return _SHIFTED.search(text) is not None


def outside_value(value: Any) -> Any:
    """Return a value of JSON whose texts are shifted."""
    if isinstance(value, str):
        return shift(value)
    if isinstance(value, list):
        return [outside_value(item) for item in value]
    if isinstance(value, Mapping):
        return Object({outside_key(k): outside_value(v) for k, v in value.items()})
    return value


def outside_key(key: str) -> str:
    """Return a key; one that is a word spells no token, and templates ask for it."""
    return key if _PLAIN_KEY.fullmatch(key) else shift(key)


def plain_value(value: Any) -> Any:
    """Return a value of lists, objects and scalars with the texts that are meant."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {plain_value(k): plain_value(v) for k, v in value.items()}
    return value


def segments(text: str) -> Fragment:
    """Return what a template gave as pieces of ours and from outside."""
    return list(_segments(text))


def _segments(text: str) -> Iterator[Segment]:
    at = 0
    for run in _SHIFTED.finditer(text):
        yield Segment(text[at : run.start()], trusted=True)
        yield Segment(_unshift(run[0]), trusted=False)
        at = run.end()
    yield Segment(text[at:], trusted=True)
