"""How much memory this machine has left: what an adapter in software may hold."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup/memory.max")  # of a container


def available_memory() -> int | None:
    """Return the bytes that can be had without swapping, None where nobody says."""
    known = [n for n in (_system(), _group_limit()) if n is not None]
    return min(known, default=None)


def _system() -> int | None:
    """Return what Linux calls available; elsewhere, all there is."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMORY.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group_limit() -> int | None:
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        return int(_GROUP.read_text(encoding="ascii"))
    return None
