"""What a file's header says of a model: its sizes, and the tensors of a pass."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyodide_app import errors
from pyodide_app.gguf.floats import FLOATS, widen
from pyodide_app.gguf.reader import FileTensor, GGUFFile, read_gguf
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.graph import rope
from pyodide_app.models import find_family
from pyodide_app.models.config import Config, Reader, RopeSpec
from pyodide_app.models.family import Family, select_tensors
from pyodide_app.text.tokenizer.vocabulary import check_rows


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A file's model: what it is, how large, and which tensors a pass reads."""

    file: GGUFFile
    family: Family
    config: Config
    chosen: dict[str, FileTensor]  # by the name that the family knows

    @property
    def host_table(self) -> FileTensor | None:
        """Return the table that may stay in the file, if there is one."""
        return self.chosen.get(self.family.host_table)

    @property
    def n_pairs(self) -> list[int]:
        """Return how many pairs of a head turn, of each kind."""
        return [spec.n_pairs for spec in self.config.ropes]

    def on_device(self, *, host_table: bool) -> dict[str, FileTensor]:
        """Return the tensors that go to the device, where the table stays or not."""
        left = self.family.host_table if host_table else None
        return {name: info for name, info in self.chosen.items() if name != left}


async def read_header(sources: Sequence[ByteSource]) -> Header:
    """Read the header of a file in any number of parts, and choose the tensors.

    Raises FileFormatError, ShapeError, UnsupportedFormatError and
    UnsupportedArchitectureError, naming what is at fault.
    """
    file = await read_gguf(sources)
    family = find_family(file.architecture)
    config = family.read(Reader(file.metadata, file.tensors))
    check_rows(file.metadata, config.n_vocab)
    return Header(file, family, config, select_tensors(family, config, file.tensors))


async def with_factors(header: Header) -> Header:
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
