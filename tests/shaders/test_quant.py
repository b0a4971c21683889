"""The formats of shaders/quant: every decoded value equals the oracle's to the bit.

No rounding is left to differ: f16 scale times packed scale times quant fits the 24 bits
of a float32 in every format, so that a format rounds at most once, where it subtracts
or adds its minimum, and a fused multiply-add rounds there likewise.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pytest

from oracle import quant
from pyodide_app.gguf.types import BY_NAME
from tests.shaders import matrices
from tests.shaders.matrices import Array, bench, matrix
from tests.support import golden_data

U8 = npt.NDArray[np.uint8]
SCALED = tuple(name for name in matrices.FORMATS if quant.FORMATS[name].d is not None)
SPREAD = ("IQ1_M",)  # whose scale lies in four places
# Which a device may flush to zero when they meet an operation.
SUBNORMAL = float(np.finfo(np.float32).smallest_normal)


@functools.cache
def golden_blocks() -> dict[str, tuple[U8, Array]]:
    """Return the golden blocks of each type: quantised gaussians, random bytes."""
    arrays = golden_data.load_npz(golden_data.require("dequant/dequant.npz"))
    found = {}
    for name in arrays:
        if name.endswith("_raw"):
            stem = name.removesuffix("_raw")
            found[stem] = (arrays[name].reshape(-1), arrays[f"{stem}_c"].reshape(-1))
    return found


def decoded(type_name: str, raw: bytes, n_columns: int) -> Array:
    """Decode on the GPU, by one lookup of each row."""
    kind = BY_NAME[type_name]
    n_rows = len(raw) // kind.block_bytes * kind.block_size // n_columns
    rows = np.arange(n_rows, dtype=np.uint32)
    with bench() as on:
        weight = on.weight(type_name, (n_columns, n_rows), raw)
        (y,) = on.run(lambda ops: ops.embed(on.tensor(rows), weight, 1.0))
    return y.reshape(-1)


def check(type_name: str, raw: bytes, n_columns: int = 0) -> None:
    """Compare all values with the oracle's."""
    kind = BY_NAME[type_name]
    n = len(raw) // kind.block_bytes * kind.block_size
    expected = quant.dequantise(type_name, np.frombuffer(raw, np.uint8), n)
    same(decoded(type_name, raw, n_columns or kind.block_size), expected)


def same(got: Array, expected: Array) -> None:
    """Assert equality; the sign of zero may differ, which no sum sees."""
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", sorted(golden_blocks()))
def test_decodes_golden_blocks(name: str) -> None:
    raw, expected = golden_blocks()[name]
    type_name = name[:-2]
    n_columns = 256 if type_name in matrices.FLOATS else BY_NAME[type_name].block_size
    same(decoded(type_name, raw.tobytes(), n_columns), expected)


@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_decodes_random_blocks(type_name: str) -> None:
    n_columns = 256 if type_name in matrices.FLOATS else BY_NAME[type_name].block_size
    check(type_name, matrix(type_name, 61, n_columns).raw, n_columns)


@pytest.mark.parametrize("type_name", SCALED + SPREAD)
def test_keeps_subnormal_and_extreme_scales(type_name: str) -> None:
    form = quant.FORMATS[type_name]
    patterns = [0, 0x8000, 1, 0x8001, 2, 0x155, 0x3FF, 0x83FF, 0x400, 0x7BFF, 0xFBFF]
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (len(patterns), form.block_bytes), np.uint8)
    for offset, halves in ((form.d, patterns), (form.m, patterns[::-1])):
        if offset is not None:
            scales = np.array(halves, "<u2").view(np.uint8).reshape(-1, 2)
            blocks[:, offset : offset + 2] = scales
    if type_name in SPREAD:
        halves = np.array(patterns, "<u2").view(np.uint8).reshape(-1, 2)
        quant.spread_nibbles(blocks[:, 48:], halves)
    check(type_name, blocks.tobytes())


def test_decodes_every_finite_half() -> None:
    halves = np.arange(65536, dtype="<u2")
    halves = halves[np.isfinite(halves.view("<f2"))]
    check("F16", halves.tobytes(), 1024)


def test_decodes_every_finite_brain_float() -> None:
    values = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)
    normal = np.isfinite(values) & ((values == 0) | (np.abs(values) >= SUBNORMAL))
    raw = (values[normal].view(np.uint32) >> 16).astype("<u2")
    check("BF16", raw.tobytes(), raw.size // 41)  # which divides it


def test_decodes_every_exponent_of_mxfp4() -> None:
    # From e = 2 the scale is normal; from e = 253 its products with 8 or 12 overflow.
    exponents = np.arange(2, 253, dtype=np.uint8)
    rng = np.random.default_rng(11)
    blocks = rng.integers(0, 256, (exponents.size, 17), np.uint8)
    blocks[:, 0] = exponents
    check("MXFP4", blocks.tobytes())


def test_decodes_every_scale_of_nvfp4() -> None:
    rng = np.random.default_rng(12)
    blocks = rng.integers(0, 256, (64, 36), np.uint8)
    blocks[:, :4] = np.arange(256).reshape(64, 4)
    check("NVFP4", blocks.tobytes())


def test_subnormal_scales_of_mxfp4_are_kept_or_flushed() -> None:
    blocks = np.tile(np.arange(17, dtype=np.uint8), (2, 1))
    blocks[:, 0] = (0, 1)
    raw = blocks.tobytes()
    got = decoded("MXFP4", raw, 32)
    expected = quant.dequantise("MXFP4", np.frombuffer(raw, np.uint8), 64)
    assert ((got == expected) | (got == 0)).all()


@pytest.mark.parametrize("type_name", matrices.FORMATS)
def test_groups_of_four_are_the_single_values(type_name: str) -> None:
    # Against unit vectors a product is one weight, whatever the order of the sum.
    # Rows of 33 begin on every byte of a word that a float type allows.
    dim = 33 if type_name in matrices.FLOATS else BY_NAME[type_name].block_size
    weights = matrix(type_name, 5, dim)
    unit = np.eye(dim, dtype=np.float32)
    with bench() as on:
        placed = weights.place(on)
        (y,) = on.run(lambda ops: ops.matmul(on.tensor(unit), placed))
    np.testing.assert_array_equal(y.T, weights.values)
