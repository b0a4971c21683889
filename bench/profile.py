"""Profile one decode step by timestamp queries: which kernel takes which share.

    python -m bench.profile [MODEL ...] [--type Q4_K_M] [--context 4096] [--layers N]

MODEL is a released size or a GGUF file; its weights are not read, zeros stand for them.
The whole step runs in its order, each dispatch in a pass of its own between two
timestamps. The last line sets their sum against the step in one pass by the wall clock:
what passes of their own cost is in the first, what the queue adds is in the second.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

from bench import arguments, record, zeros
from bench.kernels import kernel_name
from bench.timestamps import Stopwatch, open_timed
from pyodide_app.gpu.wgpu_native import NativeDevice, NativePlan

ROUNDS = 3  # of which the fastest counts, dispatch by dispatch


@dataclass(frozen=True, slots=True)
class Row:
    """What the dispatches of one kernel take together."""

    kernel: str  # with its formats
    n: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A step of one model."""

    model: str
    n_keys: int
    rows: tuple[Row, ...]
    wall_seconds: float  # of the step as the engine runs it

    @property
    def seconds(self) -> float:
        """Return the sum over all dispatches."""
        return sum(row.seconds for row in self.rows)


async def profile(
    device: NativeDevice, watch: Stopwatch, model: str, options: argparse.Namespace
) -> Profile:
    """Run a step several times; what it needs is on the device meanwhile."""
    sources = await zeros.sources(model, options.type, options.layers)
    n_keys = options.context
    layout = (await zeros.preflight(device, sources, n_keys + 64)).layout
    plan = layout.plans[1]
    try:
        prepared = await device.prepare(plan)
        assert isinstance(prepared, NativePlan)
        rounds, walls = [], []
        for _ in range(ROUNDS + 1):
            zeros.begin_at(device, layout, n_keys)
            rounds.append(watch.times([[each] for each in prepared.commands]))
            begin = perf_counter()
            device.submit(prepared)
            await device.settle()
            walls.append(perf_counter() - begin)
    finally:
        device.release({v.buffer for d in plan.dispatches for v in d.views})
    # The first round compiles.
    best = [min(times) for times in zip(*rounds[1:], strict=True)]
    names = [kernel_name(dispatch) for dispatch in plan.dispatches]
    return Profile(model, n_keys, group(names, best), min(walls[1:]))


def group(names: Sequence[str], seconds: Sequence[float]) -> tuple[Row, ...]:
    """Add up by kernel, the longest first."""
    sums: dict[str, tuple[int, float]] = {}
    for name, took in zip(names, seconds, strict=True):
        n, total = sums.get(name, (0, 0.0))
        sums[name] = n + 1, total + took
    rows = [Row(name, n, total) for name, (n, total) in sums.items()]
    return tuple(sorted(rows, key=lambda row: -row.seconds))


def table(found: Profile) -> str:
    """Lay a profile out."""
    lines = [f"{'kernel':44}{'n':>5}{'ms':>10}{'share':>9}{'µs each':>10}"]
    for row in found.rows:
        share = 100 * row.seconds / max(found.seconds, 1e-12)
        each = 1e6 * row.seconds / row.n
        lines.append(
            f"{row.kernel:44}{row.n:>5}{1e3 * row.seconds:>10.3f}"
            f"{share:>7.1f} %{each:>10.1f}"
        )
    lines.append(
        f"in all {1e3 * found.seconds:.2f} ms in {sum(r.n for r in found.rows)} "
        f"dispatches; in one pass {1e3 * found.wall_seconds:.2f} ms by the wall clock"
    )
    return "\n".join(lines)


async def run(options: argparse.Namespace) -> int:
    """Profile all models asked for; 1 where the adapter has no timestamps."""
    device, watch = open_timed(options.adapter)
    if watch is None:
        print(f"{device.info.name} has no timestamp queries", file=sys.stderr)
        return 1
    device_record = await record.device_record(device)
    found = []
    for model in options.models or ["e2b", "26b-a4b"]:
        found.append(await profile(device, watch, model, options))
        print(f"\n{model} {options.type}, {options.context:,} tokens before")
        print(table(found[-1]), flush=True)
        record.save(
            options.json,
            benchmark="profile",
            device=device_record,
            profiles=[asdict(each) for each in found],
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = arguments.parser("profile", __doc__)
    arguments.add_models(parser)
    parser.add_argument(
        "--layers", type=int, metavar="N", help="of a size, with fewer words as well"
    )
    arguments.add_adapter(parser)
    record.add_option(parser)
    return asyncio.run(run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
