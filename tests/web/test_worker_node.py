"""The engine's worker without a browser: messages in and out, in Pyodide on Dawn."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.samples.ollama_store import make_store
from tests.web.test_device_node import swiftshader
from tools import environment
from tools.lavapipe import dawn_environment

MODEL = environment.ROOT / "tests/golden/models/dense-q4_k_m.gguf"
SCRIPT = Path(__file__).with_name("worker_cases.mjs")


@functools.cache
def results() -> dict[str, str]:
    """Play all cases in one process, and return what went wrong in each."""
    environment.ensure_node_modules(dev=True)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), {"gem:tiny": MODEL}, system="Be brief.")
        (store / "manifests/registry.ollama.ai/library/gem/broken").write_text("{")
        reply = subprocess.run(
            [environment.node(), SCRIPT, environment.ROOT, store],
            capture_output=True,
            text=True,
            env=dawn_environment(swiftshader()),
        )
    # A failing Pyodide prints its source, which is one line of a megabyte.
    log = "\n".join(line[:1000] for line in reply.stderr.splitlines())
    assert reply.returncode == 0, log
    played: dict[str, str] = json.loads(reply.stdout.splitlines()[-1])
    return played


CASES = re.findall(r"^  async '(.+)'\(\)", SCRIPT.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", CASES)
def test_worker(name: str) -> None:
    problem = results()[name]
    assert not problem, problem
