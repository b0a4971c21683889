"""Load a model: header, tokenizer, weights, caches and tables, ready for a pass."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyodide_app import advice, errors, preflight, variants, weights
from pyodide_app.gguf.reader import GGUFFile, TensorInfo, read_gguf
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Device
from pyodide_app.graph import rope
from pyodide_app.graph.tuning import Tuning
from pyodide_app.layout import PER_LAYER_TABLE, Layout
from pyodide_app.models import gemma4
from pyodide_app.models.gemma4_config import ARCHITECTURE, Config, select_tensors
from pyodide_app.passes import Passes
from pyodide_app.preflight import Fit, LoadOptions
from pyodide_app.tokenizer import Tokenizer

_RESERVED = 256 << 20  # bytes that are asked for before the device may say no
DEFAULTS = LoadOptions()
Arranged = tuple[Fit, Layout]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is: of the weights in bytes, else 0 of 1 when a stage begins.

    Or how far a long prompt is read, in tokens.
    """

    # "header" | "kernels" | "tokenizer" | "weights" | "pipelines" | "prompt"
    stage: str
    done: int
    total: int
    fit: Fit | None = None  # with "tokenizer": what the model will take


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What a header says of a model, and how the model would run."""

    file: GGUFFile
    fit: Fit
    layout: Layout

    @property
    def config(self) -> Config:
        """Return the model's sizes."""
        return self.layout.model.config

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what in the file was ignored or chosen, in whole sentences."""
        return advice.notes(self.file.metadata)


@dataclass(frozen=True, slots=True, eq=False)
class Loaded(Checked):
    """A model on the GPU, as it was checked before, with its tokenizer."""

    tokenizer: Tokenizer | None  # None for a file without a vocabulary
    passes: Passes
    choice: variants.Choice  # of kernels

    @property
    def model(self) -> gemma4.Model:
        """Return the model with its weights, caches and tables."""
        return self.layout.model

    @property
    def tuning(self) -> Tuning:
        """Return how wide the kernels run."""
        return self.layout.tuning

    @property
    def rows(self) -> weights.HostRows | None:
        """Return the per-layer embeddings that stay in the file, if they do."""
        return self.layout.rows


@dataclass(frozen=True, slots=True, eq=False)
class _Header:
    """What a file's header says: the model's sizes, and the tensors of a pass."""

    file: GGUFFile
    config: Config
    chosen: dict[str, TensorInfo]

    def resident(self, fitted: Fit) -> dict[str, TensorInfo]:
        """Return the tensors that go to the device."""
        left = PER_LAYER_TABLE if fitted.mode == preflight.HOST_EMBEDDINGS else None
        return {name: info for name, info in self.chosen.items() if name != left}


async def check(
    sources: Sequence[ByteSource], adapter: AdapterInfo, options: LoadOptions = DEFAULTS
) -> Checked:
    """Say from the header alone how a model would run on an adapter.

    Raises what `load` raises before it reads weights.
    """
    header = await _read_header(sources)
    fit, layout = preflight.arrange(header.config, header.chosen, adapter, options)
    return Checked(header.file, fit, layout)


async def load(
    sources: Sequence[ByteSource],
    device: Device,
    options: LoadOptions = DEFAULTS,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    make_room: Callable[[], bool] = lambda: False,
) -> Loaded:
    """Read a GGUF and put its text model on the device.

    All that the model takes is reserved before weights are read. Where that fails,
    `make_room` may free something and say so, and per-layer embeddings may stay in the
    file. Raises EngineError's subclasses, DeviceLimitError and DeviceMemoryError before
    weights are read; what was allocated is freed.
    """
    progress(Progress("header", 0, 1))
    header = await _read_header(sources)
    progress(Progress("kernels", 0, 1))
    choice = await variants.choose(device, options.kernels, options.kept, options.tune)
    options = replace(options, tune=choice.tune)
    arranged = _arrange(header, device, options)
    factors = await _global_factors(header)
    rotated = rope.rotated_pairs(factors)
    if rotated != arranged[1].model.rope.n_pairs:  # which the header did not say
        arranged = _arrange(header, device, options, rotated)
    progress(Progress("tokenizer", 0, 1, arranged[0]))
    tokenizer = _make_tokenizer(header.file, header.config)
    progress(Progress("weights", 0, _total(header.resident(arranged[0]))))
    reserved = await _reserve(device, header, options, rotated, arranged, make_room)
    passes = await _fill(device, header, factors, reserved, progress)
    return Loaded(header.file, *reserved, tokenizer, passes, choice)


def _arrange(
    header: _Header, device: Device, options: LoadOptions, rotated: int | None = None
) -> Arranged:
    return preflight.arrange(
        header.config, header.chosen, device.info, options, rotated
    )


async def _reserve(
    device: Device,
    header: _Header,
    options: LoadOptions,
    rotated: int,
    arranged: Arranged,
    make_room: Callable[[], bool],
) -> Arranged:
    """Have the device make all buffers before gigabytes are read for them.

    Raises DeviceMemoryError with the numbers.
    """
    refusal = await _make(device, arranged[1])
    if refusal and make_room():
        refusal = await _make(device, arranged[1])
    if refusal is None:
        return arranged
    on_host = replace(options, host_embeddings=True)
    smaller = _arrange(header, device, on_host, rotated)
    if smaller[0].mode != arranged[0].mode:
        refusal = await _make(device, smaller[1])
        if refusal is None:
            return smaller
    held, cause = refusal
    longest = preflight.longest_context(
        header.config, header.chosen, device.info, replace(on_host, memory=held)
    )
    raise preflight.out_of_memory(smaller[0], held, cause, longest) from cause


async def _make(
    device: Device, layout: Layout
) -> tuple[int, errors.DeviceMemoryError] | None:
    """Make all buffers, or none: how many bytes there were at least, and why no more.

    Written to, since a device may put off what nobody uses.
    """
    held = asked = 0
    try:
        for buffer in layout.buffers:
            device.write(buffer, 0, bytes(4))
            asked += buffer.size
            if asked >= _RESERVED:
                await device.settle()
                held, asked = held + asked, 0
        await device.settle()
    except BaseException as error:
        device.release(layout.buffers)
        if isinstance(error, errors.DeviceMemoryError):
            return held, error
        raise
    return None


async def _fill(
    device: Device,
    header: _Header,
    factors: Sequence[float],
    reserved: Arranged,
    progress: Callable[[Progress], None],
) -> Passes:
    """Upload the weights and write the tables; meanwhile shaders compile."""
    fitted, layout = reserved
    passes = Passes(device, layout)
    prompt = passes.begin(passes.prompt)
    try:
        await _upload(device, header, fitted, layout, progress)
        _write_tables(device, header.config, factors, fitted, layout)
        progress(Progress("pipelines", 0, 1))
        await prompt
    except BaseException:
        passes.close()
        device.release(layout.buffers)
        raise
    return passes


async def _read_header(sources: Sequence[ByteSource]) -> _Header:
    """Read the header, and choose the tensors of a pass."""
    file = await read_gguf(sources)
    _check_architecture(file)
    config = Config.from_file(file.metadata, file.tensors)
    return _Header(file, config, select_tensors(config, file.tensors))


def _check_architecture(file: GGUFFile) -> None:
    if file.architecture != ARCHITECTURE:
        raise errors.UnsupportedArchitectureError(
            "this model's architecture is not supported",
            found=repr(file.architecture),
            expected=repr(ARCHITECTURE),
            remedy="Choose a Gemma 4 text model",
        )


def _make_tokenizer(file: GGUFFile, config: Config) -> Tokenizer | None:
    """Build the tokenizer; a file without one still serves requests made of ids."""
    if "tokenizer.ggml.tokens" not in file.metadata:
        return None
    n_tokens = len(file.metadata.get_strings("tokenizer.ggml.tokens"))
    if n_tokens != config.n_vocab:
        raise errors.ShapeError(
            "tensor token_embd.weight",
            found=f"{config.n_vocab} rows",
            expected=f"{n_tokens}, the number of tokens in the metadata",
        )
    return Tokenizer.from_metadata(file.metadata)


async def _upload(
    device: Device,
    header: _Header,
    fitted: Fit,
    layout: Layout,
    progress: Callable[[Progress], None],
) -> None:
    infos = header.resident(fitted)
    done, total = 0, _total(infos)

    def on_bytes(n: int) -> None:
        nonlocal done
        done += n
        progress(Progress("weights", done, total))

    # In file order: a disk reads ahead, and so does the network.
    names = sorted(infos, key=lambda name: infos[name].offset)
    tensors = [(layout.model.weights[name], infos[name]) for name in names]
    await weights.upload(device, layout.tuning, tensors, on_bytes)


def _total(infos: Mapping[str, TensorInfo]) -> int:
    return sum(info.size for info in infos.values())


def _write_tables(
    device: Device,
    config: Config,
    factors: Sequence[float],
    fitted: Fit,
    layout: Layout,
) -> None:
    """Write the rotary tables, the slot tables and the numbers of gathered rows."""
    model = layout.model
    for rotary, theta, divisors in (
        (model.rope, config.rope_theta, factors),
        (model.rope_swa, config.rope_theta_swa, [1.0] * (config.head_dim(True) // 2)),
    ):
        table = rope.make_table(theta, 2 * len(divisors), divisors, fitted.n_ctx)
        device.write(rotary.table.buffer, 0, table)
    # Every expert resides: each has the slot of its own number.
    identity = array("I", range(config.n_experts)).tobytes()
    for slot in model.slots.values():
        device.write(slot.view.buffer, slot.view.offset, identity)
    if layout.rows is not None:
        layout.rows.write_numbers(device)


async def _global_factors(header: _Header) -> list[float]:
    """Return the frequency factors of a global head's pairs: 1e30 means unrotated."""
    config = header.config
    n_pairs = config.head_dim(False) // 2
    info = header.file.tensors.get("rope_freqs.weight")
    if info is None:
        n_rotated = min(n_pairs, int(n_pairs * config.rotated_share))
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
