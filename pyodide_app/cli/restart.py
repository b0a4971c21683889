"""A process that begins again in its own place, and hands over what is to be kept."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from typing import Any

OPTION = "--goes-on"  # with the number of an open file
_MOST_FILES = 1 << 16  # that may be open: a system's own limit may be none at all


def can_restart() -> bool:
    """Tell whether nothing is lost by it: input that was read ahead would be."""
    return os.name == "posix" and sys.stdin.isatty()


def restart(kept: dict[str, Any]) -> None:
    """Run the same command again, which finds `kept` by `take`."""
    os.dup2(sys.stderr.fileno(), 2)
    with tempfile.TemporaryFile("w+b") as file:
        file.write(json.dumps(kept).encode())
        file.flush()
        fd = file.fileno()
        os.set_inheritable(fd, True)
        # What a driver left open would hold the memory of a device that is lost.
        os.closerange(3, fd)
        os.closerange(fd + 1, _MOST_FILES)
        if hasattr(signal, "pthread_sigmask"):  # a handler's own signal is blocked
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGABRT])
        asked = [a for a in sys.orig_argv[1:] if not a.startswith(f"{OPTION}=")]
        os.execv(sys.executable, [sys.executable, *asked, f"{OPTION}={fd}"])


def take(fd: int) -> dict[str, Any]:
    """Return what the process before has handed over."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        kept: dict[str, Any] = json.load(file)
        return kept
