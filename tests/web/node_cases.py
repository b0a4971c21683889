"""Cases of the page's pure modules, played at once in Node without a browser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tools import environment


def play(script: str, cases: Any) -> Any:
    """Return what a script beside this file makes of cases."""
    reply = subprocess.run(
        [environment.node(), Path(__file__).with_name(script), environment.WEB],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
    )
    assert reply.returncode == 0, reply.stderr
    return json.loads(reply.stdout)
