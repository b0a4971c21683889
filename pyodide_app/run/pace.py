"""The pace of decoding: how many tokens to queue on the GPU, by how long they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MOST = 16  # tokens of one submit
WORK_SECONDS = 0.05  # of queued work, which is done in vain after a stop


class Pace(Protocol):
    """Says how much to submit."""

    def next_batch(self, n_queued: int) -> int:
        """Return how many tokens to submit behind those queued; 0 is to wait."""

    def learn(self, seconds: float, n_queued: int) -> None:
        """Learn that a submit was answered so many seconds after it was made.

        Its own tokens are among the `n_queued` that the GPU had to do by then.
        """


@dataclass(frozen=True, slots=True)
class Fixed:
    """Two submits of always as many tokens: for tests and measurements."""

    n_tokens: int

    def next_batch(self, n_queued: int) -> int:
        """Return the number of tokens, twice."""
        return self.n_tokens if n_queued <= self.n_tokens else 0

    def learn(self, seconds: float, n_queued: int) -> None:
        """Learn nothing."""


class Single:
    """One token at a time, where the host must see it before the next can run."""

    def next_batch(self, n_queued: int) -> int:
        """Return 1 if nothing is queued."""
        return 0 if n_queued else 1

    def learn(self, seconds: float, n_queued: int) -> None:
        """Learn nothing."""


class Adaptive:
    """As many tokens as the GPU does in the time that a stop may take.

    What is queued cannot be taken back, so it is bounded: by one token, or by what fits
    in WORK_SECONDS and the time of an answer. That answer takes a millisecond where the
    browser is told that work is done, and a tenth of a second where it looks on a tick:
    there, more has to be queued for the GPU to have work until the next look. Queued
    are two submits, so that one is computed while the other is read back.
    """

    def __init__(self, latency: float = 0.0) -> None:
        """Begin with one token; `latency` is how long an idle GPU takes to answer."""
        self._latency = latency  # seconds; the least seen
        self._token: float | None = None  # seconds of work; an average, the last count
        self._room = 1  # tokens to be queued at most: 1, or an even number

    def next_batch(self, n_queued: int) -> int:
        """Return half of what may be queued, if it still may."""
        half = max(1, self._room // 2)
        return half if n_queued + half <= self._room else 0

    def learn(self, seconds: float, n_queued: int) -> None:
        """Count the answer's own time out, and at most double what may be queued."""
        self._latency = min(self._latency, seconds)
        token = (seconds - self._latency) / n_queued
        self._token = token if self._token is None else (self._token + token) / 2
        most = max(self._room, 2 * n_queued)
        seconds = max(WORK_SECONDS, self._latency)
        if self._token * most > seconds:
            most = int(seconds / self._token)
        self._room = max(1, min(most, 2 * MOST) // 2 * 2)
