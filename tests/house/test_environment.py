"""The environment: made once, repaired when it was interrupted, by one at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import build
from tests.house.tree import ROOT
from tools import environment
from tools.alone import alone
from tools.environment import STAMP, SetupError

KEY = "what was installed"


@pytest.fixture
def venv(tmp_path, monkeypatch) -> Path:
    """A virtual environment that is whole, in a folder of its own."""
    folder = tmp_path / ".venv"
    python = folder / environment.PYTHON.relative_to(environment.VENV)
    python.parent.mkdir(parents=True)
    python.touch()
    environment.set_done(folder, KEY, dev=True)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return folder


def when_run(monkeypatch, outcome: BaseException | None) -> list[list[str]]:
    """Let every command end so; return those that are run."""
    commands: list[list[str]] = []

    def run(command, **_: object) -> None:
        commands.append([str(part) for part in command])
        if outcome:
            raise outcome

    monkeypatch.setattr(environment, "run", run)
    return commands


def test_what_is_whole_is_not_made_again(venv, monkeypatch):
    commands = when_run(monkeypatch, None)
    environment.make_venv(venv, "python")
    assert environment.is_done(venv, KEY, dev=True)
    assert commands == []


def test_what_was_interrupted_is_made_anew(venv, monkeypatch):
    when_run(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        environment.pip_install(venv, "install", "something")
    assert not environment.is_done(venv, KEY, dev=True)
    commands = when_run(monkeypatch, None)
    environment.make_venv(venv, "python")
    assert commands == [["python", "-m", "venv", "--clear", str(venv)]]


def test_what_worked_is_kept_when_the_network_is_missing(venv, monkeypatch):
    when_run(monkeypatch, subprocess.CalledProcessError(1, ["pip"]))
    with pytest.raises(SetupError, match="needs the network once"):
        environment.pip_install(venv, "install", "something")
    assert environment.is_done(venv, KEY, dev=True)


@pytest.mark.parametrize("stamp", ["", "{", "[]", '"x"', "{}", '{"key": "other"}'])
def test_a_broken_note_of_what_is_installed_counts_for_none(venv, stamp):
    (venv / STAMP).write_text(stamp)
    assert not environment.is_done(venv, KEY, dev=False)


@pytest.mark.parametrize(
    "fault", [subprocess.CalledProcessError(7, ["x"]), FileNotFoundError("npm")]
)
def test_what_cannot_be_fetched_is_one_line_and_status_2(fault, monkeypatch, capsys):
    def bundle() -> None:
        environment.fetch("The npm packages", ["npm", "ci"])

    when_run(monkeypatch, fault)
    monkeypatch.setattr(build, "bundle", bundle)
    assert build.main(["bundle"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("The npm packages could not be fetched (")


def test_only_what_is_installed_asks_for_another_install(tmp_path, monkeypatch):
    before = environment._venv_key()
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = tmp_path / "pyproject.toml"
    settings.write_text(text.replace("line-length = 88", "line-length = 89"))
    assert environment._venv_key() == before
    settings.write_text(text.replace('"numpy==', '"numpy>='))
    assert environment._venv_key() != before


ALONE = """
import sys
from pathlib import Path
from tools.alone import alone
with alone(Path(sys.argv[1])):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_waits_for_the_first(tmp_path):
    command = [sys.executable, "-c", ALONE, tmp_path]
    pipes = {"stdin": -1, "stdout": -1, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "inside\n"
        with subprocess.Popen(command, **pipes) as second:
            assert "Waiting for another" in second.stdout.readline()
            first.kill()  # what it held is free
            assert second.stdout.readline() == "inside\n"
            second.stdin.close()
            assert second.wait() == 0


def test_a_second_thread_waits_for_the_first(tmp_path):
    order = []

    def second() -> None:
        with alone(tmp_path):
            order.append("second")

    with alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        with alone(tmp_path):
            order.append("inner")
        thread.join(0.2)
        order.append("outer")
    thread.join()
    assert order == ["inner", "outer", "second"]


def test_ctrl_c_is_no_fault(monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "bundle", interrupt)
    assert build.main(["bundle"]) == 130
    assert capsys.readouterr().err == ""
