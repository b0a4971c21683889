"""Where each tensor lives: on the GPU, whole or split over bindings, or in its file."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from pyodide_app import errors
from pyodide_app.gguf.floats import F32, FLOATS, widen
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gguf.types import GGMLType
from pyodide_app.gpu.device import Device, Limits
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import PIECE_ALIGNMENT, Part, Tensor, Weight
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load.tails import read_tail, tail_bytes

LOAD_BYTES = 16  # of a kernel that multiplies by rows (shaders/dot/)
_STAGING = 16 << 20  # bytes of raw blocks that are repacked at a time


def bytes_of(kind: GGMLType, n_elements: int) -> int:
    """Return the bytes on the GPU, rounded up to whole loads of 16 bytes."""
    n_bytes = n_elements // kind.block_size * kind.block_bytes
    return -(-n_bytes // LOAD_BYTES) * LOAD_BYTES


def place(info: FileTensor, limits: Limits) -> Weight:
    """Describe where a tensor goes, splitting what one binding cannot hold.

    A vector of 16-bit floats becomes one of 32 bits.
    Raises DeviceLimitError when even one row (one expert) is too large.
    """
    n_units = info.dims[-1] if len(info.dims) > 1 else 1
    is_vector = len(info.dims) == 1 and info.type.name in FLOATS
    kind = F32 if is_vector else info.type
    most = min(limits.max_binding_bytes, limits.max_buffer_bytes)
    most -= most % LOAD_BYTES + tail_bytes(info, n_units)
    unit = info.n_elements // n_units  # elements of a row, or of an expert
    unit_bytes = unit // kind.block_size * kind.block_bytes
    # A part must begin on a whole word of the file.
    step = 4 // gcd(4, unit_bytes)
    per_part = min(n_units, max(0, most) // unit_bytes)
    if per_part < n_units:
        per_part -= per_part % step
    if per_part == 0:
        raise errors.DeviceLimitError(
            f"tensor {info.name}",
            found=f"{unit_bytes} bytes in one row or expert",
            expected=f"at most {most} bytes, the adapter's largest binding",
            remedy="Use a GPU with a larger limit",
        )
    parts = []
    for begin in range(0, n_units, per_part):
        count = min(per_part, n_units - begin)
        size = bytes_of(kind, count * unit) + tail_bytes(info, count)
        label = info.name if count == n_units else f"{info.name}[{begin}]"
        parts.append(Part(View(Buffer(label, size), 0, size), begin, count))
    return Weight(info.name, kind, info.dims, tuple(parts))


def place_all(infos: Mapping[str, FileTensor], limits: Limits) -> dict[str, Weight]:
    """Describe where the tensors of a model go.

    Vectors lie together, those of a layer always, so that a kernel reads several of
    them by one binding.
    """
    placed = {name: place(info, limits) for name, info in infos.items()}
    most = min(limits.max_binding_bytes, limits.max_buffer_bytes)
    together: dict[str, Weight] = {}
    used = 0
    for group in _vectors_by_layer(placed).values():
        size = sum(map(_aligned, group.values()))
        if used + size > most:
            placed.update(place_together(together))
            together, used = {}, 0
        together |= group
        used += size
    placed.update(place_together(together))
    return placed


def _vectors_by_layer(placed: Mapping[str, Weight]) -> dict[str, dict[str, Weight]]:
    """Return the vectors of each layer, and each other one by itself."""
    groups: dict[str, dict[str, Weight]] = {}
    for name, weight in placed.items():
        if len(weight.dims) == 1:
            is_in_layer = name.startswith("blk.")
            layer = ".".join(name.split(".")[:2]) if is_in_layer else name
            groups.setdefault(layer, {})[name] = weight
    return groups


def place_together(vectors: Mapping[str, Weight]) -> dict[str, Weight]:
    """Put vectors behind one another in a buffer."""
    buffer = Buffer("vectors", sum(map(_aligned, vectors.values())))
    begin, placed = 0, {}
    for name, weight in vectors.items():
        view = View(buffer, begin, weight.parts[0].view.size)
        placed[name] = replace(weight, parts=(Part(view, 0, 1),))
        begin += _aligned(weight)
    return placed


def _aligned(vector: Weight) -> int:
    step = 4 * PIECE_ALIGNMENT
    return -(-vector.parts[0].view.size // step) * step


async def upload(
    device: Device,
    tuning: Tuning,
    tensors: Iterable[tuple[Weight, FileTensor]],
    on_bytes: Callable[[int], None],
) -> None:
    """Stream tensors from their files to their places; split types are repacked.

    All pass through one staging buffer: what is queued runs in order. The device is
    waited for at the end alone, since a wait for each tensor takes Firefox a tenth of a
    second every time.
    """
    ranges = [(*pair, *found) for pair in tensors for found in _ranges(*pair)]
    staged = [
        min(_chunk(weight.type), end - begin)
        for weight, _, _, begin, end in ranges
        if weight.type.is_split
    ]
    staging = Buffer("staging", -(-max(staged, default=0) // 4) * 4)
    try:
        for weight, info, part, begin, end in ranges:
            to = part.view
            if weight.type is not info.type:
                raw = await info.source.read(begin, end)
                device.write(to.buffer, to.offset, widen(info.type, raw))
                on_bytes(end - begin)
            elif weight.type.is_split:
                stream = _Stream(info.source, begin, end, staging)
                await _repack(device, tuning, weight, part, stream, on_bytes)
            else:
                await device.upload(
                    info.source, begin, end, to.buffer, to.offset, on_bytes
                )
            await _write_tail(device, weight, info, part)
        await device.settle()
    finally:
        device.release([staging])


async def _write_tail(
    device: Device, weight: Weight, info: FileTensor, part: Part
) -> None:
    """Write what stands behind the blocks, where the type has something there."""
    if tail := await read_tail(weight, info, part):
        end = part.view.offset + part.view.size
        device.write(part.view.buffer, end - len(tail), tail)


def _ranges(weight: Weight, info: FileTensor) -> Iterator[tuple[Part, int, int]]:
    """Yield the parts of a tensor, and where each begins and ends in its file."""
    unit_bytes = info.size // (info.dims[-1] if len(info.dims) > 1 else 1)
    for part in weight.parts:
        begin = info.offset + part.begin * unit_bytes
        yield part, begin, begin + part.count * unit_bytes


@dataclass(frozen=True, slots=True)
class _Stream:
    """A range of a source that passes through a staging buffer."""

    source: ByteSource
    begin: int
    end: int
    staging: Buffer


def _chunk(kind: GGMLType) -> int:
    """Return the bytes that are repacked at a time.

    Four blocks of one-byte scales fill a word: a chunk begins on a whole word of both
    planes.
    """
    return _STAGING // (4 * kind.block_bytes) * (4 * kind.block_bytes)


async def _repack(
    device: Device,
    tuning: Tuning,
    weight: Weight,
    part: Part,
    stream: _Stream,
    on_bytes: Callable[[int], None],
) -> None:
    block, chunk = weight.type.block_bytes, _chunk(weight.type)
    n_staged = -(-min(chunk, stream.end - stream.begin) // 4)
    raw = Tensor((n_staged,), View(stream.staging, 0, 4 * n_staged))
    state = Buffer("staging.state", STATE_BYTES)  # which no kernel here reads
    for start in range(stream.begin, stream.end, chunk):
        stop = min(start + chunk, stream.end)
        await device.upload(stream.source, start, stop, stream.staging, 0, on_bytes)
        ops = Ops("repack", tuning, Arena(), state, 0)
        first, count = (start - stream.begin) // block, (stop - start) // block
        ops.repack(raw, weight, part, first, count)
        device.submit(await device.prepare(ops.finish()[0]))


class HostRows:
    """A table that stays in its file; the host fetches the rows of a pass's tokens.

    `weight` holds a row per token of a pass, which `numbers`, 0, 1, …, choose. It is
    one part: the pass's own scratch, which one binding holds, is wider.
    """

    def __init__(self, info: FileTensor, n_rows: int, limits: Limits) -> None:
        """Describe the buffers for passes over up to `n_rows` tokens."""
        self.info = info
        self.weight = place(replace(info, dims=(info.dims[0], n_rows)), limits)
        self.numbers = Buffer("gathered_rows", 4 * n_rows)

    @property
    def buffers(self) -> list[Buffer]:
        """Return what this takes on the device."""
        return [self.numbers, *(part.view.buffer for part in self.weight.parts)]

    async def begin(self, device: Device) -> None:
        """Write the row numbers and what stands behind the rows, once."""
        n_rows = self.weight.n_rows
        device.write(self.numbers, 0, array("I", range(n_rows)).tobytes())
        await _write_tail(device, self.weight, self.info, self.weight.parts[0])

    async def gather(self, device: Device, ids: Sequence[int]) -> None:
        """Put the rows of tokens `ids` on the device, reading each of them once."""
        size = self.info.row_bytes
        starts = {i: self.info.offset + i * size for i in ids}
        read = self.info.source.read
        data = await asyncio.gather(*(read(at, at + size) for at in starts.values()))
        rows = dict(zip(starts, data, strict=True))
        raw = b"".join(rows[i] for i in ids)
        kind, view = self.info.type, self.weight.parts[0].view
        if not kind.is_split:
            device.write(view.buffer, 0, _padded(raw))
            return
        bodies, scales = split_planes(kind, raw)
        device.write(view.buffer, 0, bodies)
        n_blocks = self.weight.n_blocks(self.weight.parts[0])
        device.write(view.buffer, n_blocks * kind.body_bytes, _padded(scales))


def split_planes(kind: GGMLType, raw: bytes) -> tuple[bytes, bytes]:
    """Split blocks as shaders/repack.wgsl does: the bodies of all, and their scales."""
    step, begin = kind.block_bytes, kind.scale_offset
    end = begin + kind.scale_bytes
    starts = range(0, len(raw), step)
    bodies = (raw[at : at + begin] + raw[at + end : at + step] for at in starts)
    return b"".join(bodies), b"".join(raw[at + begin : at + end] for at in starts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
