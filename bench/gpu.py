"""Run every benchmark that a GPU should see, and keep all of it in one file.

    python -m bench.gpu [--out bench/results/NAME.json] [--models e2b,26b-a4b]
                        [--vs llama.cpp-vulkan …] [--browser] [--quick]

Copy bandwidth and the cost of a dispatch; the cost table; every kernel at real shapes;
a profile of the whole step by timestamp queries; decode and prefill of the released
sizes with generated weights, whole; shaders against the oracle. Each part is a process
of its own, so that one that does not fit, or loses the device, costs only itself: the
file says of each how it ended, and is written again after each. It needs some 20 GB
on the disk for the largest size (TMPDIR names the place), one at a time. `--quick` runs
all parts with small cuts, which also llvmpipe finishes: its figures say that the script
works, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import arguments, peers, prompts, record
from pyodide_app.errors import EngineError
from pyodide_app.gpu.wgpu_native import open_device
from tests import realshape
from tools.environment import ROOT

RESULTS = ROOT / "bench" / "results"
GOLDEN = sorted((ROOT / "tests" / "golden" / "models").glob("*.gguf"))
IDS = "2,10,11,12,13,14,15,16"
KEPT_LINES = 40  # of what a part prints; the last ones


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run."""

    models: tuple[str, ...]
    layers: int | None
    context: int  # of kernels and profiles
    prompt: int  # of the kernels of a prompt
    contexts: str
    prompts: str
    n: int
    repeats: int
    golden: tuple[Path, ...]
    diffed: tuple[str, ...]  # sizes cut to two layers


FULL = Scale(
    models=tuple(realshape.MODELS),
    layers=None,
    context=4096,
    prompt=512,
    contexts="16,512,4096",
    prompts="16,512,2048",
    n=64,
    repeats=5,
    golden=tuple(GOLDEN),
    diffed=("e2b", "26b-a4b"),
)
QUICK = Scale(
    models=("e2b",),
    layers=2,
    context=64,
    prompt=8,
    contexts="16",
    prompts="16",
    n=3,
    repeats=1,
    golden=tuple(GOLDEN[:1]),
    diffed=(),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A benchmark as a process: its name in the file, and its arguments."""

    name: str
    arguments: tuple[str, ...]
    has_json: bool = True


def before_models(
    scale: Scale, file_type: str, adapter: Sequence[str] = ()
) -> Iterator[Part]:
    """Yield what needs no weights."""
    common = ("--type", file_type, "--context", str(scale.context), *adapter)
    kernels = ("-m", "bench.kernels", *scale.models, *common)
    yield Part("cost", ("-m", "bench.cost", "--check"), has_json=False)
    yield Part("kernels", kernels)
    yield Part("kernels of a prompt", (*kernels, "--prompt", str(scale.prompt)))
    cut = () if scale.layers is None else ("--layers", str(scale.layers))
    for model in scale.models:
        profile = ("-m", "bench.profile", model, *common, *cut)
        yield Part(f"profile {model}", profile)


def of_model(scale: Scale, file: Path, more: Sequence[str]) -> Iterator[Part]:
    """Yield what runs a file; its name says which it is."""
    for verb, option, lengths in (
        ("decode", "--contexts", scale.contexts),
        ("prefill", "--prompts", scale.prompts),
    ):
        n = scale.n if verb == "decode" else 1
        command = ("-m", f"bench.{verb}", str(file), option, lengths, "-n", str(n))
        repeats = ("--repeats", str(scale.repeats))
        yield Part(f"{verb} {file.stem}", (*command, *repeats, *more))


def diff(file: Path) -> Part:
    """Return the comparison of shaders and oracle on a file."""
    command = ("build.py", "diff", str(file), "--ids", IDS)
    return Part(f"diff {file.stem}", command, has_json=False)


class Report:
    """The one file, written again after each part."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.head = head
        self.parts: dict[str, dict[str, Any]] = {}

    def run(self, part: Part) -> None:
        """Run a part and keep what it gives, or how it failed."""
        print(f"\n== {part.name}", flush=True)
        with TemporaryDirectory() as folder:
            out = Path(folder) / "part.json"
            keep = ("--json", str(out)) if part.has_json else ()
            begin = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *part.arguments, *keep],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            lines = list(shown(process))
            result = json.loads(out.read_text("utf-8")) if out.exists() else None
        self.keep(
            part.name,
            status=process.returncode,
            seconds=time.perf_counter() - begin,
            result=result,
            output=[] if result else lines[-KEPT_LINES:],
        )

    def keep(self, name: str, **found: Any) -> None:
        """Add a part and write the file."""
        self.parts[name] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        record.save(self.path, benchmark="gpu", **self.head, parts=self.parts)

    @property
    def failed(self) -> list[str]:
        """Return the parts that did not end well."""
        return [name for name, part in self.parts.items() if part["status"]]


