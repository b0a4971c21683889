"""Time whole decode steps and prompt passes on zeros: no file, no load.

    python -m bench.steps [MODEL ...] [--contexts 16,4096] [--type Q4_K_M] [--layers N]
                          [--seconds 1.5] [--adapter NAME] [--json FILE]

MODEL is a released size (all five unless said) or a GGUF file, of which the header is
read. Of each, at each context: the time of a step by the adapter's own clock, the
host's time to encode it, tokens per second as the engine queues them (two submits of 16
tokens), the time of one token alone, and of a pass over one chunk of a prompt. What a
step reads, set against a copy, says how much of the bandwidth is used. With
LAPIDARY_DEVICE=dawn the page's own code runs, on Dawn, and there is no such clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Any

from bench import arguments, cost, record, zeros
from bench.timestamps import Stopwatch, open_timed
from pyodide_app.adapter import kernel_options
from pyodide_app.adapter.kernel_options import Choice
from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.gpu.wgpu_native import NativeDevice, NativePlan
from pyodide_app.graph.plan import Buffer, View
from pyodide_app.load.loader import Fitted
from pyodide_app.load.passes import Passes
from pyodide_app.run import pace
from tests.samples import realshape

ROUNDS = 5  # of which the fastest counts
SUBMITS = 5  # in a row, of which two are queued
MARGIN = 2048  # tokens of all rounds, which go on from each other in one submit


class Bench:
    """A device with what is measured on it."""

    def __init__(self, device: Device, watch: Stopwatch | None) -> None:
        self.device = device
        self._watch = watch
        # Software takes as long for a token as a GPU for all of these.
        self._batch = 2 if device.info.is_software else pace.MOST

    @property
    def buffers(self) -> Collection[Buffer]:
        """Return what is on the device; both kinds keep that alike."""
        found: Collection[Buffer] = self.device._buffers  # type: ignore[attr-defined]
        return found

    async def step(
        self, fitted: Fitted, n_keys: int, seconds: float
    ) -> dict[str, float]:
        """Measure a decode step."""
        layout = fitted.layout
        plan, view = layout.plans[1], View(layout.step.sampled, 0, 4)

        def again() -> None:
            zeros.begin_at(self.device, layout, n_keys)

        found: dict[str, float] = {"dispatches": len(plan.dispatches)}
        prepared = await self._first(found, plan, again)
        found |= await self._times(prepared, again)
        rates: list[float] = []
        end = perf_counter() + seconds
        while not rates or perf_counter() < end:
            again()
            rates.append(await self._rate(prepared, view))
        found["tokens_per_second"] = max(rates)
        again()
        found["alone_seconds"] = min([await self._once(prepared, view) for _ in rates])
        found["bytes"] = cost.weight_bytes(fitted.config, layout, plan)
        found["bytes"] += cost.kv_bytes(fitted.config, layout, plan, n_keys)
        return found

    async def prompt(
        self, fitted: Fitted, n_keys: int, *, is_last: bool
    ) -> dict[str, float]:
        """Measure a pass over one chunk of a prompt, or over its last one."""
        layout = fitted.layout
        n_tokens = layout.tuning.chunk
        plan, _ = Passes(self.device, layout).record((n_tokens, is_last)).finish()

        def again() -> None:
            zeros.begin_at(self.device, layout, n_keys)

        found: dict[str, float] = {"dispatches": len(plan.dispatches)}
        prepared = await self._first(found, plan, again)
        found |= await self._times(prepared, again)
        taken = found.get("gpu_seconds", found["wall_seconds"])
        return {**found, "tokens": n_tokens, "tokens_per_second": n_tokens / taken}

    async def _first(
        self, found: dict[str, float], plan: Any, again: Callable[[], None]
    ) -> Prepared:
        """Prepare and run a plan once, which compiles it."""
        begin = perf_counter()
        prepared = await self.device.prepare(plan)
        found["prepare_seconds"] = perf_counter() - begin
        again()
        begin = perf_counter()
        self.device.submit(prepared)
        await self.device.settle()
        found["first_seconds"] = perf_counter() - begin
        return prepared

    async def _times(
        self, prepared: Prepared, again: Callable[[], None]
    ) -> dict[str, float]:
        """Time a prepared plan by all the clocks there are."""
        walls = []
        for _ in range(ROUNDS):
            again()
            begin = perf_counter()
            self.device.submit(prepared)
            await self.device.settle()
            walls.append(perf_counter() - begin)
        found = {"wall_seconds": min(walls)}
        if isinstance(self.device, NativeDevice):
            assert isinstance(prepared, NativePlan)
            found["encode_seconds"] = min(self._encode(prepared) for _ in walls)
            if self._watch:
                again()
                times = self._watch.times([prepared.commands] * ROUNDS)
                found["gpu_seconds"] = min(times)
        return found

    def _encode(self, prepared: NativePlan) -> float:
        assert isinstance(self.device, NativeDevice)
        begin = perf_counter()
        self.device._encode(prepared, 1).finish()
        return perf_counter() - begin

    async def _rate(self, prepared: Prepared, view: View) -> float:
        """Return tokens per second with two submits queued, as the engine has them."""
        begin = perf_counter()
        queued = [self.device.run(prepared, view, self._batch) for _ in range(2)]
        for _ in range(SUBMITS - len(queued)):
            await queued.pop(0)
            queued.append(self.device.run(prepared, view, self._batch))
        for each in queued:
            await each
        return SUBMITS * self._batch / (perf_counter() - begin)

    async def _once(self, prepared: Prepared, view: View) -> float:
        begin = perf_counter()
        await self.device.run(prepared, view)
        return perf_counter() - begin


async def measure(
    bench: Bench,
    model: str,
    n_keys: int,
    options: argparse.Namespace,
    choice: Choice,
    copy: float,
) -> dict[str, Any]:
    """Measure a model at a context; what does not fit is said, and the next may."""
    row: dict[str, Any] = {"model": model, "n_keys": n_keys}
    try:
        sources = await zeros.sources(model, options.type, options.layers)
        n_ctx = n_keys + MARGIN
        fitted = await zeros.preflight(bench.device, sources, n_ctx, choice.tune)
        row["step"] = step = await bench.step(fitted, n_keys, options.seconds)
        row["share_of_copy"] = step["bytes"] * step["tokens_per_second"] / copy
        if "gpu_seconds" in step:
            row["gpu_share_of_copy"] = step["bytes"] / step["gpu_seconds"] / copy
        row["prompt"] = await bench.prompt(fitted, n_keys, is_last=False)
        row["prompt_end"] = await bench.prompt(fitted, n_keys, is_last=True)
    except Exception as error:  # a driver fails in ways that nobody has named
        row["failed"] = repr(error)[:400]
    finally:
        bench.device.release(list(bench.buffers))
    return row


def show(row: dict[str, Any]) -> str:
    """Say in two lines what was found."""
    head = f"{row['model']} at {row['n_keys']:,}"
    if "failed" in row:
        return f"{head}: {row['failed']}"
    step = row["step"]
    taken = step.get("gpu_seconds")
    clock = f"{1e3 * taken:.2f} ms" if taken else "no clock"
    alone, encode = 1e3 * step["alone_seconds"], 1e3 * step.get("encode_seconds", 0)
    return (
        f"{head}: {step['tokens_per_second']:.1f} tok/s "
        f"({100 * row['share_of_copy']:.0f} % of copy), {clock} in "
        f"{step['dispatches']} dispatches, encoded in {encode:.2f} ms, "
        f"alone {alone:.2f} ms\n  "
        f"prompt: {row['prompt']['tokens_per_second']:.0f} tok/s, "
        f"its end {row['prompt_end']['tokens_per_second']:.0f}"
    )


def open_bench(adapter: str) -> Bench:
    """Open the device: Dawn's where that is asked for."""
    if os.environ.get("LAPIDARY_DEVICE") != "dawn":
        return Bench(*open_timed(adapter))
    from tests.support.dawn_device import DawnDevice  # only here: it needs Node

    return Bench(DawnDevice(), None)


