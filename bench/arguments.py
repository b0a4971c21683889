"""What the command lines of several benchmarks share."""

from __future__ import annotations

import argparse


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the module's docstring as it is."""
    return argparse.ArgumentParser(
        f"python -m bench.{program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_models(made: argparse.ArgumentParser) -> None:
    """Let several models be named, their type, and the tokens in the cache."""
    made.add_argument("models", nargs="*", metavar="MODEL")
    made.add_argument("--type", default="Q4_K_M", metavar="TYPE")
    made.add_argument("--context", type=numbered, default=4096, metavar="N")


def add_adapter(made: argparse.ArgumentParser) -> None:
    """Let another adapter than the first be named."""
    made.add_argument("--adapter", default="", help="part of the GPU's name")


def numbers(text: str) -> list[int]:
    """Read numbers from 1 on that commas separate."""
    return [numbered(part) for part in text.split(",")]


def numbered(text: str) -> int:
    """Read a number from 1 on."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)
