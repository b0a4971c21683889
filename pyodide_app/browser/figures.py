"""Figures for people, as the page shows them: how fast a reply comes, and what fits.

A browser does not tell how much memory there is. `navigator.deviceMemory` is all it
hints at: GiB of the machine, rounded, and never more than a ceiling.
"""

from __future__ import annotations

import time
from typing import Any

from pyodide_app.load.fit import Fit

_GIB = 2**30
_CEILINGS = (8, 32)  # what the hint ends with: there may be any amount more
_FEW = 2  # tokens behind the first, below which a speed says nothing
_BRIEF = 0.2  # seconds, likewise


class Meter:
    """How fast a reply comes while it does."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None  # tokens, and when they were here

    def rate(self, n_tokens: int, now: float | None = None) -> float:
        """Return the tokens per second with so many here; 0 where it says nothing."""
        now = time.perf_counter() if now is None else now
        if self._first is None:
            self._first = n_tokens, now
        n_first, begin = self._first
        n, seconds = n_tokens - n_first, now - begin
        return n / seconds if n >= _FEW and seconds > _BRIEF else 0.0


def verdict(n_bytes: int, hint: float | None) -> str:
    """Say whether a model of that size fits, as far as a browser can tell."""
    if hint and hint not in _CEILINGS and n_bytes > hint * _GIB:
        return f"It may not fit: the browser tells of about {hint:g} GB."
    return "It fits, as far as a browser can tell."


def described(fit: Fit, hint: float | None) -> dict[str, Any]:
    """Return what a model takes, with the verdict on it."""
    return {**fit.describe(), "verdict": verdict(fit.total_bytes, hint)}


def allowed_memory(hint: float | None, is_software: bool) -> int | None:
    """Return how many bytes an adapter in software may hold, where the browser hints.

    Its buffers are the machine's own memory, and nothing refuses them: 16.8 GB asked of
    SwiftShader on a machine with 23 GB ended the browser's GPU process after a minute.
    The hint is rounded, up too; half of it leaves room for all else.
    """
    if hint is None or not is_software:
        return None
    return int(hint * _GIB / 2)