async def run(options: argparse.Namespace) -> int:
    """Measure all that was asked for; 1 where nothing could be."""
    bench = open_bench(options.adapter)
    device = await record.device_record(bench.device)
    begin = perf_counter()
    choice = await kernel_options.choose(bench.device)
    chosen = {"kernels": str(choice), "seconds": perf_counter() - begin}
    print(f"{device['device']} ({device['backend']}), kernels: {choice}", flush=True)
    rows: list[dict[str, Any]] = []
    for model in options.models or list(realshape.MODELS):
        for n_keys in options.contexts:
            copy = device["copy_bytes_per_second"]
            rows.append(await measure(bench, model, n_keys, options, choice, copy))
            print(show(rows[-1]), flush=True)
            record.save(
                options.json,
                benchmark="steps",
                device=device,
                chosen=chosen,
                steps=rows,
            )
    return 0 if any("failed" not in row for row in rows) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = arguments.parser("steps", __doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--type", default="Q4_K_M", metavar="TYPE")
    parser.add_argument(
        "--contexts", type=arguments.numbers, default=[16, 4096], metavar="N,…"
    )
    parser.add_argument("--layers", type=int, metavar="N", help="of a size, keep N")
    parser.add_argument(
        "--seconds", type=float, default=1.5, metavar="S", help="of repeating a step"
    )
    arguments.add_adapter(parser)
    record.add_option(parser)
    return asyncio.run(run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
