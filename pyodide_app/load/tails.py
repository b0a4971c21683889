"""What stands behind a tensor's blocks on the GPU: a code book, or scales of matrices.

Kernels find it from the end of the binding, so that it costs no binding of its own, and
no table in the shader's text, which compilers of software adapters are slow at and some
GPUs keep in the memory of every thread.
"""

from __future__ import annotations

from array import array
from math import prod

from pyodide_app.gguf.floats import widen
from pyodide_app.gguf.grids import grid, grid_bytes
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.graph.tensors import Part, Weight

_STEP = 16  # bytes of a load of the kernels that multiply by rows


def tail_bytes(info: FileTensor, n_units: int) -> int:
    """Return the size for a part of so many rows, or experts: a multiple of 16."""
    if info.type.has_scales:
        return -(-4 * (_n_scales(info, n_units) + 1) // _STEP) * _STEP
    return grid_bytes(info.type.grid) if info.type.grid else 0


async def read_tail(weight: Weight, info: FileTensor, part: Part) -> bytes:
    """Return the bytes: a code book, or scales and how many blocks each is for.

    Scales go backwards, so that the k-th is found from the end.
    """
    if not weight.type.has_scales:
        return grid(weight.type.grid) if weight.type.grid else b""
    scales = await _read_scales(info)
    if len(scales) > 1:
        scales = scales[part.begin : part.begin + part.count]
    n_blocks = weight.n_blocks(part) // len(scales)
    data = scales[::-1].tobytes() + array("I", [n_blocks]).tobytes()
    return data.rjust(tail_bytes(info, part.count), b"\0")


def _n_scales(info: FileTensor, n_units: int) -> int:
    return n_units if info.scale and prod(info.scale.dims) > 1 else 1


async def _read_scales(info: FileTensor) -> array[float]:
    if info.scale is None:
        return array("f", [1.0])
    begin, end = info.scale.offset, info.scale.offset + info.scale.size
    raw = await info.scale.source.read(begin, end)
    return array("f", widen(info.scale.type, raw))
