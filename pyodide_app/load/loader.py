"""Load a model: header, tokenizer, weights, caches and tables, ready for a pass."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.gguf.reader import FileTensor, GGUFFile
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import AdapterInfo, Device
from pyodide_app.graph import rope
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load import advice, fit, weights
from pyodide_app.load.fit import Fit, arrange
from pyodide_app.load.header import Header, read_header, with_factors
from pyodide_app.load.layout import Layout
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.passes import Passes
from pyodide_app.models.config import Config
from pyodide_app.models.family import Model
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
class Fitted:
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
class Loaded(Fitted):
    """A model on the GPU, as it was fitted before, with its tokenizer."""

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


async def preflight(
    sources: Sequence[ByteSource], adapter: AdapterInfo, options: LoadOptions = DEFAULTS
) -> Fitted:
    """Say from the header alone how a model would run on an adapter.

    Raises what `load` raises before it reads weights.
    """
    header = await read_header(sources)
    return Fitted(header.file, *arrange(header, adapter, options))


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
    header = await read_header(sources)
    progress(Progress("kernels", 0, 1))
    choice = await kernel_options.choose(
        device, options.kernels, options.kept, options.tune
    )
    options = replace(options, tune=choice.tune)
    arranged = arrange(header, device.info, options)
    header, n_pairs = await with_factors(header), header.n_pairs
    if header.n_pairs != n_pairs:  # which the metadata did not say
        arranged = arrange(header, device.info, options)
    progress(Progress("tokenizer", 0, 1, arranged[0]))
    tokenizer = _make_tokenizer(header.file, header.config)
    progress(Progress("weights", 0, _total(_resident(header, arranged[0]))))
    reserved = await _reserve(device, header, options, arranged, make_room)
    passes = await _fill(device, header, reserved, progress)
    return Loaded(header.file, *reserved, tokenizer, passes, choice)


async def _reserve(
    device: Device,
    header: Header,
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
    smaller = arrange(header, device.info, on_host)
    if smaller[0].mode != arranged[0].mode:
        refusal = await _make(device, smaller[1])
        if refusal is None:
            return smaller
    held, cause = refusal
    tighter = replace(on_host, memory=held)
    longest = fit.longest_context(header, device.info, tighter)
    raise fit.out_of_memory(smaller[0], held, cause, longest) from cause


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
    header: Header,
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


def _make_tokenizer(file: GGUFFile, config: Config) -> Tokenizer | None:
    """Build the tokenizer; a file without one still serves requests made of ids."""
    if "tokenizer.ggml.tokens" not in file.metadata:
        return None
    return Tokenizer.from_metadata(file.metadata, config.n_vocab)


async def _upload(
    device: Device,
    header: Header,
    fitted: Fit,
    layout: Layout,
    progress: Callable[[Progress], None],
) -> None:
    infos = _resident(header, fitted)
    done, total = 0, _total(infos)

    def on_bytes(n: int) -> None:
        nonlocal done
        done += n
        progress(Progress("weights", done, total))

    # In file order: a disk reads ahead, and so does the network.
    names = sorted(infos, key=lambda name: infos[name].offset)
    tensors = [(layout.model.weights[name], infos[name]) for name in names]
    await weights.upload(device, layout.tuning, tensors, on_bytes)


def _resident(header: Header, fitted: Fit) -> dict[str, FileTensor]:
    """Return the tensors that go to the device."""
    return header.on_device(host_table=fitted.mode == fit.HOST_EMBEDDINGS)


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
