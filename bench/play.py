"""Play prompts on the driver of any checkout: JSON lines in, JSON lines out.

    PYTHONPATH=CHECKOUT python -P bench/play.py '{"files": [...], "n_ctx": 4096, ...}'

Runs as a program of its own, so that two versions of the driver can be held to each
other in one run; it names nothing that the project's first commit did not have. The
first line says what was loaded; each request `{"ids": [...], "n": 64}` is answered by
a line with its tokens and times.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from types import ModuleType
from typing import Any

import pyodide_app
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.wgpu_native import open_device


def find(room: str, name: str) -> ModuleType:
    """Return a module of the driver; older versions had no rooms."""
    try:
        return importlib.import_module(f"pyodide_app.{room}.{name}")
    except ModuleNotFoundError:
        return importlib.import_module(f"pyodide_app.{name}")


Engine = find("run", "engine").Engine
SamplingOptions = find("run", "sampling").SamplingOptions


async def load(options: dict[str, Any]) -> Any:
    """Load the model; older versions take their options by name."""
    sources = [FileSource(path) for path in options["files"]]
    chosen = {"n_ctx": options["n_ctx"], "kv": "f16"}
    device = open_device(options["adapter"])
    taken = inspect.signature(Engine.load).parameters.get("options")
    if taken is None:
        return await Engine.load(sources, device, **chosen)
    defaults = taken.default  # its class has moved; this says what it is
    return await Engine.load(sources, device, type(defaults)(**chosen))


def describe(engine: Any) -> dict[str, Any]:
    """Say what was loaded, and where."""
    info = engine.device.info
    return {
        "package": pyodide_app.__file__,
        "ran_on": f"{info.name}, {info.backend}",
        "is_software": info.is_software,
        "n_ctx": engine.n_ctx,
    }


async def play(engine: Any, ids: list[int], n: int) -> dict[str, Any]:
    """Continue a prompt by `n` greedy tokens, with nothing kept from the one before."""
    engine.cached_ids = []
    greedy = SamplingOptions(temperature=0.0)
    items = engine.generate(ids, sampling=greedy, max_tokens=n, ignore_eos=True)
    async for item in items:
        end = item
    return {
        "ids": list(end.ids),
        "n_prompt": end.n_prompt - end.n_reused,
        "prefill_seconds": end.prefill_seconds,
        "decode_seconds": end.decode_seconds,
        "weight_bytes": getattr(end, "weight_bytes", 0),
        "kv_bytes": getattr(end, "kv_bytes", 0),
        "n_dispatches": getattr(end, "n_dispatches", 0),
    }


async def main() -> None:
    """Load, then answer until the input ends."""
    engine = await load(json.loads(sys.argv[1]))
    print(json.dumps(describe(engine)), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(await play(engine, request["ids"], request["n"])), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
