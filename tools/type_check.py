"""Check the types of the page's JavaScript with TypeScript, which reads its JSDoc.

    python -m tools.type_check

A page and a worker have different globals, so that each has a configuration.
"""

from __future__ import annotations

import subprocess
import sys

from tools.environment import NODE_MODULES, WEB, node

COMPILER = NODE_MODULES / "typescript/bin/tsc"
CONFIGURATIONS = ("jsconfig.json", "jsconfig.workers.json")


def check() -> int:
    """Check all scripts, print what is wrong, and return 1 if anything is."""
    commands = [[str(node()), str(COMPILER), "-p", name] for name in CONFIGURATIONS]
    running = [subprocess.Popen(command, cwd=WEB) for command in commands]
    return int(any([process.wait() for process in running]))


if __name__ == "__main__":
    sys.exit(check())
