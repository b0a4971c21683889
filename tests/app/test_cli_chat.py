"""The verb `chat`: what ends a conversation, and what does not."""

from __future__ import annotations

import os
import signal

import pytest

from pyodide_app.__main__ import main
from pyodide_app.cli import report
from pyodide_app.text.chat import ContentDelta
from tests.support.golden_data import committed_cases

MODEL = str(next(case for case in committed_cases() if case.model == "moe8").gguf)
LONG = "word " * 60


def talk(
    monkeypatch: pytest.MonkeyPatch,
    *lines: str | type[BaseException],
    n: str = "4",
    context: str = "64",
) -> int:
    """Chat, with these lines typed; a line may be an error that is raised."""
    typed = iter([*lines, EOFError])

    def read() -> str:
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    return main(["chat", MODEL, "--greedy", "--context", context, "-n", n])


def test_chat_goes_on_when_the_context_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["Hi", "And?", LONG, "/drop", "Hm", "/new", "/drop", "  ", "Hi"]
    assert talk(monkeypatch, *lines) == 0
    told = capsys.readouterr().err
    assert told.count("[length: ") == 4, told
    assert "the conversation is longer than the context: found " in told
    assert "Your message is not kept. Say it shorter, begin anew with /new, or" in told
    assert "the oldest of 2 exchanges with /drop" in told
    assert "Left out: 'Hi' and its reply." in told
    assert "Begun anew: 2 exchanges are left out." in told
    assert "There is no exchange to leave out." in told
    assert told.count("The reply is cut off: it has as many tokens as were asked") == 4


def test_reply_that_fills_the_context_is_marked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(monkeypatch, "Hi", n="500", context="16") == 0
    told = capsys.readouterr().err
    assert "[context: " in told
    assert "The reply is cut off: the context is full. /new begins" in told


def test_ctrl_c_stops_a_reply_and_at_the_prompt_ends_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = report.show
    n_shown = 0

    def interrupted(event: object) -> None:
        nonlocal n_shown
        show(event)
        if isinstance(event, ContentDelta):
            n_shown += 1
            if n_shown == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(report, "show", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert talk(monkeypatch, "Hi", "/new", KeyboardInterrupt, n="60") == 130
    assert signal.getsignal(signal.SIGINT) is before
    told = capsys.readouterr().err
    assert "The reply is cut off: you have stopped it." in told
    assert "Begun anew: 1 exchange is left out." in told
