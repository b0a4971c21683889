"""Peak memory of the processes that a test has started."""

from __future__ import annotations

import os
import re
from pathlib import Path


def peaks() -> dict[str, int]:
    """Return the largest resident size so far in bytes, by kind of a browser's process.

    Only Linux tells: elsewhere there is nothing.
    """
    found: dict[str, int] = {}
    for process in descendants(os.getpid()):
        try:
            status = (process / "status").read_text()
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
        kind = re.search(r"--type=([a-z-]+)", command)
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        if kind and peak:
            n_bytes = 1024 * int(peak[1])
            found[kind[1]] = max(found.get(kind[1], 0), n_bytes)
    return found


def descendants(root: int) -> list[Path]:
    """Return the directories of a process's children, and of theirs."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text()
        except OSError:
            continue
        parents[int(process.name)] = int(stat.rpartition(")")[2].split()[1])
    found, level = [], [root]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return [Path("/proc", str(number)) for number in found]
