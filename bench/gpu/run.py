"""Run the parts one after another within a time, and write what they find."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.gpu import machine
from bench.gpu.parts import ADAPTER, Part, Scale, every
from bench.gpu.process import GRACE, Log, Process
from tools.environment import SetupError

WELL = "well"  # how a part ends that did what it should
RESERVE = 2 * GRACE + 1  # seconds in which even a part that hangs is ended
LEAST = RESERVE + 8.0  # seconds below which no part is begun
CLOCKS = "timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu"
# What the adapter's own record brings to the top of the report.
HEAD = ("environment", "device")


class Report:
    """The one file, written again as soon as anything new is known."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.head = head
        self.parts: dict[str, dict[str, Any]] = {}

    def keep(self, name: str, **found: Any) -> None:
        """Keep what is known of a part."""
        if self.parts.get(name) != found:
            self.parts[name] = found
            self.write()

    def write(self) -> None:
        """Write the file; the one before stays until the new one is whole."""
        content = {"benchmark": "gpu", **self.head, "parts": self.parts}
        beside = self.path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            print(f"{self.path.name} is not written: {error}", file=sys.stderr)

    @property
    def failed(self) -> list[str]:
        """Return the parts that did not end well."""
        return [name for name, part in self.parts.items() if part["ended"] != WELL]


class Run:
    """One run: its end, its report, and the environment of its parts."""

    def __init__(self, out: Path, seconds: float, is_quick: bool) -> None:
        self._end = time.monotonic() + seconds
        out.mkdir(parents=True, exist_ok=True)
        self.log = Log(out / "log.txt")
        (out / "log.txt").unlink(missing_ok=True)
        self.report = Report(out / "report.json", {"quick": is_quick})
        self.environment: machine.Environment = {}
        self.stack = ExitStack()  # of what is laid out for the time of the run
        self._dawn: machine.Environment | None = None

    @property
    def left(self) -> float:
        """Return the seconds that are left."""
        return self._end - time.monotonic()

    def do(self, part: Part, work: Path) -> None:
        """Run a part and keep what it finds, or how it failed."""
        if self.left < LEAST:
            self.log.say(f"\n== {part.name}: no time is left")
            self.report.keep(part.name, ended="no time was left")
            return
        limit = min(part.limit, self.left - RESERVE)
        self.log.say(f"\n== {part.name}, at most {limit:.0f} s, {self.left:.0f} s left")
        begin = time.monotonic()
        try:
            environment = self._environment_of(part, work)
            limit = min(limit, self.left - RESERVE)  # laying Dawn out takes some
            self._run(part, work / f"{part.name}.json", environment, limit)
        except (OSError, SetupError) as error:
            self.report.keep(part.name, ended="could not begin", output=[str(error)])
        ended = self.report.parts[part.name]["ended"]
        self.log.say(f"-- {part.name}: {ended}, {time.monotonic() - begin:.1f} s")

    def _environment_of(self, part: Part, work: Path) -> machine.Environment:
        """Return what a part needs; Dawn is laid out once, for the first that does."""
        if not part.on_dawn:
            return self.environment
        if self._dawn is None:
            self._dawn = self.stack.enter_context(machine.dawn(work))
        return {**self.environment, **self._dawn, "LAPIDARY_DEVICE": "dawn"}

    def _run(
        self, part: Part, out: Path, environment: machine.Environment, limit: float
    ) -> None:
        keep = ("--json", str(out)) if part.has_json else ()
        begin = time.monotonic()
        command = [sys.executable, *part.arguments, *keep]
        process = Process(command, environment, self.log, out.parent)

        def look(ended: str = "running") -> None:
            result = read(out)
            self.report.keep(
                part.name,
                ended=ended,
                seconds=round(time.monotonic() - begin, 1),
                result=result,
                output=[] if result and ended == WELL else list(process.lines),
            )

        try:
            ended = outcome(process.wait(limit, look), limit)
        except BaseException:
            look("ended with the whole run")
            raise
        look(ended)


def outcome(status: int | None, limit: float) -> str:
    """Say how a process ended."""
    if status is None:
        return f"killed after {limit:.0f} s"
    if status < 0:
        return f"ended by signal {-status}"
    return WELL if status == 0 else f"failed with status {status}"


def read(path: Path) -> dict[str, Any] | None:
    """Return what a part has found so far."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def run(scale: Scale, seconds: float, only: Sequence[str], out: Path) -> int:
    """Run what was asked for; 1 where a part failed.

    Raises: SetupError when nothing can be run.
    """
    found = Run(out, seconds, scale.is_quick)
    report = found.report
    with ended_politely(), found.stack as stack:
        folder = TemporaryDirectory(ignore_cleanup_errors=True)
        work = Path(stack.enter_context(folder))
        begin(found, work)
        with clocks(out / "clocks.csv"):
            for part in chosen(scale, only):
                found.do(part, work)
                if part.name == ADAPTER.name:
                    result = report.parts[part.name].get("result") or {}
                    report.head |= {k: result[k] for k in HEAD if k in result}
    report.write()
    rows = [f"{name}: {p['ended']}" for name, p in report.parts.items()]
    found.log.say("\n" + "\n".join([str(report.path), *rows]))
    return 1 if report.failed else 0


def begin(found: Run, work: Path) -> None:
    """Have the environment of all parts, and what was seen on the way in the report.

    Raises: SetupError when there is no GPU, or no package to reach it with.
    """
    head = found.report.head
    try:
        head["machine"] = machine.describe()
        found.log.say("\n".join(head["machine"]["nvidia_smi"]))
        made = machine.base(work)
        is_quick = head["quick"]
        found.environment, head["drivers"] = machine.find_gpu(made, work, is_quick)
    except SetupError as error:
        head["not_begun"] = str(error)
        raise
    finally:
        found.report.write()


def chosen(scale: Scale, only: Sequence[str]) -> list[Part]:
    """Return the parts that were asked for, and the adapter's, which heads all."""
    asked = every(scale)
    if not only:
        return list(asked)
    return [p for p in asked if p.name == ADAPTER.name or any(map(p.is_called, only))]


@contextmanager
def ended_politely() -> Iterator[None]:
    """Have SIGTERM end the run as an exception does, its part with it."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def clocks(path: Path) -> Iterator[None]:
    """Keep the GPU's clocks meanwhile, where nvidia-smi is there."""
    command = ["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv", "-l", "2"]
    if shutil.which(command[0]) is None:
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # it waits for the driver
                process.wait(GRACE)
