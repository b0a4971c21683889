"""Time a decode step on zeros with one thing at a time tuned otherwise.

    python -m bench.sweep [MODEL ...] [--type Q4_K_M] [--context 4096] [--layers N]
                          [--seconds 90] [--adapter NAME] [--json FILE]

Each line is one change to the tuning that the adapter gets unasked, or to the checks
that wgpu compiles into shaders; by the adapter's own clock. Changes are tried in turn
on all models until the time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from wgpu.backends.wgpu_native import _api

from bench import arguments, record, zeros
from bench.kernels import kernel_name
from bench.profile import group
from bench.timestamps import Stopwatch, open_timed
from pyodide_app.gpu.wgpu_native import NativeDevice, NativePlan
from pyodide_app.graph import tuning
from pyodide_app.graph.tuning import Tuning

ROUNDS = 5
CHECKS = "checks"  # no field of the tuning: what wgpu-native checks at run time
NONE, BOUNDS = 0, 1  # of the flags WGPUShaderRuntimeChecks
Change = Mapping[str, Any]
CHANGES: tuple[Change, ...] = (
    {},
    {CHECKS: NONE},
    {CHECKS: BOUNDS},
    {"lanes": 32},
    {"lanes": 64},
    {"lanes": 128, "rows": 1, "fold_rows": 1},
    {"lanes": 64, "rows": 1, "fold_rows": 2},
    {"lanes": 32, "rows": 2, "fold_rows": 4},
    {"lanes": 32, "rows": 1, "fold_rows": 2},
    {"fold_bytes": 0},
    {"fold_bytes": 0, "lanes": 64, "rows": 1},
    {"fold_groups": 1024},
    {"subgroup": 32},
    {"subgroup": 32, "lanes": 32, "rows": 1, "fold_rows": 2},
    {"precision": "int8"},
    {"precision": "int8", "lanes": 64, "rows": 1, "fold_rows": 2},
    {"attention_groups": 512},
    {"attention_groups": 512, "attention_threads": 128},
    {"four": "looped"},
    {"kv_f16": "native"},
)


@contextmanager
def checked_by(flags: int | None) -> Iterator[None]:
    """Compile shaders with these checks of wgpu-native alone; None: with all.

    wgpu-py does not wrap the function that does so, but its library has it.
    """
    with_all = _api.libf.wgpuDeviceCreateShaderModule

    def trusted(device: Any, descriptor: Any) -> Any:
        return _api.lib.wgpuDeviceCreateShaderModuleTrusted(device, descriptor, flags)

    if flags is not None:
        _api.libf.wgpuDeviceCreateShaderModule = trusted
    try:
        yield
    finally:
        _api.libf.wgpuDeviceCreateShaderModule = with_all


def tuned(base: Tuning, change: Change) -> Tuning:
    """Return a tuning with a change that is one of the tuning."""
    return replace(base, **{k: v for k, v in change.items() if k != CHECKS})


async def measure(
    device: NativeDevice,
    watch: Stopwatch,
    model: str,
    change: Change,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Time a step with a change; one that the device does not take is said."""
    info, n_keys = device.info, options.context
    base = tuning.choose(info.is_software, info.limits.max_workgroup_bytes)
    row: dict[str, Any] = {"model": model, "change": dict(change)}
    device._pipelines.clear()  # the checks are not in a variant's name
    try:
        sources = await zeros.sources(model, options.type, options.layers)
        tune = tuned(base, change)
        layout = (await zeros.preflight(device, sources, n_keys + 64, tune)).layout
        plan = layout.plans[1]
        with checked_by(change.get(CHECKS)):
            prepared = await device.prepare(plan)
        assert isinstance(prepared, NativePlan)
        zeros.begin_at(device, layout, n_keys)
        row["gpu_seconds"] = min(watch.times([prepared.commands] * (1 + ROUNDS))[1:])
        zeros.begin_at(device, layout, n_keys)
        rounds = [watch.times([[each] for each in prepared.commands]) for _ in range(2)]
        names = [kernel_name(dispatch) for dispatch in plan.dispatches]
        best = [min(times) for times in zip(*rounds, strict=True)]
        row["kernels"] = {r.kernel: [r.n, r.seconds] for r in group(names, best)}
    except Exception as error:  # a driver fails in ways that nobody has named
        row["failed"] = repr(error)[:400]
    finally:
        device.release(list(device._buffers))
    return row


def show(row: Mapping[str, Any]) -> str:
    """Say in a line what was found, with the kernels that take the most."""
    change = ", ".join(f"{k} {v}" for k, v in row["change"].items()) or "as it is"
    if "failed" in row:
        return f"{row['model']}, {change}: {row['failed'][:200]}"
    most = list(row["kernels"].items())[:3]
    of = "; ".join(f"{name} {1e3 * took:.2f}" for name, (_, took) in most)
    return f"{row['model']}, {change}: {1e3 * row['gpu_seconds']:.2f} ms ({of})"


async def run(options: argparse.Namespace) -> int:
    """Try all changes; 1 where the adapter has no clock."""
    end = perf_counter() + options.seconds
    device, watch = open_timed(options.adapter)
    if watch is None:
        print(f"{device.info.name} has no timestamp queries", file=sys.stderr)
        return 1
    device_record = await record.device_record(device)
    rows: list[dict[str, Any]] = []
    models = options.models or ["e2b", "26b-a4b"]
    for change in CHANGES:
        for model in models:
            if perf_counter() > end:
                print(f"no time is left for {len(models) * len(CHANGES) - len(rows)}")
                return 0
            rows.append(await measure(device, watch, model, change, options))
            print(show(rows[-1]), flush=True)
            record.save(
                options.json,
                benchmark="sweep",
                device=device_record,
                n_keys=options.context,
                rows=rows,
            )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = arguments.parser("sweep", __doc__)
    arguments.add_models(parser)
    parser.add_argument("--layers", type=int, metavar="N", help="of a size, keep N")
    parser.add_argument("--seconds", type=float, default=90.0, metavar="S")
    arguments.add_adapter(parser)
    record.add_option(parser)
    return asyncio.run(run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
