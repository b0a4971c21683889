"""Load a model: header, tokenizer, weights, caches and tables, ready for a pass."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyodide_app import errors, preflight, weights
from pyodide_app.gguf.reader import GGUFFile, TensorInfo, read_gguf
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Device
from pyodide_app.graph import rope, tuning
from pyodide_app.graph.plan import Buffer, whole
from pyodide_app.graph.tensors import ExpertSlots, Rope, Weight
from pyodide_app.kv_cache import KV_BYTES
from pyodide_app.models import gemma4
from pyodide_app.models.gemma4_config import ARCHITECTURE, Config, select_tensors
from pyodide_app.tokenizer import Tokenizer

DEFAULT_CONTEXT = 8192


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
    n_parameters: int
    fit: preflight.Fit  # what was said of it before it was loaded
    rows: weights.HostRows | None  # of per-layer embeddings that stay in the file
    buffers: tuple[Buffer, ...]  # all that outlives a pass


@dataclass(frozen=True, slots=True, eq=False)
class _Header:
    """What a file's header says: the model's sizes, and the tensors of a pass."""

    file: GGUFFile
    config: Config
    chosen: dict[str, TensorInfo]


async def fit(
    sources: Sequence[ByteSource],
    adapter: AdapterInfo,
    *,
    n_ctx: int | None = None,
    kv: str = "f16",
    memory: int | None = None,
    host_embeddings: bool = False,
    tune: tuning.Tuning | None = None,
) -> tuple[Config, preflight.Fit]:
    """Say from the header alone how a model would run on an adapter.

    Raises what `load` raises before it reads weights.
    """
    tune = tune or tuning.choose(adapter.is_software)
    header = await _read_header(sources)
    return header.config, preflight.check(
        header.config,
        header.chosen,
        adapter,
        tune,
        n_ctx=_context(header.config, n_ctx),
        kv=_kv_type(kv),
        memory=memory,
        host_embeddings=host_embeddings,
    )


async def load(
    sources: Sequence[ByteSource],
    device: Device,
    *,
    n_ctx: int | None = None,
    kv: str = "f16",
    memory: int | None = None,
    host_embeddings: bool = False,
    tune: tuning.Tuning | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Loaded:
    """Read a GGUF and put its text model on the device.

    `n_ctx` is the context in tokens; by default the model's own, up to 8192. `memory`
    is how many bytes the device may hold, where that is known; per-layer embeddings
    stay in the file if they do not fit, or with `host_embeddings` in any case.
    Raises EngineError's subclasses, DeviceLimitError and DeviceMemoryError before
    weights are read; what was allocated until then is freed.
    """
    progress(Progress("header", 0, 1))
    header = await _read_header(sources)
    tune = tune or tuning.choose(device.info.is_software)
    n_ctx, kv = _context(header.config, n_ctx), _kv_type(kv)

    def check(host_embeddings: bool) -> preflight.Fit:
        return preflight.check(
            header.config,
            header.chosen,
            device.info,
            tune,
            n_ctx=n_ctx,
            kv=kv,
            memory=memory,
            host_embeddings=host_embeddings,
        )

    fitted = check(host_embeddings)
    progress(Progress("tokenizer", 0, 1))
    tokenizer = _make_tokenizer(header.file, header.config)
    try:
        return await _fill(device, tune, header, tokenizer, fitted, progress)
    except errors.DeviceMemoryError:
        smaller = check(True)
        if smaller.mode == fitted.mode:
            raise
    return await _fill(device, tune, header, tokenizer, smaller, progress)


async def _fill(
    device: Device,
    tune: tuning.Tuning,
    header: _Header,
    tokenizer: Tokenizer | None,
    fitted: preflight.Fit,
    progress: Callable[[Progress], None],
) -> Loaded:
    """Put the weights where they belong, and make all else that outlives a pass."""
    file, config, chosen = header.file, header.config, dict(header.chosen)
    limits, rows = device.info.limits, None
    if fitted.mode == preflight.HOST_EMBEDDINGS:
        table = chosen.pop(preflight.PER_LAYER_TABLE)
        rows = weights.HostRows(table, tune.chunk, limits)
    placed = {name: weights.place(info, limits) for name, info in chosen.items()}
    buffers = [p.view.buffer for weight in placed.values() for p in weight.parts]
    buffers += rows.buffers if rows else []
    caches = gemma4.make_caches(config, fitted.kv, fitted.n_ctx, tune.chunk)
    buffers += [b for cache in caches.values() for b in (cache.k, cache.v)]
    try:
        progress(Progress("weights", 0, sum(info.size for info in chosen.values())))
        await _reserve(device, buffers)
        await _upload(device, tune, placed, chosen, progress)
        if rows is not None:
            rows.write_numbers(device)
            placed[preflight.PER_LAYER_TABLE] = rows.weight
        model = gemma4.Model(
            config,
            placed,
            caches,
            *await _make_ropes(device, file, config, fitted.n_ctx, buffers),
            _make_slots(device, config, buffers),
            rows.numbers if rows else None,
        )
    except BaseException:
        device.release(buffers)
        raise
    n_parameters = sum(info.n_elements for info in file.tensors.values())
    return Loaded(
        file, tokenizer, model, tune, n_parameters, fitted, rows, tuple(buffers)
    )


async def _reserve(device: Device, buffers: Sequence[Buffer]) -> None:
    """Have the device make all large buffers, before gigabytes are read for them."""
    for buffer in buffers:
        device.write(buffer, 0, bytes(4))
    await device.settle()


async def _read_header(sources: Sequence[ByteSource]) -> _Header:
    """Read the header, and choose the tensors of a pass."""
    file = await read_gguf(sources)
    _check_architecture(file)
    config = Config.from_file(file.metadata, file.tensors)
    return _Header(file, config, select_tensors(config, file.tensors))


def _kv_type(kv: str) -> str:
    if kv not in KV_BYTES:
        raise errors.RequestError("kv type", found=kv, expected="f16 or f32")
    return kv


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


async def _upload(
    device: Device,
    tune: tuning.Tuning,
    placed: Mapping[str, Weight],
    chosen: Mapping[str, TensorInfo],
    progress: Callable[[Progress], None],
) -> None:
    total = sum(info.size for info in chosen.values())
    done = 0

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
    """Write each layer's slot table: the identity, since every expert resides."""
    slots = gemma4.make_slots(config)
    buffers += dict.fromkeys(slot.view.buffer for slot in slots.values())
    identity = array("I", range(config.n_experts)).tobytes()
    for slot in slots.values():
        device.write(slot.view.buffer, slot.view.offset, identity)
    return slots
