"""The phases of `build.py test`: how they are run, and how it is told."""

from __future__ import annotations

import pytest

from tools import phases
from tools.phases import Phase, run_phases


@pytest.fixture(autouse=True)
def _own_modules(tmp_path, monkeypatch):
    """Run modules of this folder, which only print and end."""
    monkeypatch.setattr(phases, "ROOT", tmp_path)
    for name, text in {
        "good": "print('good ran')",
        "bad": "import sys; print('bad ran'); sys.exit(1)",
        # Ends when the others have: else it is killed with this test.
        "late": "import pathlib, time\nprint('late begins', flush=True)\n"
        "while not pathlib.Path('over').exists(): time.sleep(0.01)\nprint('late ends')",
        "over": "import pathlib; pathlib.Path('over').write_text('')",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)


GOOD, BAD, LATE, OVER = (Phase(n, [n]) for n in ("good", "bad", "late", "over"))


def test_all_run_whatever_one_says(capfd):
    assert run_phases([BAD, GOOD]) == 1
    told = capfd.readouterr().out
    assert told.index("bad ran") < told.index("== good") < told.index("good ran")
    table = [line.split()[::3] for line in told.splitlines()[-3:-1]]
    assert table == [["bad", "FAILED"], ["good", "passed"]]


def test_one_runs_beside_the_others_and_is_told_behind_them(capfd):
    assert run_phases([GOOD, OVER], beside=LATE) == 0  # one after another: never
    told = capfd.readouterr().out
    assert told.index("good ran") < told.index("== late") < told.index("late begins")
    assert "late ends" in told and told.splitlines()[-2].startswith("late ")


def test_a_failure_beside_the_others_counts(capfd):
    assert run_phases([GOOD], beside=BAD) == 1
    assert "bad ran" in capfd.readouterr().out
