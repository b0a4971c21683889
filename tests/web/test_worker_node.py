"""The engine's worker without a browser: messages in and out, in Pyodide on Dawn."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.web.test_device_node import swiftshader
from tools import environment
from tools.lavapipe import dawn_environment

SCRIPT = Path(__file__).with_name("worker_cases.mjs")


@functools.cache
def results() -> dict[str, str]:
    """Play all cases in one process, and return what went wrong in each."""
    environment.ensure_node_modules(dev=True)
    reply = subprocess.run(
        [environment.node(), SCRIPT, environment.ROOT],
        capture_output=True,
        text=True,
        env=dawn_environment(swiftshader()),
    )
    # A failing Pyodide prints its source, which is one line of a megabyte.
    log = "\n".join(line[:1000] for line in reply.stderr.splitlines())
    assert reply.returncode == 0, log
    played: dict[str, str] = json.loads(reply.stdout.splitlines()[-1])
    return played


CASES = re.findall(r"^  async '(.+)'\(\)", SCRIPT.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", CASES)
def test_worker(name: str) -> None:
    problem = results()[name]
    assert not problem, problem
