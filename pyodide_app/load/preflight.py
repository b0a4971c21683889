"""Before loading: what a model needs here, whether it fits, how fast it can decode.

Everything follows from the header and the adapter; nothing is allocated or read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyodide_app import errors
from pyodide_app.adapter.measure import Measured
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gpu.device import AdapterInfo
from pyodide_app.graph import tuning
from pyodide_app.graph.kv_cache import KV_BYTES
from pyodide_app.graph.plan import Buffer
from pyodide_app.load import layout
from pyodide_app.load.layout import Layout
from pyodide_app.models.config import Config
from pyodide_app.models.family import Family

RESIDENT = "resident"  # every tensor on the GPU
HOST_EMBEDDINGS = "host-embeddings"  # per-layer embeddings stay in the file
_DEFAULT_CONTEXT = 8192  # tokens
_CONTEXT_STEP = 256  # tokens; of a context that is offered in place of a longer one
USUAL_KEYS = 1024  # tokens in the cache, where nothing is known of a conversation
_SMALLER_MODEL = "Choose a smaller model or a smaller type of it"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is to be loaded."""

    n_ctx: int | None = None  # tokens of context; None: the default
    default_ctx: int | None = None  # if the model was made for as many; None: 8192
    kv: str = "f16"  # "f16" | "f32": the element type of keys and values
    memory: int | None = None  # bytes that the device may hold, where that is known
    host_embeddings: bool = False  # leave per-layer embeddings in the file in any case
    tune: tuning.Tuning | None = None  # None: what suits the adapter
    kernels: tuple[str, ...] | None = None  # of kernel_options.py; None: the fastest
    kept: object = None  # what that came to on this adapter, from an earlier load


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
    dispatch_seconds: float  # of a step: its launches, and a submit that is waited for
    load_seconds: float | None  # None where no source was measured


def arrange(
    family: Family,
    config: Config,
    chosen: Mapping[str, FileTensor],
    adapter: AdapterInfo,
    options: LoadOptions,
) -> tuple[Fit, Layout]:
    """Return how a model runs here, and where each part of it goes.

    `chosen` are the tensors of the forward pass. The family's table (of per-layer
    embeddings) stays in the file if the options say so or if nothing else fits.
    Raises RequestError for options that cannot be, and DeviceLimitError with the
    numbers for a model that cannot run; its `n_ctx` is the longest context that can.
    """
    options = replace(options, n_ctx=_context(config, options), kv=_kv_type(options.kv))
    try:
        return _arrange(family, config, chosen, adapter, options)
    except errors.DeviceLimitError as error:
        longest = longest_context(family, config, chosen, adapter, options)
        if not longest:
            raise
        refusal = errors.DeviceLimitError(
            error.what,
            found=error.found,
            expected=error.expected,
            remedy=_use_context(longest),
        )
        refusal.n_ctx = longest
        raise refusal from error


