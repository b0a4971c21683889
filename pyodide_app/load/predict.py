"""How fast a model can decode at most on an adapter that was measured."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.adapter.measure import Measured
from pyodide_app.graph.kv_cache import KV_BYTES
from pyodide_app.load.fit import HOST_EMBEDDINGS, Fit
from pyodide_app.models.config import Config

USUAL_KEYS = 1024  # tokens in the cache, where nothing is known of a conversation


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a decode step is expected to take on a measured device."""

    tokens_per_second: float
    memory_seconds: float  # of a step: its bytes at the speed of a copy
    dispatch_seconds: float  # of a step: its launches, and a submit that is waited for
    load_seconds: float | None  # None where no source was measured


def predict(
    fit: Fit,
    config: Config,
    measured: Measured,
    n_keys: int = USUAL_KEYS,
    read_rate: float | None = None,
) -> Prediction:
    """Return the speed of decoding with `n_keys` tokens in the cache.

    It counts every byte once at the speed of a copy, and every launch at the price of
    an empty one: kernels that wait for anything else stay below. Steps are queued
    ahead, so that none waits for a submit, unless it needs something from the host.
    `read_rate` is the source's, in bytes per second.
    """
    n_keys = min(n_keys, fit.n_ctx)
    n_bytes = fit.step_bytes + kv_bytes_read(config, fit.kv, n_keys)
    memory = n_bytes / measured.copy_bytes_per_second
    launches = fit.n_dispatches * measured.dispatch_seconds
    if fit.mode == HOST_EMBEDDINGS:
        launches += measured.submit_seconds
    load = None if read_rate is None else fit.weight_bytes / read_rate
    return Prediction(1 / (memory + launches), memory, launches, load)


def kv_bytes_read(config: Config, kv: str, n_keys: int) -> int:
    """Return how many bytes of keys and values a decode step reads, all layers.

    A layer that shares another's cache reads it as well.
    """
    total = 0
    for layer in config.layers:
        seen = min(n_keys, layer.window) if layer.window else n_keys
        total += 2 * seen * layer.n_kv_heads * layer.head_dim * KV_BYTES[kv]
    return total
