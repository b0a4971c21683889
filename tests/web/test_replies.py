"""What is nested deeply: on the page it is what it is natively, and ends nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.web import reply_cases
from tests.web.test_templates import SCRIPT
from tools import environment


def test_what_is_nested_is_read_in_pyodide_as_natively(dist: Path) -> None:
    cases = json.dumps(reply_cases.CASES)
    command = [environment.node(), SCRIPT, dist, reply_cases.__file__]
    reply = subprocess.run(command, input=cases, capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr[-2000:]
    outcomes = json.loads(reply.stdout.splitlines()[-1])["outcomes"]
    expected = json.loads(reply_cases.play(cases))
    for case, got, wanted in zip(reply_cases.CASES, outcomes, expected, strict=True):
        assert got == wanted, case[:50]
