"""A part as a process that can neither outlive its limit nor flood anything."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tools.environment import ROOT

KEPT_LINES = 40  # of what a part prints; the last ones
SHOWN = 100_000  # characters of a part that are shown and logged
GRACE = 3.0  # seconds to end in when asked to, and again when killed
TICK = 0.1
LOOK = 2.0  # seconds between two looks at what a part has found


class Log:
    """What is shown and kept in a file, as far as the disk lets it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, text: str) -> None:
        """Show and keep a line; a full disk or a closed terminal ends no run."""
        with suppress(OSError):
            print(text, flush=True)
        with suppress(OSError), open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")


class Process:
    """One part, in a group of its own so that all its children end with it."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Log,
        work: Path = ROOT,
    ) -> None:
        """Start a command; what it prints of the folder `work` is called that."""
        self._log = log
        self._work = str(work)
        self._shown = 0
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    def wait(self, seconds: float, look: Callable[[], None]) -> int | None:
        """Wait, looking now and then; return the status, None if it had to be killed.

        The status of one that a signal ended is below 0, as that of Popen.
        """
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                next_look = time.monotonic() + LOOK
                while time.monotonic() < min(end, next_look):
                    if self._process.poll() is not None:
                        return self._process.returncode
                    time.sleep(TICK)
                look()
            return None
        finally:
            self.end()
            self._reader.join(GRACE)  # a child that was left may hold the pipe

    def end(self) -> None:
        """End it and its children: asked first, then killed.

        One that hangs in the GPU's driver survives even that, and is left behind.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(GRACE)
            except (OSError, subprocess.TimeoutExpired):
                continue

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            while text := pipe.readline(2000):  # a line may have no end
                # No record names the folders of a machine.
                line = text.rstrip().replace(str(ROOT), ".").replace(self._work, "WORK")
                self.lines.append(line)
                self._shown += len(line)
                if self._shown <= SHOWN:
                    self._log.say(line)
