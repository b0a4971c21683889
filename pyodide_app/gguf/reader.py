"""The GGUF reader: metadata and tensor table of a file or of all shards of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from pyodide_app.errors import FileFormatError, RequestError, UnsupportedFormatError
from pyodide_app.gguf.header import (
    DAMAGED,
    INCOMPLETE,
    MAX_KEY_BYTES,
    MAX_KEYS,
    SMALLEST_KEY_VALUE,
    UINT32,
    HeaderReader,
)
from pyodide_app.gguf.metadata import Metadata, Value
from pyodide_app.gguf.signature import MAGIC, describe_signature
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gguf.strings import quote
from pyodide_app.gguf.types import TYPES, GGMLType, type_of

SMALLEST_FILE = 4 + 4 + 8 + 8  # magic, version, tensor count, key count
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 63
MAX_DIMS = 4
MAX_ELEMENTS = 1 << 40
SMALLEST_TENSOR_INFO = 8 + 0 + 4 + 8 + 4 + 8  # name, n_dims, one dim, type, offset


@dataclass(frozen=True, slots=True)
class FileTensor:
    """One tensor of the table: what it is and where its bytes lie."""

    name: str
    dims: tuple[int, ...]  # ggml's order: dims[0] is the contiguous one
    type: GGMLType
    source: ByteSource
    offset: int  # bytes from the start of `source`
    size: int  # bytes; 0 where the type's are not known
    scale: FileTensor | None = None  # a companion that multiplies this one's products

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the dimensions slowest first, as NumPy and PyTorch have them."""
        return self.dims[::-1]

    @property
    def n_elements(self) -> int:
        """Return the number of elements."""
        return prod(self.dims)

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row of dims[0] elements."""
        return self.dims[0] // self.type.block_size * self.type.block_bytes

    def check_type(self) -> None:
        """Raise UnsupportedFormatError when no kernel reads this type."""
        if self.type.is_supported:
            return
        raise UnsupportedFormatError(
            f"{self.source.name}, tensor {quote(self.name)}",
            found=f"ggml type {self.type.id} ({self.type.name})",
            expected=f"one of {', '.join(sorted(t.name for t in TYPES))}",
            remedy="Choose a file quantised in another way, such as Q4_K_M or Q8_0.",
        )


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """A GGUF, or all shards of one, without the tensors' data."""

    version: int
    alignment: int
    metadata: Metadata
    tensors: dict[str, FileTensor]
    n_bytes: int  # of all files together

    @property
    def architecture(self) -> str:
        """Return `general.architecture`."""
        return self.metadata.get_str("general.architecture")

    @property
    def n_parameters(self) -> int:
        """Return the number of elements of all tensors."""
        return sum(info.n_elements for info in self.tensors.values())


async def read_gguf(sources: Sequence[ByteSource]) -> GGUFFile:
    """Read one GGUF, or all shards of a split one in any order.

    Only headers are read, and of the tensors' data no more than the last read of a
    header runs over.

    Tensors may have types that no kernel reads: whoever needs one checks it.

    Raises: UnsupportedFormatError when a file is something else, FileFormatError when
    it is damaged or shards are missing, SourceError when it cannot be read.
    """
    if not sources:
        raise RequestError("no file was chosen", remedy="Choose a .gguf file.")
    files = [await _read_file(source) for source in sources]
    file = _merge_shards(files, sources)
    if not file.architecture:
        raise FileFormatError(
            f"{file.metadata.name}, metadata key general.architecture",
            found="an empty text",
            expected="the name of a model family",
            remedy=DAMAGED,
        )
    return file


