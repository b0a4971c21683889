"""Where tensors are placed: matrices apart, vectors together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pyodide_app.gguf.floats import widen
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Limits
from pyodide_app.load import weights

LIMITS = Limits(1 << 27, 1 << 28, 16384, 256, 8, 65535)


def infos(**dims: tuple[int, ...]) -> dict[str, FileTensor]:
    """Describe F32 tensors, under names that are not always their own."""
    found = {}
    for name, shape in dims.items():
        n = 4
        for length in shape:
            n *= length
        found[name] = FileTensor(f"own.{name}", shape, BY_NAME["F32"], _NOWHERE, 0, n)
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


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_vectors_of_16_bits_become_floats(kind: str) -> None:
    info = FileTensor("v", (70,), BY_NAME[kind], _NOWHERE, 0, 140)
    placed = weights.place(info, LIMITS)
    assert placed.type.name == "F32" and placed.parts[0].view.size == 288
    matrix = dataclasses.replace(info, dims=(70, 1))
    assert weights.place(matrix, LIMITS).type.name == kind


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_every_number_of_16_bits_is_widened_exactly(kind: str) -> None:
    halves = np.arange(65536, dtype="<u2")
    expected = (halves.astype("<u4") << 16).view("<f4")
    if kind == "F16":
        expected = halves.view("<f2").astype("<f4")
    got = np.frombuffer(widen(BY_NAME[kind], halves.tobytes()), "<f4")
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("kind", "n_experts", "tail"),
    [("IQ2_XXS", 1, 512), ("IQ1_M", 1, 4096), ("NVFP4", 1, 16), ("NVFP4", 64, 0)],
)
def test_what_stands_behind_blocks_is_in_every_part(
    kind: str, n_experts: int, tail: int
) -> None:
    type_, unit = BY_NAME[kind], 256 * 4
    n = 64  # rows of four blocks, or experts
    dims = (256, 4, n) if n_experts > 1 else (unit, n)
    n_bytes = unit * n // type_.block_size * type_.block_bytes
    scale = FileTensor("s", (n_experts,), BY_NAME["F32"], _NOWHERE, 0, 4 * n_experts)
    info = FileTensor("w", dims, type_, _NOWHERE, 0, n_bytes, scale=scale)
    most = n_bytes // 2 + 8192
    small = dataclasses.replace(LIMITS, max_binding_bytes=most)
    for part in (placed := weights.place(info, small)).parts:
        blocks = part.count * n_bytes // n
        n_scales = 4 * (part.count + 1) if n_experts > 1 else tail
        assert blocks + n_scales <= part.view.size <= most
        assert part.view.size - blocks < n_scales + 32
        assert placed.n_blocks(part) * type_.block_bytes == blocks
    assert sum(part.count for part in placed.parts) == n


@pytest.mark.parametrize("rest", [0, 4, 8, 12])
def test_no_part_with_its_whole_loads_is_more_than_a_binding(rest: int) -> None:
    # 17 rows of 34 bytes are 578; rounded up to loads of 16 bytes, 592.
    small = dataclasses.replace(LIMITS, max_binding_bytes=576 + rest)
    info = FileTensor("w", (32, 90), BY_NAME["Q8_0"], _NOWHERE, 0, 90 * 34)
    parts = weights.place(info, small).parts
    assert sum(part.count for part in parts) == 90
    assert [part.begin for part in parts] == [0, 16, 32, 48, 64, 80]
    for part in parts:
        assert part.view.size == part.view.buffer.size <= 576 + rest
        assert part.view.size % 16 == 0 and part.view.size >= part.count * 34
