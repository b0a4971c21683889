"""Load a model: header, tokenizer, weights, caches and tables, ready for a pass."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.gguf.floats import FLOATS, widen
from pyodide_app.gguf.reader import FileTensor, GGUFFile, read_gguf
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Device
from pyodide_app.graph import rope
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load import advice, preflight, weights
from pyodide_app.load.layout import Layout
from pyodide_app.load.passes import Passes
from pyodide_app.load.preflight import Fit, LoadOptions
from pyodide_app.models import find_family
from pyodide_app.models.config import Config, Reader, RopeSpec
from pyodide_app.models.family import Family, Model, select_tensors
from pyodide_app.text.tokenizer import Tokenizer

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
    choice: kernel_options.Choice  # of kernels

    @property
    def model(self) -> Model:
        """Return the model with its weights, caches and tables."""
        return self.layout.model

    @property
    def tuning(self) -> Tuning:
        """Return how wide the kernels run."""
        return self.layout.tuning

    @property
    def rows(self) -> weights.HostRows | None:
        """Return the table that stays in the file, if there is one."""
        return self.layout.rows


@dataclass(frozen=True, slots=True, eq=False)
class _Header:
    """What a file's header says: the model's sizes, and the tensors of a pass."""

    file: GGUFFile
    family: Family
    config: Config
    chosen: dict[str, FileTensor]

    @property
    def pairs(self) -> list[int]:
        """Return how many pairs of a head turn, of each kind."""
        return [spec.n_pairs for spec in self.config.ropes]

    def arrange(self, adapter: AdapterInfo, options: LoadOptions) -> Arranged:
        """Say how the model would run on an adapter."""
        return preflight.arrange(
            self.family, self.config, self.chosen, adapter, options
        )

    def resident(self, fitted: Fit) -> dict[str, FileTensor]:
        """Return the tensors that go to the device."""
        on_host = fitted.mode == preflight.HOST_EMBEDDINGS
        left = self.family.host_table if on_host else None
        return {name: info for name, info in self.chosen.items() if name != left}


async def check(
    sources: Sequence[ByteSource], adapter: AdapterInfo, options: LoadOptions = DEFAULTS
) -> Checked:
    """Say from the header alone how a model would run on an adapter.

    Raises what `load` raises before it reads weights.
    """
    header = await _read_header(sources)
    return Checked(header.file, *header.arrange(adapter, options))


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
    choice = await kernel_options.choose(
        device, options.kernels, options.kept, options.tune
    )
    options = replace(options, tune=choice.tune)
    arranged = header.arrange(device.info, options)
    header, pairs = await _with_factors(header), header.pairs
    if header.pairs != pairs:  # which the metadata did not say
        arranged = header.arrange(device.info, options)
    progress(Progress("tokenizer", 0, 1, arranged[0]))
    tokenizer = _make_tokenizer(header.file, header.config)
    progress(Progress("weights", 0, _total(header.resident(arranged[0]))))
    reserved = await _reserve(device, header, options, arranged, make_room)
    passes = await _fill(device, header, reserved, progress)
    return Loaded(header.file, *reserved, tokenizer, passes, choice)


async def _reserve(
    device: Device,
    header: _Header,
    options: LoadOptions,
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
    smaller = header.arrange(device.info, on_host)
    if smaller[0].mode != arranged[0].mode:
        refusal = await _make(device, smaller[1])
        if refusal is None:
            return smaller
    held, cause = refusal
    longest = preflight.longest_context(
        header.family,
        header.config,
        header.chosen,
        device.info,
        replace(on_host, memory=held),
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
    reserved: Arranged,
    progress: Callable[[Progress], None],
) -> Passes:
    """Upload the weights and write the tables; meanwhile shaders compile."""
    fitted, layout = reserved
    passes = Passes(device, layout)
    prompt = passes.begin(passes.prompt)
    try:
        await _upload(device, header, fitted, layout, progress)
        await _write_tables(device, header.config, fitted, layout)
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
    family = find_family(file.architecture)
    config = family.read(Reader(file.metadata, file.tensors))
    chosen = select_tensors(family, config, file.tensors)
    return _Header(file, family, config, chosen)


def _make_tokenizer(file: GGUFFile, config: Config) -> Tokenizer | None:
    """Build the tokenizer; a file without one still serves requests made of ids."""
    if "tokenizer.ggml.tokens" not in file.metadata:
        return None
    return Tokenizer.from_metadata(file.metadata, config.n_vocab)


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


def _total(infos: Mapping[str, FileTensor]) -> int:
    return sum(info.size for info in infos.values())


async def _write_tables(
    device: Device, config: Config, fitted: Fit, layout: Layout
) -> None:
    """Write the rotary tables, the slot tables and the numbers of gathered rows."""
    model, n_ctx = layout.model, fitted.n_ctx
    for spec, rotary in zip(config.ropes, model.ropes, strict=True):
        factors = spec.factors or [1.0] * spec.n_pairs
        table = rope.make_table(spec.theta, spec.n_dims, factors, n_ctx, spec.scale)
        device.write(rotary.table.buffer, 0, table)
    # Every expert resides: each has the slot of its own number.
    identity = array("I", range(model.config.n_experts)).tobytes()
    for slot in model.slots.values():
        device.write(slot.view.buffer, slot.view.offset, identity)
    if layout.rows is not None:
        await layout.rows.begin(device)


async def _with_factors(header: _Header) -> _Header:
    """Return the header with the frequency factors that its file holds."""
    info = header.file.tensors.get("rope_freqs.weight")
    if info is None:
        return header
    ropes = [
        await _read_factors(info, spec) if spec.from_file else spec
        for spec in header.config.ropes
    ]
    return replace(header, config=replace(header.config, ropes=tuple(ropes)))


async def _read_factors(info: FileTensor, spec: RopeSpec) -> RopeSpec:
    """Return how heads turn by the factors of a tensor: 1e30 means unrotated."""
    n_pairs = spec.n_dims // 2
    if info.dims != (n_pairs,) or info.type.name not in FLOATS:
        raise errors.ShapeError(
            "tensor rope_freqs.weight",
            found=f"{list(info.dims)} {info.type.name}",
            expected=f"[{n_pairs}] of {', '.join(FLOATS)}",
        )
    data = await info.source.read(info.offset, info.offset + info.size)
    factors = struct.unpack(f"<{n_pairs}f", widen(info.type, data))
    n_rotated = rope.rotated_pairs(factors)
    if rope.rotated_pairs(factors[:n_rotated]) != n_rotated or not all(
        factor > 0 for factor in factors
    ):
        raise errors.FileFormatError(
            "tensor rope_freqs.weight",
            found=f"factors {list(factors[:4])} …",
            expected="positive factors, those of rotated pairs first",
        )
    return replace(spec, factors=factors, n_pairs=n_rotated)