async def _read_file(source: ByteSource) -> GGUFFile:
    reader = HeaderReader(source)
    version = await _read_version(reader)
    n_tensors = await reader.count(
        "the number of tensors", SMALLEST_TENSOR_INFO, MAX_TENSORS
    )
    n_keys = await reader.count("the number of keys", SMALLEST_KEY_VALUE, MAX_KEYS)
    metadata = await _read_metadata(reader, n_keys)
    alignment = _alignment(reader, metadata)
    raw = [await _read_tensor_info(reader, i, n_tensors) for i in range(n_tensors)]
    data_start = -(-reader.offset // alignment) * alignment
    tensors: dict[str, FileTensor] = {}
    for info in raw:
        if info.name in tensors:
            found = f"{quote(info.name)} twice"
            raise reader.error("the tensor table", found, "each name once")
        tensors[info.name] = _place(info, source, data_start, alignment)
    _check_overlap(source, tensors)
    return GGUFFile(version, alignment, metadata, tensors, source.size)


async def _read_version(reader: HeaderReader) -> int:
    """Read magic and version, and say what the file is when it is no GGUF."""
    start = await reader.peek_some()
    if not start:
        raise FileFormatError(
            f"{reader.source.name} is empty",
            found="0 bytes",
            expected="a GGUF",
            remedy=INCOMPLETE,
        )
    if start[:4] != MAGIC[: len(start)]:
        signature = describe_signature(start, reader.source.size)
        raise reader.unsupported(signature.found, "a GGUF file", signature.remedy)
    await reader.peek(SMALLEST_FILE, "the first 24 bytes")
    await reader.u32("the magic")
    version = await reader.u32("the version")
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0 and version:
        raise reader.unsupported(
            "a big-endian GGUF",
            "a little-endian one",
            "Choose a little-endian file; nearly all published ones are.",
        )
    remedy = "Convert the model again with current tools."
    if version > 3:
        remedy = "It is newer than this program: look for an update of either."
    raise reader.unsupported(f"GGUF version {version}", "version 2 or 3", remedy)


async def _read_metadata(reader: HeaderReader, n_keys: int) -> Metadata:
    values: dict[str, Value] = {}
    for i in range(n_keys):
        key = await reader.name(f"key {i + 1} of {n_keys}", MAX_KEY_BYTES)
        if key in values:
            raise reader.error(f"key {i + 1}", f"{quote(key)} again", "each key once")
        if key == "general.alignment":
            await _check_alignment_type(reader)
        values[key] = await reader.value(key)
    return Metadata(values, reader.source.name)


async def _check_alignment_type(reader: HeaderReader) -> None:
    """Hold the one key that the layout itself depends on to its exact type."""
    field = "the type of 'general.alignment'"
    type_id = int.from_bytes(await reader.peek(4, field), "little")
    if type_id != UINT32:
        raise reader.error(field, str(type_id), f"{UINT32} (uint32)")


def _alignment(reader: HeaderReader, metadata: Metadata) -> int:
    alignment = metadata.get_int("general.alignment", DEFAULT_ALIGNMENT)
    is_power = alignment > 0 and alignment & (alignment - 1) == 0
    if not is_power or not 8 <= alignment <= MAX_ALIGNMENT:
        expected = f"a power of two from 8 to {MAX_ALIGNMENT}"
        raise reader.error("general.alignment", str(alignment), expected)
    return alignment


@dataclass(frozen=True, slots=True)
class _RawInfo:
    name: str
    dims: tuple[int, ...]
    type_id: int
    offset: int  # from the start of the data section


async def _read_tensor_info(reader: HeaderReader, i: int, n: int) -> _RawInfo:
    name = await reader.name(f"the name of tensor {i + 1} of {n}", MAX_NAME_BYTES)
    shown = quote(name)
    n_dims = await reader.u32(f"the number of dimensions of {shown}")
    if n_dims > MAX_DIMS:
        field = f"the number of dimensions of {shown}"
        raise reader.error(field, str(n_dims), f"at most {MAX_DIMS}")
    layout, n_bytes = f"<{n_dims}QIQ", 8 * n_dims + 4 + 8
    field = f"dimensions, type and offset of {shown}"
    *dims, type_id, offset = await reader.unpack(layout, n_bytes, field)
    dims = dims or [1]  # some writers give a scalar no dimension
    if min(dims) < 1 or prod(dims) > MAX_ELEMENTS:
        expected = f"each at least 1, their product at most {MAX_ELEMENTS}"
        raise reader.error(f"the dimensions of {shown}", str(dims), expected)
    return _RawInfo(name, tuple(dims), type_id, offset)


def _place(
    info: _RawInfo, source: ByteSource, data_start: int, alignment: int
) -> FileTensor:
    """Check type, size and place of a tensor, and give it its absolute offset."""
    what = f"{source.name}, tensor {quote(info.name)}"
    ggml_type = type_of(info.type_id)
    if info.dims[0] % ggml_type.block_size:
        raise FileFormatError(
            f"{what} of type {ggml_type.name}",
            found=f"rows of {info.dims[0]} elements",
            expected=f"a multiple of {ggml_type.block_size}",
            remedy=DAMAGED,
        )
    if info.offset % alignment:
        raise FileFormatError(
            what,
            found=f"offset {info.offset}",
            expected=f"a multiple of {alignment}",
            remedy=DAMAGED,
        )
    size = prod(info.dims) // ggml_type.block_size * ggml_type.block_bytes
    begin = data_start + info.offset
    if begin + size > source.size:
        raise FileFormatError(
            f"{what} lies at bytes {begin} to {begin + size}",
            found=f"a file of {source.size} bytes",
            expected=f"at least {begin + size}",
            remedy=INCOMPLETE,
        )
    return FileTensor(info.name, info.dims, ggml_type, source, begin, size)


def _check_overlap(source: ByteSource, tensors: dict[str, FileTensor]) -> None:
    ordered = sorted(tensors.values(), key=lambda tensor: tensor.offset)
    for left, right in pairwise(ordered):
        if left.offset + left.size > right.offset:
            raise FileFormatError(
                f"{source.name}, tensors {quote(left.name)} and {quote(right.name)}",
                found=f"both at offset {right.offset}",
                expected="each in bytes of its own",
                remedy=DAMAGED,
            )


def _merge_shards(files: list[GGUFFile], sources: Sequence[ByteSource]) -> GGUFFile:
    """Put the shards of a split file together; a file that is not split is kept."""
    counts = [_split_count(file) for file in files]
    if len(files) == 1 and counts[0] == 1:
        return files[0]
    if 1 in counts:
        raise RequestError(
            "several files were chosen that are not the parts of one model",
            found=", ".join(sorted(source.name for source in sources)),
            expected="one GGUF, or all parts of a split one",
            remedy="Choose one model.",
        )
    files = _in_order(files, counts)
    tensors: dict[str, FileTensor] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                raise FileFormatError(
                    f"{file.metadata.name}, tensor {quote(name)}",
                    found=f"it in {tensors[name].source.name} as well",
                    expected="each tensor in one part",
                    remedy=DAMAGED,
                )
            tensors[name] = tensor
    first = files[0]
    total = first.metadata.get_int("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise FileFormatError(
            f"{first.metadata.name} and its other parts",
            found=f"{len(tensors)} tensors",
            expected=f"{total}",
            remedy=DAMAGED,
        )
    n_bytes = sum(file.n_bytes for file in files)
    return GGUFFile(first.version, first.alignment, first.metadata, tensors, n_bytes)


def _split_count(file: GGUFFile) -> int:
    return max(1, file.metadata.get_int("split.count", 1, minimum=0, maximum=65_535))


def _in_order(files: list[GGUFFile], counts: list[int]) -> list[GGUFFile]:
    """Sort shards by their number and check that they are all there, once each."""
    count = counts[0]
    parts: dict[int, GGUFFile] = {}
    for file, its_count in zip(files, counts, strict=True):
        no = file.metadata.get_int("split.no", minimum=0, maximum=its_count - 1)
        if its_count != count or no in parts:
            raise FileFormatError(
                f"{file.metadata.name} does not fit the other parts",
                found=f"part {no + 1} of {its_count}",
                expected=f"one more part of {count}",
                remedy="Choose all parts of one model, each once.",
            )
        parts[no] = file
    if len(parts) < count:
        missing = [no + 1 for no in range(count) if no not in parts]
        more = "" if len(missing) <= 8 else " …"
        raise FileFormatError(
            f"{files[0].metadata.name} is one part of a model that is split in {count}",
            found=f"{len(parts)} of them",
            expected=f"also {', '.join(map(str, missing[:8]))}{more}",
            remedy="Choose all parts together (…-00001-of-… and so on).",
        )
    return [parts[no] for no in range(count)]
