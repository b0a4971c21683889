"""Twenty turns in the terminal with a real model, which go beyond its context.

A person who is told that the context is full leaves out the oldest exchanges and says
the message again. What the model is sent then is what a new one would be sent, and it
answers as a new one would, whatever its cache still holds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from pyodide_app.__main__ import main
from pyodide_app.cli.session import Session
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from tests.models.native import GREEDY, generate, opened
from tests.models.test_native_device import held
from tests.support.gpu import device
from tests.support.real_models import SMOLLM2

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

N_CTX = 128  # six of these turns, and the system prompt
N_TOKENS = 2
N_DROPPED = 4  # exchanges at a time
MESSAGES = [f"And {n}?" for n in range(11, 31)]


class Person:
    """Types the messages, and keeps what a model should know of the conversation."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._waiting: list[str] = []
        self._said = iter(MESSAGES)
        self.known: list[dict[str, str]] = []  # messages and replies, not left out
        self.told = ""
        self.n_full = 0

    def type(self) -> str:
        """Return the next line."""
        self._read()
        if not self._waiting:
            message = next(self._said, None)
            if message is None:
                raise EOFError
            self._waiting = [message]
        line = self._waiting.pop(0)
        if line == "/drop":
            del self.known[:2]
        else:
            self.known.append({"role": "user", "content": line})
        return line

    def _read(self) -> None:
        """Take in what was answered, or that nothing was."""
        shown, told = self._capsys.readouterr()
        shown = shown.removesuffix("> ")
        self.told += told
        if "Your message is not kept" in told:
            self.n_full += 1
            again = self.known.pop()["content"]
            self._waiting = [*(["/drop"] * N_DROPPED), again]
        elif shown:
            self.known.append(
                {"role": "assistant", "content": shown.removesuffix("\n")}
            )


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine was asked, what it gave, and what the GPU held then."""

    ids: list[int]
    known: list[dict[str, str]]
    end: Finished
    held: dict[str, int]

    @property
    def n_read(self) -> int:
        """Return how many tokens of the prompt were not in the cache."""
        return self.end.n_prompt - self.end.n_reused

    def follows_a_drop(self, before: Request) -> bool:
        """Say whether something was left out after the request before."""
        return len(self.known) < len(before.known)


def recording(person: Person, requests: list[Request]) -> Any:
    """Return `generate`, which also keeps each request that it has served."""
    real = Engine.generate

    async def recorded(
        engine: Engine, ids: list[int], **asked: Any
    ) -> AsyncGenerator[int | Finished, None]:
        async with aclosing(real(engine, ids, **asked)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    requests.append(Request(ids, list(person.known), item, held()))
                yield item

    return recorded


def test_twenty_turns_beyond_the_context(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person, requests = Person(capsys), list[Request]()
    command = ["chat", str(SMOLLM2.gguf), "--greedy", "-n", str(N_TOKENS)]
    with monkeypatch.context() as patched:
        patched.setattr("builtins.input", person.type)
        patched.setattr(Session, "open_device", lambda _: device())
        patched.setattr(Engine, "generate", recording(person, requests))
        assert main([*command, "--context", str(N_CTX), "--kv", "f32"]) == 0
    assert [request.known[-1]["content"] for request in requests] == MESSAGES
    check_what_was_left_out(person)
    after = [b for a, b in pairwise(requests) if b.follows_a_drop(a)]
    assert len(after) == person.n_full
    check_with_a_new_engine(requests, [after[0], after[-1]])
    check_what_is_held(requests)


def check_what_is_held(requests: list[Request]) -> None:
    """Hold that only a pass of a length that was not there before is kept, too."""
    lengths, n_known = set[int](), 0
    for before, request in pairwise(requests):
        lengths.add(before.n_read)
        if request.n_read in lengths:
            n_known += 1
            assert request.held == before.held
    assert n_known > len(MESSAGES) // 2


def check_what_was_left_out(person: Person) -> None:
    """Hold what the person was told to what the model was sent no more."""
    n_left_out = len(MESSAGES) - len(person.known) // 2
    assert person.n_full > 2 and n_left_out == person.n_full * N_DROPPED
    for message in MESSAGES[:n_left_out]:
        assert person.told.count(f"Left out: {message!r} and its reply.") == 1
    assert person.told.count("Left out: ") == n_left_out
    assert person.told.count("the conversation is longer than the") == person.n_full


def check_with_a_new_engine(requests: list[Request], some: list[Request]) -> None:
    """Hold all prompts, and the replies to some, to a new engine's."""
    with opened(SMOLLM2.gguf, n_ctx=N_CTX) as engine:
        for request in requests:
            assert request.ids == engine.encode_chat(request.known)[0]
            assert request.end.n_reused > 0 or request is requests[0]
        for request in some:
            engine._go_back(0)
            ids, n = request.ids, N_TOKENS
            new = generate(engine, ids, sampling=GREEDY, max_tokens=n)
            assert new.n_reused == 0 and new.ids == request.end.ids
