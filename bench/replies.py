"""Time whole replies of a released size with weights that are made as they are read.

    python -m bench.replies [MODEL] [--contexts 16,4096] [-n 128] [--repeats 2]
                            [--type Q4_K_M] [--layers N] [--adapter NAME] [--json FILE]

One process loads the model once, without a file, so that a size takes no room on the
disk: real routing, real sampling, the engine as it is. Each reply says how fast its
prompt was read and how fast it was decoded, next to what a copy on the same adapter
would allow. Peers and browsers need a file: `bench.decode` writes one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from bench import arguments, prompts, record
from bench.generated import GeneratedSource
from bench.play import play
from bench.players import OURS, run_of
from bench.points import Point, summary, table
from bench.zeros import header
from pyodide_app.gpu.wgpu_native import open_device
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.engine import Engine
from tests.samples import realshape

ROOM = 64  # tokens of the context besides


async def point(
    engine: Engine, n_keys: int, n: int, repeats: int, copy: float
) -> Point:
    """Let the engine continue a prompt; the first time, which compiles, is left out."""
    ids = list(prompts.plain_ids(n_keys, engine.loaded.config.n_vocab))
    runs = [run_of(await play(engine, ids, n)) for _ in range(1 + repeats)]
    return Point(n_keys, {OURS: runs[1:]}, {OURS: OURS}, {OURS: copy})


async def run(options: argparse.Namespace) -> int:
    """Load, answer at every context, print and keep what was found."""
    device = open_device(options.adapter)
    found = await record.device_record(device)
    layout = header(options.model, options.type, options.layers)
    wanted = LoadOptions(n_ctx=max(options.contexts) + options.n + ROOM, kv="f16")
    begin = perf_counter()
    engine = await Engine.load([GeneratedSource(layout)], device, wanted)
    loaded: dict[str, Any] = {"seconds": perf_counter() - begin, "bytes": layout.size}
    print(f"{options.model}: {layout.size / 1e9:.2f} GB in {loaded['seconds']:.1f} s")
    points = []
    for n_keys in options.contexts:
        copy = found["copy_bytes_per_second"]
        points.append(await point(engine, n_keys, options.n, options.repeats, copy))
        for phase in ("decode", "prefill"):
            print(f"\n{phase}: {table(points[-1], phase)}", flush=True)
        record.save(
            options.json,
            benchmark="replies",
            device=found,
            model=options.model,
            loaded=loaded,
            kernels=str(engine.loaded.choice),
            decode=[summary(each, "decode") for each in points],
            prefill=[summary(each, "prefill") for each in points],
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = arguments.parser("replies", __doc__)
    sizes = list(realshape.MODELS)
    parser.add_argument("model", choices=sizes, nargs="?", default="e2b")
    parser.add_argument("--type", default="Q4_K_M", metavar="TYPE")
    parser.add_argument(
        "--contexts", type=arguments.numbers, default=[16, 4096], metavar="N,…"
    )
    parser.add_argument("-n", type=arguments.numbered, default=128, metavar="N")
    parser.add_argument("--repeats", type=arguments.numbered, default=2, metavar="N")
    parser.add_argument("--layers", type=int, metavar="N", help="keep N")
    arguments.add_adapter(parser)
    record.add_option(parser)
    options = parser.parse_args(argv)
    if options.n < 2:
        parser.error("-n: decoding begins with the second token")
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
