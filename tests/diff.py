"""Run shaders and oracle side by side on a prompt: `build.py diff MODEL [-p …]`.

Prints the error of every named intermediate, largest first, then of every layer. The
exit status is 0 when all are within tolerance, 1 when not, 2 for bad input.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from oracle.families import open_model
from pyodide_app.errors import EngineError
from pyodide_app.graph import tuning
from tests.models.native import logits, opened, trace
from tests.support.compare import relative_l2
from tests.support.gpu import device

# The tolerances of whole models: tests/models/test_golden.py has their reasons.
TOLERANCE = {"f32": 5e-5, "f16": 1e-2}


def main() -> int:
    """Compare one model on one prompt."""
    options = parse_arguments()
    try:
        return compare(options)
    except EngineError as error:
        print(f"diff: {error}", file=sys.stderr)
        return 2


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("build.py diff", description=__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a GGUF file")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("-p", "--prompt", default="Hello!", help="a user's message")
    prompt.add_argument("--ids", help="token ids, separated by commas")
    parser.add_argument("--kv", choices=sorted(TOLERANCE), default="f32")
    parser.add_argument("--most", type=int, default=24, help="rows of the table")
    return parser.parse_args()


def compare(options: argparse.Namespace) -> int:
    """Print the tables and return the exit status."""
    chunk = 512  # the whole prompt in one pass, so that every intermediate is there
    tune = replace(tuning.choose(device().info.is_software), chunk=chunk)
    with opened(options.model, kv=options.kv, tune=tune) as engine:
        ids = prompt_ids(engine, options)[:chunk]
        got = trace(engine, ids)
        got["result_output"] = logits(engine, ids)
    oracle = open_model(options.model).forward(ids)
    expected = {**oracle.nodes, "result_output": oracle.logits}
    errors = {name: measure(array, expected[name]) for name, array in got.items()}
    print(f"{device().info.name}, {len(ids)} tokens, kv {options.kv}")
    print_table("intermediate", errors, options.most)
    print_table("layer (worst)", by_layer(errors), options.most)
    worst = max(l2 for l2, _ in errors.values())
    good = worst <= TOLERANCE[options.kv]
    verdict = "within" if good else "ABOVE"
    print(f"\nworst {worst:.2e}: {verdict} the tolerance {TOLERANCE[options.kv]:.0e}")
    return 0 if good else 1


def prompt_ids(engine: object, options: argparse.Namespace) -> list[int]:
    """Return the prompt's ids, rendered as a chat unless given."""
    if options.ids:
        return [int(part) for part in options.ids.split(",")]
    ids, _ = engine.encode_chat([{"role": "user", "content": options.prompt}])
    return ids


def measure(got: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return relative L2 and largest difference; for choices, the wrong share."""
    expected = np.asarray(expected).reshape(got.shape)
    if got.dtype == np.uint32:
        share = float((got != expected).mean())
        return share, share
    difference = np.abs(got.astype(np.float64) - expected)
    return relative_l2(got, expected), float(difference.max())


def by_layer(errors: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Return the worst error of each layer."""
    layers: dict[str, tuple[float, float]] = {}
    for name, error in errors.items():
        found = re.search(r"-(\d+)$", name)
        label = f"blk.{found.group(1)}" if found else "outside"
        layers[label] = max(layers.get(label, (0.0, 0.0)), error)
    return layers


def print_table(title: str, rows: dict[str, tuple[float, float]], most: int) -> None:
    """Print the largest errors first."""
    print(f"\n{title:22} relative L2    max abs")
    ordered = sorted(rows.items(), key=lambda row: row[1], reverse=True)
    for name, (l2, largest) in ordered[:most]:
        print(f"{name:22} {l2:11.2e} {largest:10.2e}")


if __name__ == "__main__":
    sys.exit(main())
