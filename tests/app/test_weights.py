"""Where tensors are placed: matrices apart, vectors together."""

from __future__ import annotations

import dataclasses

from pyodide_app import weights
from pyodide_app.gguf.reader import TensorInfo
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Limits

LIMITS = Limits(1 << 27, 1 << 28, 16384, 256, 8, 65535)


def infos(**dims: tuple[int, ...]) -> dict[str, TensorInfo]:
    """Describe F32 tensors, under names that are not always their own."""
    found = {}
    for name, shape in dims.items():
        n = 4
        for length in shape:
            n *= length
        found[name] = TensorInfo(f"own.{name}", shape, BY_NAME["F32"], _NOWHERE, 0, n)
    return found


_NOWHERE = BytesSource(b"")


def test_vectors_lie_behind_one_another_on_bindable_offsets() -> None:
    placed = weights.place_all(infos(a=(70,), m=(64, 2), b=(1,), c=(64,)), LIMITS)
    a, m, b, c = (placed[name].parts[0].view for name in "ambc")
    assert a.buffer is b.buffer is c.buffer is not m.buffer
    assert [view.offset for view in (a, b, c)] == [0, 512, 768]
    assert [view.size for view in (a, b, c)] == [280, 4, 256]
    assert a.buffer.size == 1024
    assert (m.offset, m.size, m.buffer.size) == (0, 512, 512)
    assert placed["b"].name == "own.b"


def test_a_binding_bounds_how_many_lie_together() -> None:
    small = dataclasses.replace(LIMITS, max_binding_bytes=1024)
    vectors = infos(**{f"v{i}": (100,) for i in range(5)})
    placed = weights.place_all(vectors, small)
    buffers = [weight.parts[0].view.buffer for weight in placed.values()]
    assert [buffer.size for buffer in dict.fromkeys(buffers)] == [1024, 1024, 512]
