"""Before loading: what a model needs here, whether it fits, how fast it can decode.

Everything follows from the header and the adapter; nothing is allocated or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyodide_app import errors, weights
from pyodide_app.gguf.reader import TensorInfo
from pyodide_app.gpu.device import AdapterInfo
from pyodide_app.graph import rope
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Rope, Tensor
from pyodide_app.graph.tuning import Tuning
from pyodide_app.kv_cache import KV_BYTES
from pyodide_app.measure import Measured
from pyodide_app.models import gemma4
from pyodide_app.models.gemma4_config import Config

RESIDENT = "resident"  # every tensor on the GPU
HOST_EMBEDDINGS = "host-embeddings"  # per-layer embeddings stay in the file
PER_LAYER_TABLE = "per_layer_token_embd.weight"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model runs on an adapter, and what that takes, in bytes."""

    mode: str  # RESIDENT | HOST_EMBEDDINGS
    n_ctx: int
    kv: str
    weight_bytes: int
    host_bytes: int  # of tensors that stay in the file
    kv_bytes: int
    table_bytes: int  # rotary tables, expert slots, gathered rows, state
    scratch_bytes: int
    n_dispatches: int  # of a decode step
    step_bytes: int  # of the weights that a decode step reads

    @property
    def total_bytes(self) -> int:
        """Return what the device must hold."""
        parts = (self.weight_bytes, self.kv_bytes, self.table_bytes)
        return sum(parts) + self.scratch_bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a decode step is expected to take on a measured device."""

    tokens_per_second: float
    memory_seconds: float  # of a step: its bytes at the speed of a copy
    dispatch_seconds: float  # of a step: its launches, and its submit
    load_seconds: float | None  # None where no source was measured


def check(
    config: Config,
    chosen: Mapping[str, TensorInfo],
    adapter: AdapterInfo,
    tune: Tuning,
    *,
    n_ctx: int,
    kv: str = "f16",
    memory: int | None = None,
    host_embeddings: bool = False,
) -> Fit:
    """Return how a model runs here.

    `chosen` are the tensors of the forward pass; `memory` is how many bytes the device
    may hold, where that is known. Per-layer embeddings stay in the file if the caller
    says so or if nothing else fits.
    Raises DeviceLimitError with the numbers when it cannot run.
    """
    modes = [RESIDENT, HOST_EMBEDDINGS]
    if PER_LAYER_TABLE not in chosen:
        modes.remove(HOST_EMBEDDINGS)
    elif host_embeddings:
        modes.remove(RESIDENT)
    for mode in modes:
        fit = _needs(config, chosen, adapter, tune, mode, n_ctx, kv)
        if memory is None or fit.total_bytes <= memory:
            return fit
        refusal = _too_large(config, fit, memory)
    raise refusal


def predict(fit: Fit, config: Config, measured: Measured, n_keys: int) -> Prediction:
    """Return the speed of decoding with `n_keys` tokens in the cache.

    It counts every byte once at the speed of a copy, and every launch at the price of
    an empty one: kernels that wait for anything else stay below.
    """
    n_bytes = fit.step_bytes + kv_bytes_read(config, fit.kv, n_keys)
    memory = n_bytes / measured.copy_bytes_per_second
    launches = measured.submit_seconds + fit.n_dispatches * measured.dispatch_seconds
    rate = measured.read_bytes_per_second
    load = None if rate is None else fit.weight_bytes / rate
    return Prediction(1 / (memory + launches), memory, launches, load)


def describe_text(fit: Fit, prediction: Prediction | None = None) -> str:
    """Lay out for a terminal what a model takes here, and how fast it may be."""
    where = {
        RESIDENT: "all on the GPU",
        HOST_EMBEDDINGS: f"{_gb(fit.host_bytes)} of per-layer embeddings in the file",
    }
    lines = [
        f"fits in {_gb(fit.total_bytes)}: {where[fit.mode]}",
        f"  weights            {_gb(fit.weight_bytes)}",
        f"  keys and values    {_gb(fit.kv_bytes)} for {fit.n_ctx:,} tokens, {fit.kv}",
        f"  scratch and tables {_gb(fit.scratch_bytes + fit.table_bytes)}",
        f"  a step reads       {_gb(fit.step_bytes)} in {fit.n_dispatches} dispatches",
    ]
    if prediction is not None:
        lines.append(
            f"decodes at most {prediction.tokens_per_second:.1f} tokens/s: "
            f"{1e3 * prediction.memory_seconds:.1f} ms of memory and "
            f"{1e3 * prediction.dispatch_seconds:.1f} ms of dispatches a token"
        )
        if prediction.load_seconds is not None:
            lines.append(f"loads in about {prediction.load_seconds:.0f} s")
    return "\n".join(lines)


# -- bytes of a step -------------------------------------------------------------


def step_bytes(config: Config, chosen: Mapping[str, TensorInfo]) -> int:
    """Return how many bytes of weights a decode step reads.

    All of each layer's dense tensors, `top_k` of its experts, the output matrix, and
    one row of each table of embeddings.
    """
    total = 0
    for name, info in chosen.items():
        is_output = name == "token_embd.weight" and "output.weight" not in chosen
        if len(info.dims) == 3:
            total += info.size // info.dims[2] * config.top_k
        elif name.endswith("token_embd.weight"):
            total += info.row_bytes + (info.size if is_output else 0)
        else:
            total += info.size
    return total


def kv_bytes_read(config: Config, kv: str, n_keys: int) -> int:
    """Return how many bytes of keys and values a decode step reads, all layers.

    A layer that shares another's cache reads it as well.
    """
    total = 0
    for layer in config.layers:
        seen = min(n_keys, config.sliding_window) if layer.is_sliding else n_keys
        total += 2 * seen * layer.n_kv_heads * layer.head_dim * KV_BYTES[kv]
    return total


# -- memory ----------------------------------------------------------------------


def _needs(
    config: Config,
    chosen: Mapping[str, TensorInfo],
    adapter: AdapterInfo,
    tune: Tuning,
    mode: str,
    n_ctx: int,
    kv: str,
) -> Fit:
    """Describe a model as the loader would place it, and add it up."""
    limits = adapter.limits
    table = chosen[PER_LAYER_TABLE] if mode == HOST_EMBEDDINGS else None
    placed = {n: weights.place(i, limits) for n, i in chosen.items() if i is not table}
    weight_bytes = sum(p.view.size for w in placed.values() for p in w.parts)
    rows = None
    if table is not None:
        rows = weights.HostRows(table, tune.chunk, limits)
        placed[PER_LAYER_TABLE] = rows.weight
    slots = gemma4.make_slots(config)
    model = gemma4.Model(
        config,
        placed,
        gemma4.make_caches(config, kv, n_ctx, tune.chunk),
        *_describe_ropes(config, n_ctx),
        slots,
        rows.numbers if rows else None,
    )
    caches = [b for cache in model.caches.values() for b in (cache.k, cache.v)]
    tables = [model.rope.table.buffer, model.rope_swa.table.buffer]
    tables += dict.fromkeys(slot.view.buffer for slot in slots.values())
    tables += rows.buffers if rows else []
    scratch, own, n_dispatches = _record(model, tune)
    most = min(limits.max_binding_bytes, limits.max_buffer_bytes)
    for buffer in (*caches, *tables):
        _check_size(buffer, most, "Choose a shorter context")
    for buffer in scratch:
        _check_size(buffer, limits.max_buffer_bytes, "Use a GPU with a larger limit")
    return Fit(
        mode=mode,
        n_ctx=n_ctx,
        kv=kv,
        weight_bytes=weight_bytes,
        host_bytes=table.size if table else 0,
        kv_bytes=sum(buffer.size for buffer in caches),
        table_bytes=sum(buffer.size for buffer in (*tables, *own)),
        scratch_bytes=sum(buffer.size for buffer in scratch),
        n_dispatches=n_dispatches,
        step_bytes=step_bytes(config, chosen),
    )


def _describe_ropes(config: Config, n_ctx: int) -> tuple[Rope, Rope]:
    """Return the rotary tables of the global and the sliding layers, by size."""
    fine = rope.fine_positions(n_ctx)
    coarse = -(-n_ctx // fine)
    ropes = []
    for is_sliding, share in ((False, config.rotated_share), (True, 1.0)):
        head_dims = [a.head_dim for a in config.layers if a.is_sliding == is_sliding]
        n_pairs = int((head_dims[0] if head_dims else 8) // 2 * share)
        label = "rope_swa" if is_sliding else "rope"
        buffer = Buffer(label, 8 * n_pairs * (fine + coarse))
        ropes.append(Rope(whole(buffer), n_pairs, fine))
    return ropes[0], ropes[1]


def _record(
    model: gemma4.Model, tune: Tuning
) -> tuple[list[Buffer], list[Buffer], int]:
    """Record the passes that the engine prepares when it loads.

    Returns the scratch buffers, the engine's own, and the launches of a decode step.
    """
    arena, state = Arena(), Buffer("state", STATE_BYTES)
    bits = 4 * -(-model.config.n_vocab // 32)
    tokens = Buffer("tokens", 4 * tune.chunk)
    masks = [Buffer("suppressed", bits), Buffer("seen", bits)]
    n_dispatches = 0
    for n in (tune.chunk, 1):
        ops = Ops("preflight", tune, arena, state, n)
        x = gemma4.forward(ops, model, Tensor((n,), View(tokens, 0, 4 * n)))
        y = gemma4.logits(ops, model, x, row_begin=n - 1)
        bound = [Tensor((b.size // 4,), whole(b)) for b in (tokens, *masks)]
        ops.sample(y, *bound)
        n_dispatches = len(ops.finish()[0].dispatches)
    return arena.buffers, [state, tokens, *masks], n_dispatches


# -- refusals --------------------------------------------------------------------


def _check_size(buffer: Buffer, most: int, remedy: str) -> None:
    """Refuse a buffer that the adapter cannot hold in one piece."""
    if buffer.size > most:
        raise errors.DeviceLimitError(
            f"buffer {buffer.label}",
            found=f"{buffer.size} bytes",
            expected=f"at most {most} bytes, the adapter's limit",
            remedy=remedy,
        )


def _too_large(config: Config, fit: Fit, memory: int) -> errors.DeviceLimitError:
    remedy = "Choose a smaller model or a smaller type of it"
    if fit.total_bytes - fit.kv_bytes <= memory:
        remedy = "Choose a shorter context"
    elif config.n_experts:
        remedy += "; streaming experts from the file is not supported yet"
    return errors.DeviceLimitError(
        "the model does not fit in the device's memory",
        found=f"{_gb(fit.total_bytes)} needed: weights {_gb(fit.weight_bytes)}, keys "
        f"and values of {fit.n_ctx} tokens {_gb(fit.kv_bytes)}, scratch and tables "
        f"{_gb(fit.scratch_bytes + fit.table_bytes)}",
        expected=f"at most {_gb(memory)}",
        remedy=remedy,
    )


def _gb(n_bytes: int) -> str:
    """Return a size as people read it."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
