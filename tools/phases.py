"""The phases of `build.py test` and `check`: programs, one after another or beside."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools import environment
from tools.environment import PYTHON, ROOT

NO_TESTS_COLLECTED = 5  # pytest's exit status when its arguments select nothing


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of `test` or `check`: a module of the environment, with arguments."""

    name: str
    command: Sequence[str]

    @property
    def is_pytest(self) -> bool:
        return self.command[0] == "pytest"


@dataclass(frozen=True, slots=True)
class Row:
    """How a phase went."""

    name: str
    seconds: float
    passed: bool


def run_phases(
    phases: Sequence[Phase],
    arguments: Sequence[str] = (),
    beside: Phase | None = None,
) -> int:
    """Run all phases, also after one that fails; return 1 if any did.

    `arguments` are for pytest. One phase may run beside the others: a browser waits
    more than it computes. What it prints follows theirs.
    """
    begin = time.monotonic()
    with ExitStack() as closing:
        other = closing.enter_context(_Beside(beside, arguments)) if beside else None
        rows = []
        for phase in phases:
            print(f"\n== {phase.name}", flush=True)
            rows.append(_run(phase, arguments))
        if other is not None:
            rows.append(other.finish())
    print()
    for row in rows:
        verdict = "passed" if row.passed else "FAILED"
        print(f"{row.name:12} {row.seconds:7.1f} s  {verdict}")
    print(f"{'all':12} {time.monotonic() - begin:7.1f} s")
    return 0 if all(row.passed for row in rows) else 1


class _Beside:
    """A phase that runs while others do, and what it has printed."""

    def __init__(self, phase: Phase, arguments: Sequence[str]) -> None:
        self._phase = phase
        self._arguments = arguments
        self._closing = ExitStack()

    def __enter__(self) -> _Beside:
        folder = self._closing.enter_context(tempfile.TemporaryDirectory())
        thread = self._closing.enter_context(ThreadPoolExecutor(1))
        self._path = Path(folder, "output")
        output = self._closing.enter_context(self._path.open("wb"))
        self._row = thread.submit(_run, self._phase, self._arguments, output)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def finish(self) -> Row:
        """Show what it has printed, and what it goes on to print, to its end."""
        print(f"\n== {self._phase.name}, beside the others", flush=True)
        with self._path.open(encoding="utf-8", errors="replace") as output:
            while True:
                is_over = self._row.done()
                print(output.read(), end="", flush=True)
                if is_over:
                    return self._row.result()
                time.sleep(1)


def _run(
    phase: Phase, arguments: Sequence[str], output: IO[bytes] | None = None
) -> Row:
    begin = time.monotonic()
    extra = list(arguments) if phase.is_pytest else []
    status = subprocess.run(
        [str(PYTHON), "-m", *phase.command, *extra],
        cwd=ROOT,
        env=child_environment(),
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
    ).returncode
    # Only when a person selects some tests may a phase have none.
    passed = status == 0 or (status == NO_TESTS_COLLECTED and bool(extra))
    return Row(phase.name, time.monotonic() - begin, passed)


def child_environment() -> dict[str, str]:
    """Return the environment of a phase: the project importable, Node on the path."""
    folders = [str(environment.BIN), os.environ.get("PATH", os.defpath)]
    return {
        # Its threads spin where cores are busy: the oracle took eight times as long.
        "OPENBLAS_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join(folders),
    }
