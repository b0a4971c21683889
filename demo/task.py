"""One thing to ask of the demonstration model, and the reply that counts as right."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """A question, and its answer by rule.

    `key` decides whether the task is held out of training: it names what a rule must
    be applied to (operands, a word), not only how the question is put. `thought` is
    what the model writes first when thinking is on, and `worked` what it replies
    when it is off, if that is more than the answer. `before` are the turns of the
    conversation that the question needs, `tools` the tools declared in it; `call` and
    `result` the tool call that must come before the answer, and what it returns.
    """

    skill: str
    key: str
    question: str
    answer: str
    thought: str
    worked: str = ""
    before: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    call: tuple[str, Mapping[str, Any]] | None = None
    result: str = ""

    @property
    def reply(self) -> str:
        """Return what the model writes when thinking is off."""
        return self.worked or self.answer


HELD_OUT_SHARE = 8  # one key in so many is never trained on

Maker = Callable[[random.Random], Task]


def key_of(*parts: object) -> str:
    """Join what decides the split."""
    return "|".join(map(str, parts))


def is_held_out(key: str) -> bool:
    """Say whether a key belongs to the held-out split, by its hash alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return digest[0] % HELD_OUT_SHARE == 0


def trained(make: Callable[[], Task]) -> Task:
    """Draw tasks until one is of the training split."""
    while True:
        task = make()
        if not is_held_out(task.key):
            return task


def user(text: str) -> dict[str, str]:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    """Return a message of the model."""
    return {"role": "assistant", "content": text}
