"""One process at a time changes what is made here; another waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

POLL = 0.2  # s between two looks at whether it is our turn
_thread = threading.RLock()
_depth = 0  # of blocks in each other, of which the outermost takes the file


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes that name this folder, and other threads, out of a block."""
    global _depth
    with _thread, contextlib.ExitStack() as stack:
        if _depth == 0:
            stack.enter_context(_locked(folder))
        _depth += 1
        stack.callback(_leave)
        yield


def _leave() -> None:
    global _depth
    _depth -= 1


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock, which the system takes back from a process that dies."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as file:
        if not _take(file):
            print("Waiting for another build.py, which is at work here", flush=True)
            while not _take(file):
                time.sleep(POLL)
        yield


def _take(file: IO[str]) -> bool:
    """Try to lock a file until it is closed."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
