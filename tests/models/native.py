"""Run whole models on the native adapter, from synchronous tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyodide_app.gguf.sources import FileSource
from pyodide_app.graph import tuning
from pyodide_app.graph.plan import whole
from pyodide_app.load.loader import load
from pyodide_app.load.options import LoadOptions
from pyodide_app.models import step
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions
from tests.support.gpu import device

GREEDY = SamplingOptions(temperature=0.0)


@contextmanager
def opened(
    path: Path,
    *,
    kv: str = "f32",
    n_ctx: int | None = None,
    tune: tuning.Tuning | None = None,
) -> Iterator[Engine]:
    """Load a model and free it afterwards."""
    with closing(FileSource(str(path))) as source:
        options = LoadOptions(n_ctx=n_ctx, kv=kv, tune=tune)
        loaded = asyncio.run(load([source], device(), options))
        engine = Engine(device(), loaded)
        try:
            yield engine
        finally:
            engine.close()


def logits(engine: Engine, ids: Sequence[int]) -> np.ndarray:
    """Return the logits of every position, [n_tokens, n_vocab]."""

    async def collect() -> bytes:
        return b"".join([data async for data in engine.logits(ids)])

    return np.frombuffer(asyncio.run(collect()), np.float32).reshape(len(ids), -1)


def generate(engine: Engine, ids: Sequence[int], **options: Any) -> Finished:
    """Run a request to its end."""

    async def collect() -> list[int | Finished]:
        return [item async for item in engine.generate(ids, **options)]

    items = asyncio.run(collect())
    end = items[-1]
    assert isinstance(end, Finished)
    assert tuple(items[:-1]) == end.ids
    return end


def greedy(engine: Engine, ids: Sequence[int], n: int) -> list[int]:
    """Return n greedy tokens, whatever they are."""
    end = generate(engine, ids, sampling=GREEDY, max_tokens=n, ignore_eos=True)
    return list(end.ids)


def trace(engine: Engine, ids: Sequence[int]) -> dict[str, np.ndarray]:
    """Run one pass at once and return its named intermediates, [n_tokens, width].

    Names are the oracle's: `attn_norm-0`. Numbers of experts come as uint32. Keys and
    values come from the cache, as the pass has stored them. Norms that the kernel which
    reads them computes for itself are missing.
    """
    asyncio.run(engine._write(0, ids))
    ops = engine.passes.ops("trace", len(ids), trace=True)
    model = engine.loaded.model
    x = step.forward(ops, model, engine._inputs.buffers, len(ids))
    _, h = ops.norm(x, model.weights["output_norm.weight"])
    ops.settle(ops.name("result_norm", h))  # for the last layer's residual
    plan, views = ops.finish()
    engine.device.submit(asyncio.run(engine.device.prepare(plan)))
    arrays = {}
    for name, tensor in ops.named.items():
        kind = np.uint32 if name.endswith("topk") else np.float32
        data = asyncio.run(engine.device.read(views[tensor]))
        prefix, _, rest = name.partition(".")
        layer, _, node = rest.partition(".")
        label = f"{node}-{layer}" if prefix == "blk" else name
        arrays[label] = np.frombuffer(data, kind).reshape(tensor.shape)
    for layer, cache in engine.loaded.model.caches.items():
        kind = np.float32 if cache.kv == "f32" else np.float16
        for label, buffer in (("Kcur_pos", cache.k), ("Vcur_normed", cache.v)):
            data = asyncio.run(engine.device.read(whole(buffer)))
            slots = np.frombuffer(data, kind).reshape(cache.n_slots, -1)
            rows = slots[np.arange(len(ids)) % cache.n_slots]
            arrays[f"{label}-{layer}"] = rows.astype(np.float32)
    return arrays