def shown(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines that a process prints, and print them."""
    assert process.stdout is not None
    with process:  # closes the pipe and waits
        for line in process.stdout:
            print(line, end="", flush=True)
            # No record names the folders of a machine.
            yield line.rstrip().replace(str(ROOT), ".")


def default_path(device: dict[str, Any], quick: bool) -> Path:
    """Return a name that nobody takes for what it is not."""
    kind = "software" if device["is_software"] else "gpu"
    name = "".join(c if c.isalnum() else "-" for c in device["device"].lower())
    short = "-".join(part for part in name.split("-") if part)[:40]
    return RESULTS / f"{kind}-{short}{'-quick' if quick else ''}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts; 1 where one of them failed."""
    options = parse(argv)
    scale = QUICK if options.quick else FULL
    device = open_device(options.adapter)
    found = asyncio.run(record.device_record(device))
    device.close()
    if found["is_software"] and not options.quick:
        print("this adapter is software: it would take days, use --quick")
        return 2
    path = options.out or default_path(found, options.quick)
    report = Report(path, {"device": found, "quick": options.quick})
    adapter = ["--adapter", options.adapter] if options.adapter else []
    for part in before_models(scale, options.type, adapter):
        report.run(part)
    more = [*adapter, *(["--browser"] if options.browser else [])]
    more += ["--vs", *options.vs] if options.vs else []
    for model in options.models or scale.models:
        run_model(report, scale, model, options.type, more)
    for file in scale.golden:
        report.run(diff(file))
    for model in scale.diffed:
        with TemporaryDirectory() as folder:
            files = prompts.write(Path(folder), model, options.type, 2).files
            report.run(diff(files[0]))
    failed = report.failed
    print(f"\n{path}: {len(report.parts)} parts, failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run_model(
    report: Report, scale: Scale, model: str, file_type: str, more: Sequence[str]
) -> None:
    """Write a size for a while and run it; without room on the disk, say so."""
    try:
        with prompts.opened(model, file_type, scale.layers) as written:
            for part in of_model(scale, written.files[0], more):
                report.run(part)
    except EngineError as error:
        report.keep(f"decode {model}", status=2, output=[str(error)])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = arguments.parser("gpu", __doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the results")
    parser.add_argument("--models", type=sizes, metavar="SIZE,…")
    parser.add_argument("--type", default="Q4_K_M", metavar="TYPE")
    arguments.add_adapter(parser)
    parser.add_argument("--browser", action="store_true", help="in Chromium, too")
    peers.add_argument(parser)
    parser.add_argument("--quick", action="store_true", help="small cuts, as a proof")
    return parser.parse_args(argv)


def sizes(text: str) -> list[str]:
    """Read released sizes that commas separate."""
    found = text.split(",")
    if unknown := set(found) - set(realshape.MODELS):
        raise ValueError(unknown)
    return found


if __name__ == "__main__":
    sys.exit(main())
