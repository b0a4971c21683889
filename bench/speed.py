"""Engines that play the same prompts in turn, and what their times mean.

An engine is a `Player`: ours in a process of its own, ours of an older commit,
llama.cpp through llama-cpp-python; bench/chromium.py has those that run in a browser.
They take turns, prompt by prompt, so that all see the same machine; the best of several
counts, since other work only ever takes time. A speed means nothing without the tokens:
those of each are compared with ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

from bench import peers, prompts, record
from bench.prompts import Model, Prompt
from pyodide_app.gpu.wgpu_native import open_device
from tools.environment import ROOT, SetupError

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
    child = Child(name, command, files, {"PYTHONPATH": str(tree)}, copy)
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


# -- one run -------------------------------------------------------------------------


@dataclass(slots=True)
class Session:
    """What one call of a benchmark has opened and measured."""

    model: Model
    device: dict[str, Any]
    players: list[Player] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Point:
    """All runs at one length of prompt, by engine, and who they are held to."""

    n_prompt: int
    runs: dict[str, list[Run]]
    hosts: dict[str, str]
    copies: dict[str, float]

    def best(self, name: str, phase: str) -> float:
        """Return an engine's speed: the best of its runs."""
        return max(getattr(run, f"{phase}_speed") for run in self.runs[name])

    def ratio(self, name: str, phase: str) -> float:
        """Return how many times as fast ours is; 0 where ours did not run."""
        ours, theirs = self.hosts[name], self.best(name, phase)
        known = ours in self.runs and theirs > 0
        return self.best(ours, phase) / theirs if known else 0.0

    def floor(self, name: str, phase: str) -> float:
        """Return the speed that the bandwidth of a copy would allow, 0 if unknown.

        A step reads what our own step needs; reading a prompt takes all weights of one
        step at least once.
        """
        ours = self.runs.get(self.hosts[name]) or [Run((), 0, 0, 0.0, 0.0)]
        weights, keys = ours[0].weight_bytes, ours[0].kv_bytes
        if not weights:
            return 0.0
        if phase == "decode":
            return self.copies[name] / (weights + keys)
        return self.n_prompt * self.copies[name] / weights

    def agreement(self, name: str) -> str:
        """Say how many tokens are those of ours, from the first on."""
        ours, theirs = self.runs.get(self.hosts[name]), self.runs[name][0].ids
        if name == self.hosts[name] or not ours or not theirs:
            return ""
        n = min(len(ours[0].ids), len(theirs))
        return f"{n_equal(ours[0].ids, theirs)}/{n}"