def longest_context(
    family: Family,
    config: Config,
    chosen: Mapping[str, FileTensor],
    adapter: AdapterInfo,
    options: LoadOptions,
) -> int:
    """Return the longest context below `options.n_ctx` that fits, in steps; 0: none."""

    def fits(n_steps: int) -> bool:
        shorter = replace(options, n_ctx=n_steps * _CONTEXT_STEP)
        try:
            _arrange(family, config, chosen, adapter, shorter)
        except errors.DeviceLimitError:
            return False
        return True

    low, high = 1, (_context(config, options) - 1) // _CONTEXT_STEP
    if high < low or not fits(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low * _CONTEXT_STEP


def out_of_memory(
    fit: Fit, held: int, cause: errors.DeviceMemoryError, longest: int
) -> errors.DeviceMemoryError:
    """Return the error for a device that gave no more than `held` bytes and a bit."""
    error = errors.DeviceMemoryError(
        "the device has too little memory for the model",
        found=f"{_parts(fit)}. {cause.what}",
        expected=f"{_gb(fit.total_bytes)} of free memory; {_gb(held)} could be had",
        remedy=_use_context(longest)
        if longest
        else f"Close other programs that use the GPU, or {_lower(_SMALLER_MODEL)}",
    )
    error.n_ctx = longest
    return error


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


def describe(fit: Fit) -> dict[str, Any]:
    """Return what a model takes as JSON can hold it."""
    return {**asdict(fit), "total_bytes": fit.total_bytes}


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
            seconds = max(1, round(prediction.load_seconds))
            lines.append(f"loads in about {seconds} s")
    return "\n".join(lines)


# -- bytes of a step -------------------------------------------------------------


def step_bytes(config: Config, chosen: Mapping[str, FileTensor]) -> int:
    """Return how many bytes of weights a decode step reads.

    All of each layer's dense tensors, those experts that a token takes, the output
    matrix, and one row of each table of embeddings.
    """
    total = 0
    for name, info in chosen.items():
        is_output = name == "token_embd.weight" and "output.weight" not in chosen
        if len(info.dims) == 3:
            total += info.size // info.dims[2] * config.n_experts_used
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
        seen = min(n_keys, layer.window) if layer.window else n_keys
        total += 2 * seen * layer.n_kv_heads * layer.head_dim * KV_BYTES[kv]
    return total


# -- memory ----------------------------------------------------------------------


def _arrange(
    family: Family,
    config: Config,
    chosen: Mapping[str, FileTensor],
    adapter: AdapterInfo,
    options: LoadOptions,
) -> tuple[Fit, Layout]:
    modes = [RESIDENT, HOST_EMBEDDINGS]
    if family.host_table not in chosen:
        modes.remove(HOST_EMBEDDINGS)
    elif options.host_embeddings:
        modes.remove(RESIDENT)
    for mode in modes:
        described = layout.describe(
            family,
            config,
            chosen,
            adapter.limits,
            options.tune
            or tuning.choose(adapter.is_software, adapter.limits.max_workgroup_bytes),
            n_ctx=_context(config, options),
            kv=options.kv,
            on_host=mode == HOST_EMBEDDINGS,
        )
        fit = _add_up(config, chosen, described, mode, options)
        if options.memory is None or fit.total_bytes <= options.memory:
            return fit, described
        refusal = _too_large(config, fit, options.memory)
    raise refusal


def _add_up(
    config: Config,
    chosen: Mapping[str, FileTensor],
    described: Layout,
    mode: str,
    options: LoadOptions,
) -> Fit:
    table = (
        chosen[described.model.family.host_table] if mode == HOST_EMBEDDINGS else None
    )
    return Fit(
        mode=mode,
        n_ctx=_context(config, options),
        kv=options.kv,
        weight_bytes=_size(described.weights),
        host_bytes=table.size if table else 0,
        kv_bytes=_size(described.caches),
        table_bytes=_size(described.tables),
        scratch_bytes=_size(described.arena.buffers),
        n_dispatches=len(described.plans[1].dispatches),
        step_bytes=step_bytes(config, chosen),
    )


def _size(buffers: Sequence[Buffer]) -> int:
    return sum(buffer.size for buffer in buffers)


def _kv_type(kv: str) -> str:
    if kv not in KV_BYTES:
        raise errors.RequestError("kv type", found=kv, expected="f16 or f32")
    return kv


def _context(config: Config, options: LoadOptions) -> int:
    n_ctx, most = options.n_ctx, config.n_ctx_train
    if n_ctx is None:
        return min(options.default_ctx or _DEFAULT_CONTEXT, most)
    if not 1 <= n_ctx <= most:
        raise errors.RequestError(
            "context length",
            found=str(n_ctx),
            expected=f"1 to {most} tokens, what the model was made for",
        )
    return n_ctx


# -- refusals --------------------------------------------------------------------


def _too_large(config: Config, fit: Fit, memory: int) -> errors.DeviceLimitError:
    remedy = _SMALLER_MODEL
    if config.n_experts:
        remedy += "; streaming experts from the file is not supported yet"
    return errors.DeviceLimitError(
        "the model does not fit in the device's memory",
        found=_parts(fit),
        expected=f"at most {_gb(memory)}",
        remedy=remedy,
    )


def _parts(fit: Fit) -> str:
    return (
        f"{_gb(fit.total_bytes)} needed: weights {_gb(fit.weight_bytes)}, keys and "
        f"values of {fit.n_ctx} tokens {_gb(fit.kv_bytes)}, scratch and tables "
        f"{_gb(fit.scratch_bytes + fit.table_bytes)}"
    )


def _use_context(n_ctx: int) -> str:
    return f"Use a context of {n_ctx:,} tokens or fewer"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _gb(n_bytes: int) -> str:
    """Return a size as people read it."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
