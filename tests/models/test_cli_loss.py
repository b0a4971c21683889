"""A device lost under the command line: one line and 2, or a chat that goes on."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.golden_data import committed_cases
from tools import environment

MODEL = str(next(case for case in committed_cases() if case.model == "moe8").gguf)
LOSER = (sys.executable, "-m", "tests.support.lose_device")
LOADING = 0  # in place of the number of a reply
LINE = "lapidary: the GPU device was lost: found Parent device is lost. Load the model"
PATIENCE = 120  # seconds
PROMPT, END = b"\n> ", "\x04"  # Ctrl-D


@pytest.mark.parametrize("how", ["submit", "encode"])
@pytest.mark.parametrize("reply", [LOADING, 1])
@pytest.mark.parametrize("verb", ["generate", "chat"])
def test_a_lost_device_is_one_line(how: str, reply: int, verb: str) -> None:
    asked = ("-p", "Hi") if verb == "generate" else ()
    ended = subprocess.run(
        [*LOSER, how, str(reply), verb, MODEL, "--context", "256", "-n", "90", *asked],
        input="Hi\nHi\n",  # from no terminal: what is read ahead would be lost
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=environment.ROOT,
        env=os.environ | {"RUST_BACKTRACE": "1"},
    )
    said = [line for line in ended.stderr.splitlines() if not is_news(line)]
    assert ended.returncode == 2, ended.stderr
    assert said == [f"{LINE} again."]


@pytest.mark.parametrize("how", ["submit", "encode"])
def test_a_chat_goes_on_with_what_was_said(how: str) -> None:
    code, said = talk(how, 2, ["one", "two", "three", "/drop", "/drop", "/drop"])
    assert code == 0, said
    assert said.count(f"{LINE} again.") == said.count("your last message") == 1
    assert said.count("/new begins anew") == 2  # as often as the model was loaded
    # The second was not answered when the device was lost, and is not kept.
    left_out = [line for line in said.splitlines() if line.startswith("Left out")]
    assert left_out == [
        f"Left out: '{word}' and its reply." for word in ("one", "three")
    ]
    assert "There is no exchange to leave out." in said


def test_a_chat_that_loses_its_device_at_once_again_ends() -> None:
    code, said = talk("submit-again", 1, ["one", "two", "three"])
    assert code == 2, said
    assert said.count(LINE) == 2 and said.count("your last message") == 1
    assert said.count("It was lost before: if that goes on") == 1


def is_news(line: str) -> bool:
    """Tell what a verb says on stderr when all is well."""
    return line.startswith(
        ("[", "note:", "kernels:", "/new begins", "The reply is cut")
    )


def talk(how: str, reply: int, lines: list[str]) -> tuple[int, str]:
    """Chat at a terminal until the lines end: the exit status, and what was shown."""
    command = [*LOSER, how, str(reply), "chat", MODEL, "--context", "256", "-n", "8"]
    ours, theirs = pty.openpty()
    chat = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=environment.ROOT
    )
    os.close(theirs)
    shown = b""
    try:
        for line in [*lines, END]:
            begin = len(shown)
            while PROMPT not in shown[begin:] and (more := read(ours)):
                shown += more
            with suppress(OSError):  # it has ended
                os.write(ours, line.encode() + b"\n")
        while more := read(ours):
            shown += more
        return chat.wait(PATIENCE), shown.decode(errors="replace")
    finally:
        chat.kill()
        os.close(ours)


def read(fd: int) -> bytes:
    """Return what has come, nothing at the end."""
    ready, _, _ = select.select([fd], [], [], PATIENCE)
    assert ready, "it says nothing any more"
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # how a terminal ends on Linux
        return b""
