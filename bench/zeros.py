"""Models whose weights are zeros on the device: no file, no load, the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pyodide_app.cli.models import open_model
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import Device
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load import loader
from pyodide_app.load.layout import Layout
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.sampling import SamplingOptions, pack_state
from tests.samples import realshape

N_VOCAB = 32768  # rows of a cut model's embeddings


@cache
def header(model: str, file_type: str, layers: int | None) -> realshape.Layout:
    """Lay a released size out; one with fewer layers has fewer words as well."""
    if layers is None:
        return realshape.plan(model, file_type)
    return realshape.plan(model, file_type, layers=layers, n_vocab=N_VOCAB)


async def sources(model: str, file_type: str, layers: int | None) -> list[ByteSource]:
    """Return what a released size, or a file, is read from. Raises EngineError."""
    if model in realshape.MODELS:
        return [realshape.HoleSource(header(model, file_type, layers))]
    return list((await open_model(model)).sources)


async def preflight(
    device: Device,
    found: Sequence[ByteSource],
    n_ctx: int,
    tune: Tuning | None = None,
) -> loader.Fitted:
    """Say from headers how a model would run; its buffers are made when it does."""
    return await loader.preflight(
        found, device.info, LoadOptions(n_ctx=n_ctx, tune=tune)
    )


def begin_at(device: Device, layout: Layout, n_keys: int) -> None:
    """Have so many tokens in the cache, and no choice but the largest logit.

    Equal logits, as zeros give, are the worst there is for other ways to sample.
    """
    place = pack_state(n_keys, SamplingOptions.greedy)
    device.write(layout.step.state, 0, place)
