"""JSON from outside, held to some depth before Python's own reader recurses in it."""

from __future__ import annotations

import re

_MARKS = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[\[\]{}]', re.DOTALL)  # and strings
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def shallow(text: str, most: int) -> str:
    """Return JSON as it is. Raises: ValueError for more levels in one another.

    Whoever reads, prints or sends it needs as many calls in one another; and where the
    stack of a browser's worker ends, Pyodide ends: no error comes of it.
    """
    if text.count("[") + text.count("{") <= most:
        return text
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += _STEPS.get(mark[0], 0)
        if depth > most:
            raise ValueError(f"more than {most} levels in one another")
    return text
