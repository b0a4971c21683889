"""Time each kernel of a decode step on its own, at a released model's real shapes.

    python -m bench.kernels [MODEL ...] [--type Q4_K_M,Q8_0,Q4_0] [--context 4096]
                            [--prompt N] [--adapter NAME] [--plot kernels.svg]
                            [--json FILE]

MODEL is `e2b`, `e4b`, `12b`, `26b-a4b` or `31b`, cut to a layer of each kind; its data
are zeros. Every distinct dispatch of the step (of a prompt of N tokens with `--prompt`)
is replayed alone, on so many copies of its matrices, keys and values that no cache
holds them. All write to the same place, so that each waits for the one before, as in a
step: the time of one is with its launch and its last thread. It is compared with a copy
of 16-byte words in the same run: GB/s count the matrices, keys and values that the
kernel reads. The adapter's own timestamps tell the time where it has
them, else the wall clock. `--plot` needs matplotlib: the extra `bench` has it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from bench import arguments, cost, record, zeros
from bench.tables import aligned
from bench.timestamps import Stopwatch, open_timed
from pyodide_app.adapter.measure import Measured, measure
from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.gpu.wgpu_native import NativeDevice, NativePlan
from pyodide_app.graph import tuning
from pyodide_app.graph.kv_cache import KV_BYTES
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, View
from pyodide_app.load.layout import Layout
from pyodide_app.load.passes import Passes
from pyodide_app.models.config import Config
from pyodide_app.run.sampling import SamplingOptions, pack_state

WORKING_SET = 256 << 20  # bytes that one round of replays touches, on a GPU
MOST_HELD = 2 << 30  # bytes of all copies, of which a round may touch a part
IN_SOFTWARE = 16 << 20  # there, arithmetic takes longer than memory
FEW_COPIES, MANY_COPIES = 64, 2048  # in software and of what reads no matrix; at most
SHORTEST = 0.03  # seconds of one timed run
ROUNDS = 5  # of which the fastest counts


@dataclass(frozen=True, slots=True)
class Timing:
    """How one distinct dispatch does."""

    model: str
    file_type: str
    kernel: str  # with its formats
    tensor: str
    count: int  # such dispatches in the cut model's step
    seconds: float
    n_bytes: int  # of matrices, keys and values
    copy_share: float  # of the bandwidth of a copy

    @property
    def gb_per_second(self) -> float:
        """Return how fast it reads."""
        return self.n_bytes / self.seconds / 1e9


async def time_model(
    device: NativeDevice,
    watch: Stopwatch | None,
    model: str,
    file_type: str,
    n_keys: int,
    n_tokens: int,
) -> tuple[list[Timing], Measured]:
    """Time the distinct dispatches of a pass over `n_tokens` tokens."""
    sources = await zeros.sources(model, file_type, 2)
    fitted = await zeros.preflight(device, sources, n_keys + n_tokens)
    layout, config = fitted.layout, fitted.config
    measured = await measure(device, tuning.choose(device.info.is_software))
    plan, _ = Passes(device, layout).record((n_tokens, True)).finish()
    state = layout.step.state
    owner = cost.owners(layout)
    caches = [buffer for c in layout.model.caches.values() for buffer in (c.k, c.v)]
    apart = {*owner, *caches}
    counts = Counter(_identity(dispatch) for dispatch in plan.dispatches)
    timings = []
    for dispatch in {_identity(d): d for d in plan.dispatches}.values():
        n_bytes = cost.matrix_bytes(config, owner, dispatch)
        n_bytes += _kv_bytes(config, layout, dispatch, n_keys)
        seconds = await _time(device, watch, dispatch, n_bytes, apart, state, n_keys)
        timings.append(
            Timing(
                model,
                file_type,
                kernel_name(dispatch),
                dispatch.label,
                counts[_identity(dispatch)],
                seconds,
                n_bytes,
                n_bytes / seconds / measured.copy_bytes_per_second,
            )
        )
    return timings, measured


def kernel_name(dispatch: Dispatch) -> str:
    """Return the kernel with what fills its include slots, its formats above all."""
    slots = (value for _, value in dispatch.variant.slots if value != "none")
    return ":".join([dispatch.variant.kernel, *slots])


def _identity(dispatch: Dispatch) -> object:
    """Return what two dispatches that do the same work share."""
    sizes = tuple(view.size for view in dispatch.views)
    return dispatch.variant, dispatch.workgroups, sizes


def _kv_bytes(config: Config, layout: Layout, dispatch: Dispatch, n_keys: int) -> int:
    """Return the keys and values that one token's attention reads."""
    if dispatch.variant.kernel != "attention_decode":
        return 0
    buffers = {view.buffer for view in dispatch.views}
    for cache in layout.model.caches.values():
        if cache.k in buffers:
            seen = min(n_keys, cache.window) if cache.window else n_keys
            width = cache.n_kv_heads * cache.head_dim
            return 2 * seen * width * KV_BYTES[cache.kv]
    return 0


