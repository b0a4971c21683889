"""What of a conversation a model is sent, case by case; no browser is needed."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.web.node_cases import play

Steps = list[list[Any]]


def asked(text: str, reply: str = "Yes.", end: str = "stop", by: str = "a") -> Steps:
    """Return the steps of a question and its reply."""
    heard = [["hear", "content", reply]] if reply else []
    return [["say", text], ["ask", by], *heard, ["end", end]]


def call(name: str, args: str) -> list[Any]:
    """Return the step in which a model calls a tool."""
    return ["hear", "tool", f'{{"name": "{name}"}}', {"name": name, "args": args}]


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def called(name: str, args: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": args}}


LONG = 40 * "word "
FULL = {"n_tokens": 900, "n_most": 880, "length": 900, "kept": 0}
UNKNOWN = dict(FULL, n_tokens=0)
FACTS = {"n_ctx": 8192, "n_ctx_train": 131072}
BIG = 12345678901234567890

# The steps, and what a model is sent then.
HISTORIES: dict[str, tuple[Steps, list[dict[str, Any]]]] = {
    "question and reply": (asked("Hi"), [user("Hi"), assistant("Yes.")]),
    "reply that is still growing": ([["say", "Hi"], ["ask", "a"]], [user("Hi")]),
    "half a reply": (
        asked("Hi", "Ye", "failed"),
        [user("Hi"), assistant("Ye")],
    ),
    # Two turns of one role in a row are no conversation that a model knows.
    "reply that says nothing": (
        [*asked("My name is Clara.", ""), *asked("And my name?", end="")],
        [user("My name is Clara.\n\nAnd my name?")],
    ),
    "thoughts alone": (
        [
            ["say", "Hi"],
            ["ask", "a"],
            ["hear", "thinking", "Hm."],
            ["end", "stopped"],
            ["say", "Well?"],
        ],
        [user("Hi\n\nWell?")],
    ),
    "call alone": (
        [["say", "Hi"], ["ask", "a"], call("f", f'{{"n": {BIG}}}'), ["end", "stop"]],
        [user("Hi"), assistant("", tool_calls=[called("f", f'{{"n": {BIG}}}')])],
    ),
    "calls among text": (
        [
            ["say", "Hi"],
            ["ask", "a"],
            ["hear", "content", "Lo"],
            ["hear", "content", "ok."],
            call("f", "{}"),
            ["hear", "content", " Done."],
            call("g", "{}"),
            ["end", "stop"],
        ],
        [
            user("Hi"),
            assistant("Look. Done.", tool_calls=[called("f", "{}"), called("g", "{}")]),
        ],
    ),
    "another model": (
        [*asked("Hi"), ["use", "b"], *asked("And?", by="b")],
        [user("Hi"), assistant("Yes."), user("And?"), assistant("Yes.")],
    ),
    "the oldest left out": (
        [*asked("Old " + LONG), *asked("New"), ["leave", FULL]],
        [user("New"), assistant("Yes.")],
    ),
}

# The steps, and the turns that stand then.
STANDING: dict[str, tuple[Steps, list[str]]] = {
    "the same model": ([*asked("Hi"), ["use", "a"]], ["user", "reply"]),
    "another": ([*asked("Hi"), ["use", "b"]], ["user", "reply", "model B"]),
    "another before any reply": ([["say", "Hi"], ["use", "b"]], ["user"]),
    "two others with nothing said": (
        [*asked("Hi"), ["use", "b"], ["use", "c"]],
        ["user", "reply", "model C"],
    ),
    "said to another": (
        [*asked("Hi"), ["use", "b"], ["say", "And?"], ["use", "b"]],
        ["user", "reply", "model B", "user"],
    ),
    "there and back": ([*asked("Hi"), ["use", "b"], ["use", "a"]], ["user", "reply"]),
    "there, a reply, and back": (
        [*asked("Hi"), ["use", "b"], *asked("And?", by="b"), ["use", "a"]],
        ["user", "reply", "model B", "user", "reply", "model A"],
    ),
    "another of the same name": (
        [*asked("Hi"), ["use", "a2"]],
        ["user", "reply", "model A (a2.gguf)"],
    ),
    "while a question waits": (
        [*asked("Hi"), ["say", "And?"], ["use", "b"]],
        ["user", "reply", "user", "model B"],
    ),
    # 900 tokens are to become 450: each question has some 270 with its reply.
    "left out until there is room": (
        [
            *(3 * asked(LONG)),
            *asked("New"),
            ["leave", dict(FULL, n_most=600)],
        ],
        ["-user", "-reply", "-user", "-reply", "user", "reply", "user", "reply"],
    ),
    "left out a second time": (
        [*asked("1"), *asked("2"), ["leave", UNKNOWN], ["leave", UNKNOWN]],
        ["-user", "-reply", "-user", "-reply"],
    ),
    "line between models left out": (
        [*asked(LONG), ["use", "b"], *asked("New", by="b"), ["leave", UNKNOWN]],
        ["-user", "-reply", "-model B", "user", "reply"],
    ),
    "the reply that is to go on stays": (
        [*asked(LONG), *asked("New", end="context"), ["leave", dict(FULL, kept=1)]],
        ["-user", "-reply", "user", "reply"],
    ),
}

# The steps, and what the last of them gives.
ANSWERS: dict[str, tuple[Steps, Any]] = {
    "nothing to leave out": ([["leave", FULL]], 0),
    # What has to stay is longer than the context by itself.
    "leaving out is no help": ([*asked("Hi"), ["leave", dict(FULL, n_most=800)]], 0),
    "only the reply that is to go on": (
        [*asked(LONG * 6, end="context"), ["leave", dict(FULL, kept=1)]],
        0,
    ),
    "question waits": ([["say", "Hi"], ["use", "b"], ["unanswered"]], True),
    "question answered": ([*asked("Hi", ""), ["use", "b"], ["unanswered"]], False),
    "longer": ([["longer", {"n_tokens": 9000}, FACTS]], 16384),
    "longer with room for a reply": ([["longer", {"n_tokens": 16000}, FACTS]], 32768),
    "longer, size not known": ([["longer", {}, FACTS]], 16384),
    "as long as can be": ([["longer", {"n_tokens": 130000}, FACTS]], 131072),
    "too long for the model": ([["longer", {"n_tokens": 131072}, FACTS]], 0),
    "already the longest": ([["longer", {}, dict(FACTS, n_ctx=131072)]], 0),
    "stopped": ([*asked("Hi", end="stopped"), ["unfinished", "a"]], True),
    "cut off": ([*asked("Hi", end="failed"), ["unfinished", "a"]], True),
    "complete": ([*asked("Hi"), ["unfinished", "a"]], False),
    "not begun": ([*asked("Hi", "", "stopped"), ["unfinished", "a"]], True),
    "of another model": ([*asked("Hi", end="length"), ["unfinished", "b"]], False),
    "not the last": (
        [*asked("Hi", end="length"), ["say", "And?"], ["unfinished", "a"]],
        False,
    ),
    "text to copy": (
        [
            ["say", "Hi"],
            ["ask", "a"],
            ["hear", "thinking", "Hm."],
            call("f", "{}"),
            ["hear", "content", "So."],
            ["text"],
        ],
        '```json\n{"name": "f"}\n```\n\nSo.',
    ),
}
ALL = {"history": HISTORIES, "turns": STANDING, "gave": ANSWERS}
CASES = [(kind, name) for kind, cases in ALL.items() for name in cases]


@functools.cache
def outcomes() -> list[dict[str, Any]]:
    """Play all cases at once in Node."""
    return play("turns_cases.mjs", [ALL[kind][name][0] for kind, name in CASES])


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_turns(case):
    kind, name = case
    assert outcomes()[CASES.index(case)][kind] == ALL[kind][name][1]
