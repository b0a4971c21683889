"""Run everything that a GPU should see, within a time, on a machine without network.

    python -m bench.gpu prepare [--dawn] [--numpy]
    python3 -m bench.gpu run --seconds N [--only PART,…] [--out DIR] [--quick]

`prepare` runs where there is a network and makes `.gpu`, a folder to be carried beside
the repository's files: the packages that Python lacks there, Vulkan's loader and, with
`--dawn`, Node and Dawn, on which the page's own GPU code runs; `--numpy` is for a
machine that has none.

`run` runs there, with any Python from 3.11 on and neither git, pip nor Node; without
`.gpu` it takes what its Python has. Is it right comes first: golden models next to the
oracle. Then whole steps of all five sizes, kernels, a profile, other tunings, replies
with weights, Dawn, and the shaders' tests with what time is left. Each part is a
process of its own with a limit: one that fails, hangs or loses the device costs only
itself. `report.json` has what every part found, the running one's included, and is
written again all the time, next to `log.txt` and the GPU's clocks. `--only` names
parts, or what comes before the hyphen in their names. `--quick` runs small cuts, which
also llvmpipe finishes: its figures say that the script works, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import arguments
from bench.gpu import parts, prepare, run
from tools.environment import ROOT, SetupError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 1 where a part failed, 2 where nothing could be done."""
    options = parse(argv)
    try:
        if options.verb == "prepare":
            return prepare.prepare(dawn=options.dawn, numpy=options.numpy)
        scale = parts.QUICK if options.quick else parts.FULL
        return run.run(scale, options.seconds, options.only, options.out)
    except SetupError as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 2


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = arguments.parser("gpu", __doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = verbs.add_parser("prepare", help="make the folder to be carried")
    made.add_argument("--dawn", action="store_true", help="with Node and Dawn")
    made.add_argument("--numpy", action="store_true", help="with NumPy")
    there = verbs.add_parser("run", help="run all parts")
    there.add_argument(
        "--seconds", type=arguments.numbered, required=True, metavar="N", help="in all"
    )
    there.add_argument("--only", type=names, default=(), metavar="PART,…")
    out = Path(os.environ.get("OUT") or ROOT / ".gpu-out")
    there.add_argument("--out", type=Path, default=out, metavar="DIR")
    there.add_argument("--quick", action="store_true", help="small cuts, as a proof")
    return parser.parse_args(argv)


def names(text: str) -> tuple[str, ...]:
    """Read the names of parts, or of families of them, that commas separate."""
    found = tuple(text.split(","))
    known = parts.every(parts.FULL) + parts.every(parts.QUICK)
    for name in found:
        if not any(part.is_called(name) for part in known):
            raise argparse.ArgumentTypeError(
                f"no part {name!r}; there are "
                + ", ".join(dict.fromkeys(part.name for part in known))
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
