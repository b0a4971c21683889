"""Engines that play prompts, each a `Player`, and the replies that they give.

Ours and llama.cpp run in processes of their own, older commits of ours as well;
bench/chromium.py has those that run in a browser.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

from bench import peers
from bench.prompts import Prompt

OURS, BROWSER = "native", "Chromium"
SCRIPTS = Path(__file__).parent


class PlayerError(Exception):
    """An engine could not be started or has ended; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """One reply of one engine."""

    ids: tuple[int, ...]  # new tokens; empty where the engine does not tell
    n_prompt: int  # tokens read, those still in a cache left out
    n_generated: int
    prefill_seconds: float  # until the first token
    decode_seconds: float  # from then on until the last
    weight_bytes: int = 0  # that a step reads, where the engine tells
    kv_bytes: int = 0

    @property
    def decode_speed(self) -> float:
        """Return tokens per second of decoding, 0 with nothing to tell by."""
        n = self.n_generated - 1
        return n / self.decode_seconds if n > 0 and self.decode_seconds > 0 else 0.0

    @property
    def prefill_speed(self) -> float:
        """Return tokens of the prompt per second."""
        return self.n_prompt / self.prefill_seconds if self.prefill_seconds > 0 else 0.0


class Player(Protocol):
    """A loaded model that continues prompts greedily, past any end."""

    name: str
    host: str  # OURS or BROWSER: which of our engines it is held to
    about: dict[str, Any]  # what runs, and on what: "ran_on"
    copy_bytes_per_second: float  # of the adapter it runs on, 0 elsewhere

    def play(self, prompt: Prompt, n: int) -> Run:
        """Continue a prompt by `n` tokens. Raises PlayerError."""

    def close(self) -> None:
        """Free everything."""


def run_of(reply: Mapping[str, Any]) -> Run:
    """Return the run that an engine's answer describes."""
    ids = tuple(reply["ids"])
    return Run(
        ids,
        reply["n_prompt"],
        reply.get("n_generated", len(ids)),
        reply["prefill_seconds"],
        reply["decode_seconds"],
        reply.get("weight_bytes", 0),
        reply.get("kv_bytes", 0),
    )


class Child:
    """A player in a process of its own, which reads and writes lines of JSON."""

    host = OURS

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        copy_bytes_per_second: float = 0.0,
    ) -> None:
        self.name = name
        self.copy_bytes_per_second = copy_bytes_per_second
        self._log = TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [*command, json.dumps(options)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.about: dict[str, Any] = self._answer()
        if found := self._devices():
            self.about["ran_on"] = found

    def play(self, prompt: Prompt, n: int) -> Run:
        """Send a prompt and wait for the reply."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise PlayerError(f"{self.name} has ended earlier")
        try:
            print(
                json.dumps({"ids": prompt.ids, "n": n}),
                file=self._process.stdin,
                flush=True,
            )
        except OSError:
            pass  # it has ended: its last words are in the log
        return run_of(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        # llama.cpp writes some of its own lines to the same place.
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        words = self._said()[-3:]
        self.close()
        raise PlayerError(f"{self.name} has ended: {' / '.join(words)}")

    def _said(self) -> list[str]:
        self._log.seek(0)
        return [line.strip() for line in self._log if line.strip()]

    def _devices(self) -> str:
        """Return the device that llama.cpp says it uses."""
        return "; ".join(line for line in self._said() if "using device" in line)


def lapidary(name: str, tree: Path, files: Mapping[str, Any], copy: float) -> Child:
    """Start the driver of a tree; the script that plays is always this one's.

    Raises: PlayerError when another tree's driver is what answers.
    """
    command = [sys.executable, "-P", SCRIPTS / "play.py"]
    # Packages may be there by this variable alone; the tree comes before them.
    kept = os.environ.get("PYTHONPATH")
    paths = {"PYTHONPATH": os.pathsep.join([str(tree), *([kept] if kept else [])])}
    child = Child(name, command, files, paths, copy)
    # Nobody who reads a record wants to know in which folder it was.
    package = Path(child.about.pop("package"))
    if not package.is_relative_to(tree):
        child.close()
        raise PlayerError(f"{name}: the driver of another folder answers, {package}")
    return child


def llama(
    name: str, files: Mapping[str, Any], copy: float, python: Path | None
) -> Child:
    """Start llama.cpp; with Vulkan on the first device, in software or not."""
    gpu = name == peers.LLAMA_CPP_VULKAN
    python = python or peers.llama_python(name)
    visible = os.environ.get("GGML_VK_VISIBLE_DEVICES", "0")
    return Child(
        name,
        [python, SCRIPTS / "play_llama.py"],
        {**files, "gpu": gpu},
        {"GGML_VK_VISIBLE_DEVICES": visible} if gpu else {},
        copy if gpu else 0.0,
    )
