"""Dequantisation against worked blocks, ggml's own values, and the gguf package."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from oracle import grids
from oracle.quant import FORMATS, FORMATS_BY_ID, dequantise, random_blocks
from pyodide_app.gguf import grids as driver_grids
from pyodide_app.gguf.types import TYPES
from tests.support.golden_data import GOLDEN_COMMITTED, load_npz

GOLDEN = load_npz(GOLDEN_COMMITTED / "dequant" / "dequant.npz")
GOLDEN_CASES = sorted(name[:-4] for name in GOLDEN if name.endswith("_raw"))

# Block bytes (37 k + 11) & 255 with d = 0.25 and m = 0.125: value at some elements, and
# the sum over the block, by an implementation that shares nothing with this one.
VECTORS = {
    "Q4_0": ("0:-0.75 1:0.5 15:-2 16:-0.75 17:-0.25 31:0", -5.25),
    "Q4_1": ("0:3.875 1:1.125 15:2.625 16:2.375 17:3.125 31:3.125", 65.25),
    "Q5_0": ("0:2.25 1:-0.5 15:-3 16:3.5 17:0 31:0.25", 3.75),
    "Q5_1": ("0:4.875 1:6.125 15:7.625 16:4.875 17:1.375 31:1.375", 130.25),
    "Q8_0": ("0:21.25 1:30.5 15:-32 16:-22.75 17:-13.5 31:-12", -44),
    "IQ4_NL": ("0:-8.75 1:6.25 15:-31.75 16:-8.75 17:-2.5 31:0.25", -64.25),
    "MXFP4": ("0:0 1:3 15:-1.5 16:1.5 17:3 31:3", 12.5),
    "NVFP4": (
        "0:-6 1:2 15:-1 16:12 17:-4 31:-4 32:-2.25 47:-2.25 63:0.28125",
        0.71875,
    ),
    "Q4_K": (
        "0:78.875 1:-6.375 15:40.125 16:78.875 17:-6.375 31:40.125 32:2 63:10 "
        "64:105.125 127:20.25 128:105.75 200:34.625 255:12.125",
        13610,
    ),
    "Q5_K": (
        "0:202.875 1:-6.375 15:40.125 16:202.875 17:-6.375 31:40.125 32:28 63:20 "
        "64:105.125 127:-0.75 128:261.75 200:34.625 255:27.125",
        29054,
    ),
    "Q6_K": (
        "0:-357.75 1:424 15:-79.5 16:-108 17:128 31:-24 32:57.75 63:-145 64:-760 "
        "127:375 128:-87.75 200:272.25 255:-15",
        1153,
    ),
    "Q2_K": (
        "0:8.25 1:0 15:5.5 16:-0.375 17:-0.375 31:-0.375 32:1.875 63:1.625 64:2.625 "
        "127:10.5 128:1.875 200:2 255:1.125",
        514.75,
    ),
    "Q3_K": (
        "0:20.25 1:-27 15:-13.5 16:-24 17:32 31:16 32:-5.5 63:2.5 64:8.5 127:18 "
        "128:0.5 200:6.25 255:10.5",
        239.5,
    ),
    "IQ4_XS": (
        "0:16.25 1:-0.25 15:-22.25 16:16.25 17:8.75 31:8.75 32:113.75 63:-43.75 "
        "64:195 127:49 128:-146.25 200:285 255:-4",
        -2751.25,
    ),
}
QUANTISED = sorted(VECTORS)


def vector_block(name: str) -> np.ndarray:
    """Make the block that the vectors are for."""
    form = FORMATS[name]
    block = ((37 * np.arange(form.block_bytes) + 11) & 255).astype(np.uint8)
    for offset, bits in ((form.d, 0x3400), (form.m, 0x3000)):
        if offset is not None:
            block[offset : offset + 2] = bits & 255, bits >> 8
    if name == "MXFP4":
        block[0] = 127
    if name == "NVFP4":
        block[:4] = 0x38, 0x40, 0x2C, 0x31
    return block


@pytest.mark.parametrize("name", QUANTISED)
def test_equals_the_worked_block(name: str) -> None:
    listed, total = VECTORS[name]
    values = dequantise(name, vector_block(name), FORMATS[name].block_size)
    expected = dict(pair.split(":") for pair in listed.split())
    assert {i: float(values[int(i)]) for i in expected} == {
        i: float(v) for i, v in expected.items()
    }
    assert float(values.astype(np.float64).sum()) == total


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_equals_ggml_bit_for_bit(case: str) -> None:
    expected = GOLDEN[f"{case}_c"].reshape(-1)
    name = case.rsplit("_", 1)[0]
    values = dequantise(name, GOLDEN[f"{case}_raw"].reshape(-1), expected.size)
    np.testing.assert_array_equal(values.view(np.uint32), expected.view(np.uint32))


def test_golden_blocks_cover_every_quantised_format() -> None:
    later = {"NVFP4"}  # than the golden blocks
    assert {case.rsplit("_", 1)[0] for case in GOLDEN_CASES} >= set(QUANTISED) - later


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_equals_the_gguf_package_on_random_blocks(name: str) -> None:
    form = FORMATS[name]
    rng = np.random.default_rng(form.id)
    n = 1024  # of 2048 codes in a grid, all are met: 16 times each
    raw = np.frombuffer(random_blocks(name, n, rng), np.uint8)
    values = dequantise(name, raw, n * form.block_size)
    kind = gguf.GGMLQuantizationType[name]
    # The package takes unquantised types as arrays of their own type.
    source = raw.view({"F32": "<f4", "F16": "<f2"}.get(name, "u1"))
    expected = gguf.quants.dequantize(source, kind).astype(np.float32).reshape(-1)
    np.testing.assert_array_equal(values.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_random_blocks_are_finite_and_of_magnitude_one(name: str) -> None:
    rng = np.random.default_rng(1)
    form = FORMATS[name]
    raw = np.frombuffer(random_blocks(name, 2048, rng), np.uint8)
    values = dequantise(name, raw, 2048 * form.block_size)
    assert np.isfinite(values).all()
    assert 0.6 < np.abs(values).mean() < 1.1
    assert np.abs(values).max() < 8
    assert values.min() < -1 and values.max() > 1


@pytest.mark.parametrize(
    ("exponent", "scale"),
    [(0, 2.0**-128), (1, 2.0**-127), (2, 2.0**-126), (254, 2.0**126)],
)
def test_extreme_mxfp4_exponents(exponent: int, scale: float) -> None:
    block = np.full(17, 0x21, np.uint8)  # code 1 is the scale itself, code 2 twice it
    block[0] = exponent
    values = dequantise("MXFP4", block, 32).astype(np.float64)
    assert values[0] == scale and values[16] == 2 * scale


def test_every_scale_of_nvfp4() -> None:
    blocks = np.full((64, 36), 0xF2, np.uint8)
    blocks[:, :4] = np.arange(256).reshape(64, 4)
    expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.NVFP4)
    np.testing.assert_array_equal(
        dequantise("NVFP4", blocks.reshape(-1), 4096), expected.reshape(-1)
    )


@pytest.mark.parametrize("name", sorted(driver_grids.ENTRIES))
def test_grids_are_those_of_the_driver(name: str) -> None:
    levels = getattr(grids, name)
    width = 16 // levels.shape[1]
    entries = (levels.astype(np.uint16) << width * np.arange(levels.shape[1])).sum(1)
    assert driver_grids.grid(name) == entries.astype("<u2").tobytes()
    assert driver_grids.grid_bytes(name) == 2 * len(levels)


def test_the_largest_mxfp4_exponent_is_a_number() -> None:
    block = np.full(17, 0x11, np.uint8)
    block[0] = 255
    assert (dequantise("MXFP4", block, 32) == 2.0**127).all()


def test_formats_are_those_of_the_driver() -> None:
    ours = {(f.id, f.name, f.block_size, f.block_bytes) for f in FORMATS.values()}
    assert ours == {(t.id, t.name, t.block_size, t.block_bytes) for t in TYPES}
    assert set(FORMATS_BY_ID) == {t.id for t in TYPES}


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    for form in FORMATS.values():
        kind = gguf.GGMLQuantizationType[form.name]
        assert kind.value == form.id
        assert gguf.GGML_QUANT_SIZES[kind] == (form.block_size, form.block_bytes)


def test_sizes_that_disagree_are_refused() -> None:
    raw = np.zeros(36, np.uint8)
    with pytest.raises(ValueError, match="Q4_0: 32 elements in 36 bytes"):
        dequantise("Q4_0", raw, 32)
    with pytest.raises(ValueError, match="Q4_0: 63 elements in 36 bytes"):
        dequantise("Q4_0", raw, 63)