def n_equal(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Count the equal tokens at the beginning."""
    pairs = list(zip(ours, theirs, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def alternate(
    players: Sequence[Player], prompt: Prompt, n: int, repeats: int
) -> tuple[Point, dict[str, str]]:
    """Let all play a prompt in turn; the first round, which compiles, does not count.

    Returns with the runs why an engine has none.
    """
    runs: dict[str, list[Run]] = {}
    failed: dict[str, str] = {}
    for i in range(repeats + 1):
        for player in players:
            if player.name in failed:
                continue
            try:
                found = player.play(prompt, n)
            except PlayerError as error:
                failed[player.name] = str(error)
                runs.pop(player.name, None)
                continue
            if i:
                runs.setdefault(player.name, []).append(found)
    hosts = {player.name: player.host for player in players}
    copies = {player.name: player.copy_bytes_per_second for player in players}
    return Point(len(prompt.ids), runs, hosts, copies), failed


@contextmanager
def session(options: argparse.Namespace, n_ctx: int) -> Iterator[Session]:
    """Open the model and all engines that were asked for; some may fail."""
    with ExitStack() as stack:
        model = stack.enter_context(
            prompts.opened(options.model, options.type, options.layers)
        )
        device = open_device(options.adapter)
        found = asyncio.run(record.device_record(device))
        device.close()
        ready = Session(model, found)
        for name, start in starts(options, ready, n_ctx, stack).items():
            try:
                ready.players.append(start())
            except (PlayerError, SetupError, subprocess.CalledProcessError) as error:
                ready.failed[name] = str(error)
                print(f"{name}: left out, {error}", file=sys.stderr)
                continue
            stack.callback(ready.players[-1].close)
            print(f"{name}: {ready.players[-1].about['ran_on']}", file=sys.stderr)
        yield ready


def starts(
    options: argparse.Namespace, ready: Session, n_ctx: int, stack: ExitStack
) -> dict[str, Any]:
    """Return how to start each engine, ours first."""
    files = {
        "files": [str(path) for path in ready.model.files],
        "n_ctx": n_ctx,
        "adapter": options.adapter,
    }
    copy = ready.device["copy_bytes_per_second"]
    found: dict[str, Any] = {}
    if not options.no_native:
        found[OURS] = lambda: lapidary(OURS, ROOT, files, copy)
    for commit in options.vs_commit:
        found[commit] = lambda commit=commit: lapidary(
            commit, stack.enter_context(peers.checkout(commit)), files, copy
        )
    for name in dict.fromkeys(options.vs):
        if name in peers.NATIVE:
            found[name] = lambda name=name: llama(
                name, files, copy, options.llama_python
            )
    if options.browser or peers.WLLAMA in options.vs:
        from bench import chromium  # only here: it needs a browser

        with_wllama = peers.WLLAMA in options.vs
        found |= chromium.starts(ready.model, n_ctx, stack, with_wllama)
    return found


def parser(
    program: str, description: str | None, lengths: str, n: int
) -> argparse.ArgumentParser:
    """Return the options that decode and prefill share."""
    made = argparse.ArgumentParser(
        f"python -m bench.{program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("model", metavar="MODEL", help="a file, a name, or a size")
    made.add_argument(lengths, dest="lengths", type=numbers, metavar="N,…")
    made.add_argument("-n", type=int, default=n, metavar="N", help="new tokens")
    made.add_argument("--type", default="Q4_K_M", metavar="TYPE", help="of a size")
    made.add_argument("--layers", type=int, metavar="N", help="of a size, keep N")
    made.add_argument("--repeats", type=int, default=3, metavar="N")
    made.add_argument("--browser", action="store_true", help="in Chromium, too")
    made.add_argument("--no-native", action="store_true", help="not natively")
    peers.add_argument(made)
    made.add_argument(
        "--vs-commit",
        action="append",
        default=[],
        metavar="COMMIT",
        help="an older version of this one",
    )
    made.add_argument(
        "--llama-python",
        type=Path,
        metavar="PATH",
        help="a Python that has llama-cpp-python, in place of one made here",
    )
    made.add_argument("--adapter", default="", help="part of the GPU's name")
    record.add_option(made)
    return made


def numbers(text: str) -> list[int]:
    """Read numbers from 1 on that commas separate."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def run(options: argparse.Namespace, phase: str) -> int:
    """Measure at every length, print tables, keep the record; 1 if nothing ran."""
    n_ctx = max(options.lengths) + options.n + 64
    with session(options, n_ctx) as ready:
        print(heading(ready))
        for prompt in prompts_for(options, ready):
            point, failed = alternate(ready.players, prompt, options.n, options.repeats)
            ready.failed |= {f"{k} at {point.n_prompt}": v for k, v in failed.items()}
            ready.points.append(point)
            record.save(options.json, **content(ready, options, phase))
            if point.runs:
                print(f"\n{table(point, phase)}", flush=True)
        for name, reason in ready.failed.items():
            print(f"{name} did not run: {reason}")
        return 0 if any(point.runs for point in ready.points) else 1


def prompts_for(options: argparse.Namespace, ready: Session) -> list[Prompt]:
    """Make the prompts; in a thread, for a browser's loop may run in this one."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(prompts.make, ready.model, options.lengths).result()


def heading(ready: Session) -> str:
    """Say what runs where, and how busy the machine is."""
    device = ready.device
    kind = " (software, says nothing about a GPU)" if device["is_software"] else ""
    return (
        f"{ready.model.name}, {ready.model.n_bytes / 1e9:.3f} GB; "
        f"{device['device']}, {device['driver']}{kind}; a copy moves "
        f"{device['copy_bytes_per_second'] / 1e9:.2f} GB/s; load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def table(point: Point, phase: str) -> str:
    """Lay the speeds out, an engine per row."""
    rows = [
        (f"{point.n_prompt} tokens", "tok/s", "ms", "of floor", "ours is", "equal ids")
    ]
    for name, runs in point.runs.items():
        speed, ratio = point.best(name, phase), point.ratio(name, phase)
        floor = point.floor(name, phase)
        per = 1e3 / speed if phase == "decode" and speed else 0.0
        if phase == "prefill":
            per = 1e3 * min(run.prefill_seconds for run in runs)
        is_ours = name == point.hosts[name]
        rows.append(
            (
                name,
                f"{speed:.2f}",
                f"{per:.1f}",
                f"{100 * speed / floor:.1f} %" if floor else "",
                f"× {ratio:.2f}" if ratio and not is_ours else "",
                point.agreement(name),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def content(
    ready: Session, options: argparse.Namespace, phase: str
) -> dict[str, object]:
    """Return what a record holds: every run, not the best alone."""
    return {
        "benchmark": phase,
        "model": {"name": ready.model.name, "bytes": ready.model.n_bytes},
        "device": ready.device,
        "engines": {player.name: player.about for player in ready.players},
        "failed": ready.failed,
        "points": [summary(point, phase) for point in ready.points],
    }


def summary(point: Point, phase: str) -> dict[str, object]:
    """Return a point's figures by engine."""
    return {
        "n_prompt": point.n_prompt,
        "engines": {
            name: {
                "tokens_per_second": point.best(name, phase),
                "share_of_floor": point.best(name, phase) / floor
                if (floor := point.floor(name, phase))
                else None,
                "ours_is_times": point.ratio(name, phase) or None,
                "equal_ids": point.agreement(name) or None,
                "runs": [asdict(run) for run in runs],
            }
            for name, runs in point.runs.items()
        },
    }
