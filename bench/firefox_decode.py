"""Measure decoding in Firefox by the number of tokens per submit.

    python -m bench.firefox_decode [--model FILE] [--batches 1,2,4,8,16]

Firefox learns of finished work on a tick of 100 ms: a token at a time, read back before
the next is submitted, it decodes less than ten a second, whatever the GPU. The table
shows what several tokens per submit give with two submits in flight, and last, what the
engine finds by itself. Each row is a worker of its own, which reads the model, answers
once to warm up, and then answers the questions.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import arguments
from bench.first_reply import serving
from tools import bundle, firefox

DRIVER = Path(__file__).with_suffix(".mjs")
ADAPTS = 0  # the engine chooses
QUESTIONS = [
    f"Tell me a long story about a {hero}." for hero in ("fox", "king", "bird")
]


def measure(site: str, model: str, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of tokens per submit, as Firefox gives them."""
    asked = [json.dumps(QUESTIONS), json.dumps(list(batches))]
    with subprocess.Popen(
        firefox.command(DRIVER, site, model, *asked),
        env=firefox.variables(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise SystemExit(process.returncode)


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    replies = row["replies"]
    n = sum(reply["n_generated"] - 1 for reply in replies)
    seconds = sum(reply["decode_seconds"] for reply in replies)
    first = sum(reply["prefill_seconds"] for reply in replies) / len(replies)
    label = "adapts" if row["batch"] == ADAPTS else str(row["batch"])
    return f"{label:>7}{n:>8}{seconds:>9.2f}{n / seconds:>9.1f}{first:>13.2f}"


def main() -> None:
    """Measure and print."""
    parser = arguments.parser("firefox_decode", __doc__)
    parser.add_argument("--model", type=Path, default=bundle.DEMO)
    parser.add_argument(
        "--batches",
        type=arguments.numbers,
        default=[1, 2, 4, 8, 16],
        metavar="N,…",
        help="tokens per submit",
    )
    args = parser.parse_args()
    batches = [*args.batches, ADAPTS]
    print(f"{args.model.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'tokens':>7}{'decoded':>8}{'seconds':>9}{'tok/s':>9}{'first token':>13}")
    with serving(args.model) as site:
        for row in measure(site, args.model.name, batches):
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
