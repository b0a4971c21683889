"""One call of the decode or the prefill benchmark: engines, prompts, tables, a record.

The engines take turns, prompt by prompt, so that all see the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import arguments, peers, prompts, record
from bench.players import OURS, Player, PlayerError, lapidary, llama
from bench.points import Point, alternate, summary, table
from bench.prompts import Model, Prompt
from pyodide_app.gpu.wgpu_native import open_device
from tools.environment import ROOT, SetupError


@dataclass(slots=True)
class Session:
    """What one call of a benchmark has opened and measured."""

    model: Model
    device: dict[str, Any]
    players: list[Player] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)


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
    made = arguments.parser(program, description)
    made.add_argument("model", metavar="MODEL", help="a file, a name, or a size")
    made.add_argument(lengths, dest="lengths", type=arguments.numbers, metavar="N,…")
    made.add_argument(
        "-n", type=arguments.numbered, default=n, metavar="N", help="new tokens"
    )
    made.add_argument("--type", default="Q4_K_M", metavar="TYPE", help="of a size")
    made.add_argument("--layers", type=int, metavar="N", help="of a size, keep N")
    made.add_argument("--repeats", type=arguments.numbered, default=3, metavar="N")
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
    arguments.add_adapter(made)
    record.add_option(made)
    return made


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
