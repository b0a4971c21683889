"""Consoles and pipes: any encoding is read, what cannot be shown is replaced."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyodide_app.cli.console import Input, prepare
from tests.support.golden_data import committed_cases

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(next(case for case in committed_cases() if case.model == "moe8").gguf)
TEXT = "grüß \U0001f642\n\nlast"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_piped_lines_are_read_in_the_encoding_that_they_tell(encoding: str) -> None:
    lines = Input(io.BytesIO(TEXT.replace("\n", "\r\n").encode(encoding)))
    assert [lines.readline() for _ in range(4)] == [
        "grüß \U0001f642\n",
        "\n",
        "last",
        "",
    ]


def test_json_lines_without_a_mark_are_told_by_their_zeros() -> None:
    lines = Input(io.BytesIO('"a"\n"ü"\n'.encode("utf-16-le")))
    assert [lines.readline() for _ in range(3)] == ['"a"\n', '"ü"\n', ""]


def test_wide_text_that_is_cut_within_a_character_is_read_up_to_there() -> None:
    cut = "gr\u00fc\u00df\nlast\n".encode("utf-16") + b"\n"  # as `echo` behind it does
    lines = Input(io.BytesIO(cut))
    assert [lines.readline() for _ in range(4)] == [
        "gr\u00fc\u00df\n",
        "last\n",
        "\ufffd",
        "",
    ]


def test_line_of_another_encoding_is_that_line() -> None:
    lines = Input(io.BytesIO('"a"\n"\u00fc"\n"b"\n'.encode("latin-1")))
    assert lines.readline() == '"a"\n'
    with pytest.raises(UnicodeDecodeError):
        lines.readline()
    assert lines.readline() == '"b"\n'


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_what_a_console_cannot_show_is_replaced(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding=encoding))
    prepare()
    print("a \U0001f642 \ud800", flush=True)
    emoji = "\U0001f642" if encoding == "utf-8" else "?"
    assert shown.getvalue().decode(encoding).strip() == f"a {emoji} ?"


COMMAND = [sys.executable, "-m", "pyodide_app", "render", MODEL, "--jsonl"]


def test_powershell_pipes_a_conversation() -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "grüß"}]})
    said = (line + "\r\n").encode("utf-16")
    reply = subprocess.run(COMMAND, cwd=ROOT, input=said, capture_output=True)
    assert reply.returncode == 0, reply.stderr
    assert "grüß" in json.loads(reply.stdout)


@pytest.mark.parametrize("n_lines", [1, 100])  # less and more than a buffer holds
def test_reader_that_leaves_ends_it_quietly(n_lines: int, tmp_path: Path) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 5000}]})
    path = tmp_path / "lines"
    path.write_text((line + "\n") * n_lines)
    reading, writing = os.pipe()
    os.close(reading)
    with path.open() as lines:
        reply = subprocess.run(
            COMMAND, cwd=ROOT, stdin=lines, stdout=writing, stderr=subprocess.PIPE
        )
    os.close(writing)
    assert (reply.returncode, reply.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
def test_full_disk_is_one_line() -> None:
    line = json.dumps({"messages": []}).encode()
    with open("/dev/full", "wb") as full:
        reply = subprocess.run(
            COMMAND, cwd=ROOT, input=line, stdout=full, stderr=subprocess.PIPE
        )
    assert reply.returncode == 2
    assert reply.stderr.count(b"\n") == 1
    assert b"the output cannot be written" in reply.stderr
