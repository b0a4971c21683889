"""Whether a model fits on an adapter, and what it takes there.

Everything follows from the header and the adapter; nothing is allocated or read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyodide_app import errors
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gpu.device import AdapterInfo
from pyodide_app.graph.plan import Buffer
from pyodide_app.load import layout
from pyodide_app.load.header import Header
from pyodide_app.load.layout import Layout
from pyodide_app.load.options import LoadOptions, Settled
from pyodide_app.models.config import Config

RESIDENT = "resident"  # every tensor on the GPU
HOST_EMBEDDINGS = "host-embeddings"  # per-layer embeddings stay in the file
_CONTEXT_STEP = 256  # tokens; of a context that is offered in place of a longer one
_SMALLER_MODEL = "Choose a smaller model or a smaller type of it"


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

    def describe(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {**asdict(self), "total_bytes": self.total_bytes}


def arrange(
    header: Header, adapter: AdapterInfo, options: LoadOptions
) -> tuple[Fit, Layout]:
    """Return how a model runs here, and where each part of it goes.

    The family's table (of per-layer embeddings) stays in the file if the options say
    so or if nothing else fits. Raises RequestError for options that cannot be, and
    DeviceLimitError with the numbers for a model that cannot run; its `n_ctx` is the
    longest context that can.
    """
    try:
        return _arrange(header, adapter, options.settle(header.config, adapter))
    except errors.DeviceLimitError as error:
        longest = longest_context(header, adapter, options)
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


def longest_context(header: Header, adapter: AdapterInfo, options: LoadOptions) -> int:
    """Return the longest context below `options.n_ctx` that fits, in steps; 0: none."""
    settled = options.settle(header.config, adapter)

    def fits(n_steps: int) -> bool:
        shorter = replace(settled, n_ctx=n_steps * _CONTEXT_STEP)
        try:
            _arrange(header, adapter, shorter)
        except errors.DeviceLimitError:
            return False
        return True

    low, high = 1, (settled.n_ctx - 1) // _CONTEXT_STEP
    if high < low or not fits(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low * _CONTEXT_STEP


def _arrange(
    header: Header, adapter: AdapterInfo, options: Settled
) -> tuple[Fit, Layout]:
    modes = [RESIDENT, HOST_EMBEDDINGS]
    if header.host_table is None:
        modes.remove(HOST_EMBEDDINGS)
    elif options.host_embeddings:
        modes.remove(RESIDENT)
    for mode in modes:
        chosen = replace(options, host_embeddings=mode == HOST_EMBEDDINGS)
        described = layout.describe(header, adapter.limits, chosen)
        fit = _add_up(header, described, mode, chosen)
        if options.memory is None or fit.total_bytes <= options.memory:
            return fit, described
        refusal = _too_large(header.config, fit, options.memory)
    raise refusal


def _add_up(header: Header, described: Layout, mode: str, options: Settled) -> Fit:
    table = header.host_table if mode == HOST_EMBEDDINGS else None
    return Fit(
        mode=mode,
        n_ctx=options.n_ctx,
        kv=options.kv,
        weight_bytes=_size(described.weights),
        host_bytes=table.size if table else 0,
        kv_bytes=_size(described.caches),
        table_bytes=_size(described.tables),
        scratch_bytes=_size(described.arena.buffers),
        n_dispatches=len(described.plans[1].dispatches),
        step_bytes=step_bytes(header.config, header.chosen),
    )


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


def _size(buffers: Sequence[Buffer]) -> int:
    return sum(buffer.size for buffer in buffers)


# -- refusals --------------------------------------------------------------------


def out_of_memory(
    fit: Fit, held: int, cause: errors.DeviceMemoryError, longest: int
) -> errors.DeviceMemoryError:
    """Return the error for a device that gave no more than `held` bytes and a bit."""
    error = errors.DeviceMemoryError(
        "the device has too little memory for the model",
        found=f"{_parts(fit)}. {cause.what}",
        expected=f"{gb(fit.total_bytes)} of free memory; {gb(held)} could be had",
        remedy=_use_context(longest)
        if longest
        else f"Close other programs that use the GPU, or {_lower(_SMALLER_MODEL)}",
    )
    error.n_ctx = longest
    return error


def _too_large(config: Config, fit: Fit, memory: int) -> errors.DeviceLimitError:
    remedy = _SMALLER_MODEL
    if config.n_experts:
        remedy += "; streaming experts from the file is not supported yet"
    return errors.DeviceLimitError(
        "the model does not fit in the device's memory",
        found=_parts(fit),
        expected=f"at most {gb(memory)}",
        remedy=remedy,
    )


def _parts(fit: Fit) -> str:
    return (
        f"{gb(fit.total_bytes)} needed: weights {gb(fit.weight_bytes)}, keys and "
        f"values of {fit.n_ctx} tokens {gb(fit.kv_bytes)}, scratch and tables "
        f"{gb(fit.scratch_bytes + fit.table_bytes)}"
    )


def _use_context(n_ctx: int) -> str:
    return f"Use a context of {n_ctx:,} tokens or fewer"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def gb(n_bytes: int) -> str:
    """Return a size as people read it."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
