"""How a model is to be loaded."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app import errors
from pyodide_app.gpu.device import AdapterInfo
from pyodide_app.graph import tuning
from pyodide_app.graph.kv_cache import KV_BYTES
from pyodide_app.models.config import Config

_DEFAULT_CONTEXT = 8192  # tokens


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

    def settle(self, config: Config, adapter: AdapterInfo) -> Settled:
        """Decide what is left open: the context and the tuning.

        Raises RequestError for a context or a type that the model cannot have.
        """
        if self.kv not in KV_BYTES:
            raise errors.RequestError("kv type", found=self.kv, expected="f16 or f32")
        n_ctx, most = self.n_ctx, config.n_ctx_train
        if n_ctx is None:
            n_ctx = min(self.default_ctx or _DEFAULT_CONTEXT, most)
        if not 1 <= n_ctx <= most:
            raise errors.RequestError(
                "context length",
                found=str(n_ctx),
                expected=f"1 to {most} tokens, what the model was made for",
            )
        tune = self.tune or tuning.choose(
            adapter.is_software, adapter.limits.max_workgroup_bytes
        )
        return Settled(n_ctx, self.kv, tune, self.memory, self.host_embeddings)


@dataclass(frozen=True, slots=True)
class Settled:
    """The options that decide where everything goes, none of them open."""

    n_ctx: int
    kv: str
    tune: tuning.Tuning
    memory: int | None
    host_embeddings: bool
