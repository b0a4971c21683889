"""Load a model: header, tokenizer, weights, caches and tables, ready for a pass."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyodide_app import errors, weights
from pyodide_app.gguf.reader import GGUFFile, TensorInfo, read_gguf
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import Device
from pyodide_app.graph import rope, tuning
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.tensors import ExpertSlots, Rope, Weight
from pyodide_app.kv_cache import KV_BYTES
from pyodide_app.models import gemma4
from pyodide_app.models.gemma4_config import ARCHITECTURE, Config, select_tensors
from pyodide_app.tokenizer import Tokenizer

DEFAULT_CONTEXT = 8192
_ALIGNMENT = 256  # bytes; of a storage binding's offset


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is: of the weights in bytes, else 0 of 1 when a stage begins."""

    stage: str  # "header" | "tokenizer" | "weights" | "pipelines"
    done: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model on the GPU, with its file's header and its tokenizer."""

    file: GGUFFile
    tokenizer: Tokenizer | None  # None for a file without a vocabulary
    model: gemma4.Model
    tuning: tuning.Tuning
    n_ctx: int
    kv: str
    n_parameters: int
    weight_bytes: int
    buffers: tuple[Buffer, ...]  # all that outlives a pass


async def load(
    sources: Sequence[ByteSource],
    device: Device,
    *,
    n_ctx: int | None = None,
    kv: str = "f16",
    tune: tuning.Tuning | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Loaded:
    """Read a GGUF and put its text model on the device.

    `n_ctx` is the context in tokens; by default the model's own, up to 8192.
    Raises EngineError's subclasses; what was allocated until then is freed.
    """
    progress(Progress("header", 0, 1))
    file = await read_gguf(sources)
    _check_architecture(file)
    config = Config.from_file(file.metadata, file.tensors)
    chosen = select_tensors(config, file.tensors)
    n_ctx = _context(config, n_ctx)
    if kv not in KV_BYTES:
        raise errors.RequestError("kv type", found=kv, expected="f16 or f32")
    progress(Progress("tokenizer", 0, 1))
    tokenizer = _make_tokenizer(file, config)
    tune = tune or tuning.choose(device.info.is_software)
    placed = {n: weights.place(info, device.info.limits) for n, info in chosen.items()}
    buffers = [p.view.buffer for weight in placed.values() for p in weight.parts]
    try:
        await _upload(device, tune, placed, chosen, progress)
        model = gemma4.Model(
            config,
            placed,
            gemma4.make_caches(config, kv, n_ctx, tune.chunk),
            *await _make_ropes(device, file, config, n_ctx, buffers),
            _make_slots(device, config, buffers),
        )
        buffers += [b for cache in model.caches.values() for b in (cache.k, cache.v)]
        _check_bindings(buffers, device)
    except BaseException:
        device.release(buffers)
        raise
    return Loaded(
        file,
        tokenizer,
        model,
        tune,
        n_ctx,
        kv,
        sum(info.n_elements for info in file.tensors.values()),
        sum(info.size for info in chosen.values()),
        tuple(buffers),
    )


def _check_architecture(file: GGUFFile) -> None:
    if file.architecture != ARCHITECTURE:
        raise errors.UnsupportedArchitectureError(
            "this model's architecture is not supported",
            found=repr(file.architecture),
            expected=repr(ARCHITECTURE),
            remedy="Choose a Gemma 4 text model",
        )


def _context(config: Config, n_ctx: int | None) -> int:
    if n_ctx is None:
        return min(config.n_ctx_train, DEFAULT_CONTEXT)
    if not 1 <= n_ctx <= config.n_ctx_train:
        raise errors.RequestError(
            "context length",
            found=str(n_ctx),
            expected=f"1 to {config.n_ctx_train} tokens, what the model was made for",
        )
    return n_ctx


def _make_tokenizer(file: GGUFFile, config: Config) -> Tokenizer | None:
    """Build the tokenizer; a file without one still serves requests made of ids."""
    if "tokenizer.ggml.tokens" not in file.metadata:
        return None
    tokenizer = Tokenizer.from_metadata(file.metadata)
    if tokenizer.n_vocab != config.n_vocab:
        raise errors.ShapeError(
            "tensor token_embd.weight",
            found=f"{config.n_vocab} rows",
            expected=f"{tokenizer.n_vocab}, the number of tokens in the metadata",
        )
    return tokenizer


def _check_bindings(buffers: Sequence[Buffer], device: Device) -> None:
    """Refuse what no kernel could bind whole: a KV cache of too long a context."""
    most = device.info.limits.max_binding_bytes
    for buffer in buffers:
        if buffer.size > most:
            raise errors.DeviceLimitError(
                f"buffer {buffer.label}",
                found=f"{buffer.size} bytes",
                expected=f"at most {most} bytes, the adapter's largest binding",
                remedy="Choose a shorter context",
            )


async def _upload(
    device: Device,
    tune: tuning.Tuning,
    placed: Mapping[str, Weight],
    chosen: Mapping[str, TensorInfo],
    progress: Callable[[Progress], None],
) -> None:
    total = sum(info.size for info in chosen.values())
    done = 0
    progress(Progress("weights", 0, total))

    def on_bytes(n: int) -> None:
        nonlocal done
        done += n
        progress(Progress("weights", done, total))

    # In file order: a disk reads ahead, and so does the network.
    for name in sorted(chosen, key=lambda name: chosen[name].offset):
        await weights.upload(device, tune, placed[name], chosen[name], on_bytes)
    await device.settle()


async def _make_ropes(
    device: Device, file: GGUFFile, config: Config, n_ctx: int, buffers: list[Buffer]
) -> tuple[Rope, Rope]:
    """Return the rotary tables of the global and of the sliding layers."""
    ropes = []
    for is_sliding, theta in (
        (False, config.rope_theta),
        (True, config.rope_theta_swa),
    ):
        head_dims = {a.head_dim for a in config.layers if a.is_sliding == is_sliding}
        head_dim = head_dims.pop() if head_dims else 8
        factors = [1.0] * (head_dim // 2)
        if not is_sliding:
            factors = await _global_factors(file, config, head_dim)
        table = rope.make_table(theta, head_dim, factors, n_ctx)
        buffer = Buffer("rope_swa" if is_sliding else "rope", len(table))
        buffers.append(buffer)
        device.write(buffer, 0, table)
        n_pairs = rope.rotated_pairs(factors)
        ropes.append(Rope(whole(buffer), n_pairs, rope.fine_positions(n_ctx)))
    return ropes[0], ropes[1]


async def _global_factors(file: GGUFFile, config: Config, head_dim: int) -> list[float]:
    """Return the frequency factors of a global head's pairs: 1e30 means unrotated."""
    n_pairs = head_dim // 2
    info = file.tensors.get("rope_freqs.weight")
    if info is None:
        n_rotated = int(n_pairs * config.rotated_share)
        return [1.0] * n_rotated + [1e30] * (n_pairs - n_rotated)
    if info.dims != (n_pairs,) or info.type.name != "F32":
        raise errors.ShapeError(
            "tensor rope_freqs.weight",
            found=f"{list(info.dims)} {info.type.name}",
            expected=f"[{n_pairs}] F32",
        )
    data = await info.source.read(info.offset, info.offset + info.size)
    factors = list(struct.unpack(f"<{n_pairs}f", data))
    n_rotated = rope.rotated_pairs(factors)
    if rope.rotated_pairs(factors[:n_rotated]) != n_rotated or not all(
        factor > 0 for factor in factors
    ):
        raise errors.FileFormatError(
            "tensor rope_freqs.weight",
            found=f"factors {factors[:4]} …",
            expected="positive factors, those of rotated pairs first",
        )
    return factors


def _make_slots(
    device: Device, config: Config, buffers: list[Buffer]
) -> dict[int, ExpertSlots]:
    """Return each layer's slot table: the identity, since every expert resides."""
    routed = [layer.index for layer in config.layers if layer.has_experts]
    if not routed:
        return {}
    size = 4 * config.n_experts
    stride = -(-size // _ALIGNMENT) * _ALIGNMENT
    buffer = Buffer("expert_slots", stride * len(routed))
    buffers.append(buffer)
    identity = array("I", range(config.n_experts)).tobytes()
    device.write(buffer, 0, identity.ljust(stride, b"\0") * len(routed))
    return {
        layer: ExpertSlots(View(buffer, i * stride, size), config.n_experts)
        for i, layer in enumerate(routed)
    }