async def _time(
    device: NativeDevice,
    watch: Stopwatch | None,
    dispatch: Dispatch,
    n_read: int,
    apart: Collection[Buffer],
    state: Buffer,
    n_keys: int,
) -> float:
    """Return the seconds of one dispatch among many that wait for each other.

    Each has buffers of its own of those `apart` and of the state, which sampling
    advances; it shares the others with all.
    """
    n_held = sum(view.size for view in dispatch.views if view.buffer in apart)
    n_copies = copies_of(n_read, n_held, device.info.is_software)
    shared = {v.buffer: Buffer(v.buffer.label, v.buffer.size) for v in dispatch.views}
    copies: list[Dispatch] = []
    made = list(shared.values())
    for _ in range(n_copies):
        own = {b: Buffer(b.label, b.size) for b in shared if b in apart or b == state}
        made += own.values()
        copies.append(_with(dispatch, shared | own))
        if state in own:
            # Equal logits, as zeros give, are the worst for other ways to sample.
            device.write(own[state], 0, pack_state(n_keys, SamplingOptions.greedy))
    try:
        prepared = await device.prepare(Plan(dispatch.label, tuple(copies)))
        if watch is not None:
            assert isinstance(prepared, NativePlan)
            return _fastest_on(watch, prepared) / n_copies
        return await _fastest(device, prepared) / n_copies
    finally:
        device.release(made)


def copies_of(n_read: int, n_held: int, is_software: bool) -> int:
    """Return on how many copies to replay what reads so many of the bytes it holds.

    No cache holds what all of them read together; of experts that is a part.
    """
    if not n_held:
        return FEW_COPIES
    if is_software:
        return max(1, min(FEW_COPIES, IN_SOFTWARE // n_held))
    enough = WORKING_SET // (n_read or n_held)
    return max(1, min(MANY_COPIES, enough, MOST_HELD // n_held))


def _with(dispatch: Dispatch, renamed: Mapping[Buffer, Buffer]) -> Dispatch:
    views = tuple(View(renamed[v.buffer], v.offset, v.size) for v in dispatch.views)
    return Dispatch(
        dispatch.variant, views, dispatch.params, dispatch.workgroups, dispatch.label
    )


def _fastest_on(watch: Stopwatch, prepared: NativePlan) -> float:
    """Return the shortest time of one pass by the adapter's clock."""
    return max(min(watch.times([prepared.commands] * (ROUNDS + 1))[1:]), 1e-9)


async def _fastest(device: Device, prepared: Prepared) -> float:
    """Return the shortest time of one replay, among so many that waiting is little."""

    async def run(n: int) -> float:
        begin = perf_counter()
        for _ in range(n):
            device.submit(prepared)
        await device.settle()
        return perf_counter() - begin

    await run(1)
    n = 1
    while await run(n) < SHORTEST:
        n *= 2
    idle = min([await run(0) for _ in range(ROUNDS)])
    best = min([await run(n) for _ in range(ROUNDS)])
    return max(best - idle, 1e-9) / n


def table(timings: Sequence[Timing], measured: Measured) -> str:
    """Lay the timings out, the longest share of the step first."""
    total = sum(timing.count * timing.seconds for timing in timings)
    rows = [("kernel", "tensor", "n", "µs", "share", "MB", "GB/s", "of copy")]
    for each in sorted(timings, key=lambda t: -t.count * t.seconds):
        rows.append(
            (
                each.kernel,
                each.tensor,
                str(each.count),
                f"{1e6 * each.seconds:.1f}",
                f"{100 * each.count * each.seconds / total:.1f} %",
                f"{each.n_bytes / 1e6:.2f}",
                f"{each.gb_per_second:.2f}" if each.n_bytes else "",
                f"{100 * each.copy_share:.0f} %" if each.n_bytes else "",
            )
        )
    copied = f"a copy moves {measured.copy_bytes_per_second / 1e9:.2f} GB/s, "
    launch = f"a dispatch costs {1e6 * measured.dispatch_seconds:.1f} µs"
    return f"{aligned(rows, n_left=2)}\n{copied}{launch}"


def plot(timings: Sequence[Timing], path: Path) -> None:
    """Draw each kernel's share of a copy's bandwidth."""
    from matplotlib import pyplot  # main has checked that it is there

    reading = [timing for timing in timings if timing.n_bytes]
    names = [f"{t.model} {t.file_type} {t.kernel} {t.tensor}" for t in reading]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.25 * len(names)))
    axes.barh(names, [100 * timing.copy_share for timing in reading])
    axes.set_xlabel("share of a copy's bandwidth, %")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


async def run(options: argparse.Namespace) -> list[Timing]:
    """Time all models and types asked for, and print a table of each."""
    device, watch = open_timed(options.adapter)
    clock = "timestamp queries" if watch else "wall clock"
    print(f"{device.info.name} ({device.info.backend}), {clock}", file=sys.stderr)
    device_record = await record.device_record(device)
    found: list[Timing] = []
    models = options.models or ["e2b", "26b-a4b"]
    for model, file_type in itertools.product(models, options.type.split(",")):
        timings, measured = await time_model(
            device, watch, model, file_type, options.context, options.prompt
        )
        print(f"\n{model} {file_type}, {options.context:,} tokens before")
        print(table(timings, measured), flush=True)
        found += timings
        record.save(
            options.json,
            benchmark="kernels",
            device=device_record,
            clock=clock,
            n_keys=options.context,
            n_tokens=options.prompt,
            timings=[asdict(timing) for timing in found],
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = arguments.parser("kernels", __doc__)
    arguments.add_models(parser)
    parser.add_argument("--prompt", type=arguments.numbered, default=1, metavar="N")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments.add_adapter(parser)
    record.add_option(parser)
    options = parser.parse_args(argv)
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'lapidary[bench]'")
    timings = asyncio.run(run(options))
    if options.plot:
        plot(timings, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
