"""Where tensors are placed: matrices apart, vectors together."""

from __future__ import annotations

import dataclasses

import pytest

from pyodide_app.gguf.reader import TensorInfo
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Limits
from pyodide_app.load import weights

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
    assert [view.size for view in (a, b, c)] == [288, 16, 256]  # whole loads
    assert a.buffer.size == 1024
    assert (m.offset, m.size, m.buffer.size) == (0, 512, 512)
    assert placed["b"].name == "own.b"


def test_a_binding_bounds_how_many_lie_together() -> None:
    small = dataclasses.replace(LIMITS, max_binding_bytes=1024)
    vectors = infos(**{f"v{i}": (100,) for i in range(5)})
    placed = weights.place_all(vectors, small)
    buffers = [weight.parts[0].view.buffer for weight in placed.values()]
    assert [buffer.size for buffer in dict.fromkeys(buffers)] == [1024, 1024, 512]


def test_the_vectors_of_a_layer_lie_together_wherever_a_binding_ends() -> None:
    small = dataclasses.replace(LIMITS, max_binding_bytes=1024)
    names = [f"blk.{layer}.{name}" for name in "abc" for layer in (0, 1, 10)]
    placed = weights.place_all(infos(**dict.fromkeys(names, (60,))), small)
    buffers = {name: placed[name].parts[0].view.buffer for name in names}
    for layer in (0, 1, 10):
        assert len({buffers[f"blk.{layer}.{name}"] for name in "abc"}) == 1
    assert len(set(buffers.values())) > 1
    assert max(buffer.size for buffer in buffers.values()) <= 1024


@pytest.mark.parametrize("rest", [0, 4, 8, 12])
def test_no_part_with_its_whole_loads_is_more_than_a_binding(rest: int) -> None:
    # 17 rows of 34 bytes are 578; rounded up to loads of 16 bytes, 592.
    small = dataclasses.replace(LIMITS, max_binding_bytes=576 + rest)
    info = TensorInfo("w", (32, 90), BY_NAME["Q8_0"], _NOWHERE, 0, 90 * 34)
    parts = weights.place(info, small).parts
    assert sum(part.count for part in parts) == 90
    assert [part.begin for part in parts] == [0, 16, 32, 48, 64, 80]
    for part in parts:
        assert part.view.size == part.view.buffer.size <= 576 + rest
        assert part.view.size % 16 == 0 and part.view.size >= part.count * 34
