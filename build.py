#!/usr/bin/env python3
"""Serve the page, run the tests, check the code, bundle the page, diff a model.

    python3 build.py serve [--port N] [--no-browser] [--ollama DIR | --no-ollama]
                          [--no-real]
    python3 build.py test [--quick] [--no-real] [arguments for pytest]
    python3 build.py check
    python3 build.py bundle
    python3 build.py diff MODEL [-p PROMPT]

Needs nothing but Python; what else is needed is installed into this folder, once.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING

if sys.version_info < (3, 11):  # noqa: UP036, this runs on any
    sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")

from tools import environment, server
from tools.bundle import bundle
from tools.environment import PYTHON, SetupError
from tools.lavapipe import ensure_lavapipe
from tools.phases import Phase, child_environment, run_phases
from tools.pyodide_build import ensure_pyodide_build
from tools.quick import QUICK, left_out

if TYPE_CHECKING:
    from tools.model_store import ModelStore

__all__ = ["bundle", "main"]

INTERRUPTED = 130  # what shells say of a program that Ctrl-C has ended
NO_REAL = "--no-real"  # of `test`: pytest is told, too
QUICK_TEST = "--quick"  # of `test`: a choice that takes less than two minutes

CHECKS = [
    Phase("ruff", ["ruff", "check", "--quiet", "."]),
    Phase("ruff format", ["ruff", "format", "--check", "--quiet", "."]),
    Phase("mypy", ["mypy", "--no-error-summary"]),
    Phase("tsc", ["tools.type_check"]),
    Phase("house", ["pytest", "tests/house"]),
]
TESTS = [
    Phase(name, ["pytest", f"tests/{name}"])
    for name in ("app", "oracle", "shaders", "models", "demo")
]
BROWSERS = Phase("web", ["pytest", "tests/web"])
QUICK_TESTS = [
    Phase(name, ["pytest", *(f"tests/{name}/{test}" for test in tests)])
    for name, tests in QUICK.items()
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status: 2 when something must be installed."""
    verb, options, rest = parse(arguments)
    try:
        if verb == "serve":
            return serve(options)
        if verb == "test":
            return test(rest)
        if verb == "check":
            return check()
        if verb == "bundle":
            print(bundle())
            return 0
        return diff(rest)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        print(f"failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1


def parse(
    arguments: Sequence[str] | None,
) -> tuple[str, argparse.Namespace, list[str]]:
    """Return the verb, its options, and the arguments that another program takes."""
    parser = argparse.ArgumentParser(
        prog="build.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    serving = verbs.add_parser("serve", help="make everything and open the page")
    serving.add_argument("--port", type=int, help="this port, or fail")
    serving.add_argument("--no-browser", action="store_true", help="open no browser")
    ollama = serving.add_mutually_exclusive_group()
    ollama.add_argument("--ollama", metavar="DIR", help="Ollama's folder models")
    ollama.add_argument("--no-ollama", action="store_true", help="offer no models")
    serving.add_argument(
        "--no-real", action="store_true", help="fetch no real model, and offer none"
    )
    verbs.add_parser("test", help="set up and run all tests", add_help=False)
    verbs.add_parser("check", help="ruff, mypy, tsc and tests/house")
    verbs.add_parser("bundle", help="make dist/, static files for any host")
    verbs.add_parser("diff", help="compare shaders and oracle", add_help=False)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.verb not in ("test", "diff"):
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    return options.verb, options, rest


def serve(options: argparse.Namespace) -> int:
    """Serve the page, and Ollama's models to it, on loopback until interrupted."""
    # Not at the top: `check` must run also when the driver cannot be imported.
    from tools.model_store import ModelStore
    from tools.real_models import RealModels

    store = None if options.no_ollama else ModelStore(options.ollama)
    if store is not None:
        announce(store)
    if not options.no_real:
        offer_real()
    folder = bundle()
    pulled = None if options.no_real else RealModels()
    try:
        page = server.open_server(folder, options.port, refresh, store, pulled)
    except OSError as error:
        reason = f"port {options.port}: {error.strerror}; choose another"
        raise SetupError(reason) from error
    print(f"Lapidary is at {page.url} (Ctrl-C stops it)", flush=True)
    if not options.no_browser:
        webbrowser.open(page.url)
    with page, contextlib.suppress(KeyboardInterrupt):
        page.serve_forever()
    return 0


def announce(store: ModelStore) -> None:
    """Say which models there are; a folder that was named must have some."""
    listed = store.models()
    if listed["problem"] and store.folder is not None:
        raise SetupError(listed["problem"]["text"])
    usable = [model["name"] for model in listed["models"] if not model["problem"]]
    if usable:
        print(f"From {listed['root']}: {', '.join(usable)}", flush=True)


def offer_real() -> None:
    """Fetch the model that the page opens with; without a network another serves."""
    from tools import real_models

    try:
        real_models.ensure(real_models.SMOLLM2)
    except SetupError as error:
        print(f"{error} Meanwhile the small embedded model serves.", flush=True)


def refresh() -> None:
    """Bundle again when a file has changed; keep the old page when that fails."""
    try:
        bundle()
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        print(f"The page is as it was, for the bundle failed: {error}", file=sys.stderr)


def test(arguments: Sequence[str]) -> int:
    """Install what the tests need, and run them all; with --quick some of each."""
    is_quick = QUICK_TEST in arguments
    arguments = [each for each in arguments if each != QUICK_TEST]
    set_up = time.monotonic()
    environment.ensure_venv(dev=True)
    environment.ensure_node_modules(dev=True)
    environment.ensure_libatomic()
    environment.ensure_chromium()
    environment.ensure_vulkan()
    if not is_quick:
        environment.ensure_firefox()
        ensure_lavapipe()
        ensure_pyodide_build()
        fetch_real(arguments)
    bundle()
    print(f"Ready after {time.monotonic() - set_up:.0f} s", flush=True)
    if not is_quick:
        if set(arguments) <= {NO_REAL}:
            return run_phases([*CHECKS, *TESTS], arguments, beside=BROWSERS)
        # One after another for a person who looks into some of them.
        return run_phases([*CHECKS, *TESTS, BROWSERS], arguments)
    status = run_phases([*CHECKS, *QUICK_TESTS], arguments)
    print("\nLeft out: Firefox; real models; " + "; ".join(map(left_out, QUICK)))
    return status


def fetch_real(arguments: Sequence[str]) -> None:
    """Fetch the real models that the tests run, unless they are to be left out."""
    from tools import real_models

    if NO_REAL in arguments:
        print("The tests with real models are left out", flush=True)
        return
    for model in (real_models.SMOLLM2, real_models.GEMMA3):
        try:
            real_models.ensure(model)
        except SetupError as error:
            raise SetupError(f"{error} Or leave it out: test {NO_REAL}") from error


def check() -> int:
    """Run what needs no adapter and no browser."""
    environment.ensure_venv(dev=True)
    environment.ensure_node_modules(dev=True)
    return run_phases(CHECKS)


def diff(arguments: Sequence[str]) -> int:
    """Run shaders and oracle side by side on a prompt."""
    environment.ensure_venv(dev=True)
    environment.ensure_vulkan()
    command = [str(PYTHON), "-m", "tests.diff", *arguments]
    return subprocess.run(command, env=child_environment()).returncode


if __name__ == "__main__":
    sys.exit(main())
