"""A process that begins again: what it closes and runs, whatever the limits."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from pyodide_app.cli import restart


class ReplacedError(Exception):
    """The process is another one now."""


@pytest.mark.parametrize("limit", [-1, 256, 1 << 30, (1 << 63) - 1])
def test_closes_what_is_open_whatever_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    if os.name != "posix":
        pytest.skip("nothing begins again here")
    closed: list[tuple[int, int]] = []

    def execv(program: str, command: list[str]) -> None:
        raise ReplacedError(command)

    monkeypatch.setattr(os, "sysconf", lambda _: limit)
    monkeypatch.setattr(os, "closerange", lambda *ends: closed.append(ends))
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "x", f"{restart.OPTION}=7"])
    with pytest.raises(ReplacedError) as replaced:
        restart.restart({"exchanges": []})
    *command, option = replaced.value.args[0]
    fd = int(option.removeprefix(f"{restart.OPTION}="))
    assert command == [sys.executable, "-m", "x"]
    (first, last), (begin, end) = closed
    assert (first, last, begin) == (3, fd, fd + 1)
    # As many as a process has, and no more than a loop closes at once.
    assert begin < end <= 1 << 20
