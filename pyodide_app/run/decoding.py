"""Decoding: tokens that the GPU samples by itself, queued ahead and read in order."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from time import perf_counter

from pyodide_app.errors import EngineError, FileFormatError, NumberError
from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.graph.kernels_steps import FAULT_SHIFT, STOPPED, TOKEN_MASK
from pyodide_app.graph.plan import Buffer, View
from pyodide_app.run.pace import Pace
from pyodide_app.run.sampling import Fault, find_fault


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token, and whether it is the last: a stop token, or none for a fault."""

    token: int
    is_stop: bool
    fault: Fault = Fault.NONE

    @classmethod
    def from_word(cls, word: int) -> Sampled:
        """Read a word of the buffer that `ops.sample` fills."""
        fault = Fault((word & ~STOPPED) >> FAULT_SHIFT)
        return cls(word & TOKEN_MASK, bool(word & STOPPED), fault)


_FOUND = {Fault.NOT_A_NUMBER: "NaN", Fault.INFINITE: "an infinity"}


def fault_error(fault: Fault, n_before: int, kv: str) -> EngineError:
    """Say why there is no token, after so many of what is being computed."""
    if fault == Fault.ALL_SUPPRESSED:
        return FileFormatError(
            "this file lets the model say nothing",
            found="every token of the vocabulary in tokenizer.ggml.suppress_tokens",
            expected="a token that a reply may have",
            remedy="Choose another file",
        )
    lighter = ", or load it with keys and values as f32" if kv == "f16" else ""
    return NumberError(
        "the model's numbers are not finite",
        found=f"{_FOUND[fault]} in the logits after {n_before} tokens",
        expected="finite numbers",
        remedy="Check the file for damage; if there is none, choose another "
        f"quantisation{lighter}",
    )


def find_row_fault(rows: bytes, n_vocab: int) -> tuple[int, Fault] | None:
    """Return the first row of logits that is not finite, and how; None if all are."""
    values = array("f", rows)
    for begin in range(0, len(values), n_vocab):
        row = values[begin : begin + n_vocab]
        if not math.isfinite(sum(row)):  # in float64, which float32s cannot exceed
            return begin // n_vocab, find_fault(row)
    return None


@dataclass(frozen=True, slots=True)
class _Batch:
    n_tokens: int
    n_queued: int  # tokens, with those before it
    submitted: float
    data: Awaitable[bytes]


class Queue:
    """The batches of one reply that are on the GPU's queue.

    Steps after a stop token repeat the last one, and their words mean nothing.
    """

    def __init__(
        self, device: Device, step: Prepared, sampled: Buffer, pace: Pace
    ) -> None:
        """Begin behind the first token, which the prompt's pass has sampled."""
        self.ended = False
        self.n_submitted = 1  # tokens, with the first
        self._device = device
        self._step = step
        self._sampled = sampled
        self._pace = pace
        self._batches: deque[_Batch] = deque()

    def __len__(self) -> int:
        """Return how many batches are queued."""
        return len(self._batches)

    def fill(self, n_most: int) -> None:
        """Submit what the pace allows, up to `n_most` tokens of the reply in all."""
        while n_left := n_most - self.n_submitted:
            queued = sum(batch.n_tokens for batch in self._batches)
            n = min(n_left, self._pace.next_batch(queued))
            if n == 0:
                break
            view = View(self._sampled, 4 * self.n_submitted, 4 * n)
            start = perf_counter()  # a submit may wait for the one before
            data = self._device.run(self._step, view, n)
            self._batches.append(_Batch(n, queued + n, start, data))
            self.n_submitted += n

    async def take(self) -> list[Sampled]:
        """Wait for the oldest batch; nothing comes of one behind the end."""
        batch = self._batches.popleft()
        was_ended, self.ended = self.ended, True  # should the wait fail
        words = array("I", await batch.data)
        if was_ended:
            return []
        self._pace.learn(perf_counter() - batch.submitted, batch.n_queued)
        found = [Sampled.from_word(word) for word in words]
        n_valid = next((i for i, s in enumerate(found, 1) if s.is_stop), None)
        self.ended = n_valid is not None
        return found[:n_valid]
