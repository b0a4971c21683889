"""Dequantisation of the ggml block formats, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oracle import quant_iq
from oracle.fields import (
    F32,
    U8,
    bits,
    crumbs,
    fifth_bits,
    half,
    nibbles,
    scale_groups,
    signed,
)

# 4-bit code books: non-linear steps of IQ4, doubled e2m1 floats of MXFP4.
IQ4_VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    np.float32,
)
FP4_VALUES = np.array(
    [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32
)


def dequantise_f32(blocks: U8) -> F32:
    """Read IEEE singles."""
    return blocks.view("<f4").astype(np.float32)


def dequantise_f16(blocks: U8) -> F32:
    """Read IEEE halves."""
    return blocks.view("<f2").astype(np.float32)


def dequantise_bf16(blocks: U8) -> F32:
    """Read the upper halves of IEEE singles."""
    widened: F32 = (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return widened


def dequantise_q4_0(blocks: U8) -> F32:
    """Decode d * (q - 8)."""
    return half(blocks, 0) * (nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def dequantise_q4_1(blocks: U8) -> F32:
    """Decode d * q + m."""
    return half(blocks, 0) * nibbles(blocks[:, 4:]).astype(np.float32) + half(blocks, 2)


def dequantise_q5_0(blocks: U8) -> F32:
    """Decode d * (q - 16), the fifth bits in a u32."""
    q = nibbles(blocks[:, 6:]) | fifth_bits(blocks, 2)
    return half(blocks, 0) * (q.astype(np.float32) - 16)


def dequantise_q5_1(blocks: U8) -> F32:
    """Decode d * q + m, the fifth bits in a u32."""
    q = nibbles(blocks[:, 8:]) | fifth_bits(blocks, 4)
    return half(blocks, 0) * q.astype(np.float32) + half(blocks, 2)


def dequantise_q8_0(blocks: U8) -> F32:
    """Decode d * q with signed bytes q."""
    return half(blocks, 0) * signed(blocks[:, 2:])


def dequantise_q2_k(blocks: U8) -> F32:
    """Decode d * scale * q - dmin * min, 16 groups of 16 with 4-bit scale and min."""
    q = crumbs(blocks[:, 16:80].reshape(-1, 2, 32)).reshape(-1, 256)
    low = (blocks[:, :16] & 15).astype(np.float32)
    high = (blocks[:, :16] >> 4).astype(np.float32)
    scaled = scale_groups(half(blocks, 80) * low, q.astype(np.float32))
    return scaled - np.repeat(half(blocks, 82) * high, 16, axis=1)


def dequantise_q3_k(blocks: U8) -> F32:
    """Decode d * (scale - 32) * (q - 4), q with its third bit in a mask."""
    q = crumbs(blocks[:, 32:96].reshape(-1, 2, 32)).reshape(-1, 256)
    q = q | (bits(blocks[:, :32]) << np.uint8(2))
    scale = nibbles(blocks[:, 96:104]) | (crumbs(blocks[:, 104:108]) << 4)
    scaled = half(blocks, 108) * (scale.astype(np.float32) - 32)
    return scale_groups(scaled, q.astype(np.float32) - 4)


def k_scales(blocks: U8) -> tuple[F32, F32]:
    """Unpack the eight 6-bit scales and mins of a Q4_K or Q5_K block.

    Four of each lie in the low six bits of bytes 4..11; the other four have their low
    nibbles in bytes 12..15 and their two top bits above those of the first four.
    """
    head, tail = blocks[:, 4:12], blocks[:, 12:16]
    scale = np.concatenate([head[:, :4] & 63, tail & 15 | head[:, :4] >> 6 << 4], 1)
    minimum = np.concatenate([head[:, 4:] & 63, tail >> 4 | head[:, 4:] >> 6 << 4], 1)
    d, dmin = half(blocks, 0), half(blocks, 2)
    return d * scale.astype(np.float32), dmin * minimum.astype(np.float32)


def dequantise_q4_k(blocks: U8) -> F32:
    """Decode d * scale * q - dmin * min, 8 groups of 32 with 6-bit scale and min."""
    q = nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 256)
    scale, minimum = k_scales(blocks)
    return scale_groups(scale, q.astype(np.float32)) - np.repeat(minimum, 32, axis=1)


def dequantise_q5_k(blocks: U8) -> F32:
    """Decode as Q4_K, with fifth bits in 32 bytes before the nibbles."""
    q = nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 256)
    q = q | (bits(blocks[:, 16:48]) << np.uint8(4))
    scale, minimum = k_scales(blocks)
    return scale_groups(scale, q.astype(np.float32)) - np.repeat(minimum, 32, axis=1)


def dequantise_q6_k(blocks: U8) -> F32:
    """Decode d * scale * (q - 32), 16 groups of 16 with signed 8-bit scales."""
    low = nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 256)
    high = crumbs(blocks[:, 128:192].reshape(-1, 2, 32)).reshape(-1, 256)
    q = (low | (high << 4)).astype(np.float32) - 32
    return scale_groups(half(blocks, 208) * signed(blocks[:, 192:208]), q)


def dequantise_iq4_nl(blocks: U8) -> F32:
    """Decode d * IQ4_VALUES[q]."""
    return half(blocks, 0) * IQ4_VALUES[nibbles(blocks[:, 2:])]


def dequantise_iq4_xs(blocks: U8) -> F32:
    """Decode d * (scale - 32) * IQ4_VALUES[q], 8 groups of 32 with 6-bit scales."""
    # Two nibbles, and two bits, per byte: here element order is within the byte.
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=-1).reshape(-1, 8)
    top = np.stack([(blocks[:, 2:4] >> s) & 3 for s in (0, 2, 4, 6)], axis=-1)
    scale = (low | (top.reshape(-1, 8) << 4)).astype(np.float32) - 32
    q = nibbles(blocks[:, 8:].reshape(-1, 8, 16)).reshape(-1, 256)
    return scale_groups(half(blocks, 0) * scale, IQ4_VALUES[q])


def dequantise_mxfp4(blocks: U8) -> F32:
    """Decode 2^(e - 128) * FP4_VALUES[q] (e = 0 and 1 give subnormal scales)."""
    exponent = blocks[:, :1].astype(np.int32) - 128
    with np.errstate(over="ignore"):  # e = 255, a NaN elsewhere, is 2^127 in ggml
        return np.ldexp(np.float32(1), exponent) * FP4_VALUES[nibbles(blocks[:, 1:])]


def dequantise_nvfp4(blocks: U8) -> F32:
    """Decode scale * FP4_VALUES[q], 4 groups of 16 with e4m3 scales.

    A matrix may have a scale of its own beside it, which is not applied here.
    """
    bits = blocks[:, :4]
    exponent, mantissa = (bits >> 3 & 15).astype(np.int32), (bits & 7) / 8
    normal = np.ldexp(1 + mantissa, exponent - 7)
    scale = np.where(exponent == 0, np.ldexp(mantissa, -6), normal) / 2
    scale = np.where(bits == 127, 0, scale)
    q = nibbles(blocks[:, 4:].reshape(-1, 4, 8)).reshape(-1, 64)
    return scale_groups(scale.astype(np.float32), FP4_VALUES[q])


def dequantise_tq1_0(blocks: U8) -> F32:
    """Decode d * (q - 1), five base-3 digits of a fraction of 256 to a byte."""

    def digits(begin: int, end: int, n: int) -> U8:
        powers = np.array([3**k for k in range(n)], np.uint8)
        rest = blocks[:, None, begin:end] * powers[:, None]  # whole parts fall away
        found: U8 = (rest.astype(np.uint16) * 3 >> 8).astype(np.uint8)
        return found.reshape(len(blocks), -1)

    parts = [digits(0, 32, 5), digits(32, 48, 5), digits(48, 52, 4)]
    return half(blocks, 52) * (np.concatenate(parts, axis=1).astype(np.float32) - 1)


def dequantise_tq2_0(blocks: U8) -> F32:
    """Decode d * (q - 1), two bits an element."""
    q = crumbs(blocks[:, :64].reshape(-1, 2, 32)).reshape(-1, 256)
    return half(blocks, 64) * (q.astype(np.float32) - 1)


@dataclass(frozen=True, slots=True)
class Format:
    """One ggml type: its number in a file, its block, and its decoder.

    `d` and `m` are the byte offsets of the f16 scale and minimum of a block; `d_unit`
    and `m_unit` the values there at which random bytes decode to numbers of mean 0 and
    magnitude 1 (random_blocks).
    """

    id: int
    name: str
    block_size: int  # elements
    block_bytes: int
    decode: Callable[[U8], F32]
    d: int | None = None
    m: int | None = None
    d_unit: float = 1.0
    m_unit: float = 0.0


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(0, "F32", 1, 4, dequantise_f32),
        Format(1, "F16", 1, 2, dequantise_f16),
        Format(2, "Q4_0", 32, 18, dequantise_q4_0, 0, d_unit=1 / 4.6),
        Format(
            3, "Q4_1", 32, 20, dequantise_q4_1, 0, 2, d_unit=1 / 4.6, m_unit=-7.5 / 4.6
        ),
        Format(6, "Q5_0", 32, 22, dequantise_q5_0, 0, d_unit=1 / 9.2),
        Format(
            7, "Q5_1", 32, 24, dequantise_q5_1, 0, 2, d_unit=1 / 9.2, m_unit=-15.5 / 9.2
        ),
        Format(8, "Q8_0", 32, 34, dequantise_q8_0, 0, d_unit=1 / 74),
        Format(
            10, "Q2_K", 256, 84, dequantise_q2_k, 80, 82, d_unit=1 / 15, m_unit=1.5 / 15
        ),
        Format(11, "Q3_K", 256, 110, dequantise_q3_k, 108, d_unit=1 / 43),
        Format(
            12,
            "Q4_K",
            256,
            144,
            dequantise_q4_k,
            0,
            2,
            d_unit=1 / 240,
            m_unit=7.5 / 240,
        ),
        Format(
            13,
            "Q5_K",
            256,
            176,
            dequantise_q5_k,
            0,
            2,
            d_unit=1 / 480,
            m_unit=15.5 / 480,
        ),
        Format(14, "Q6_K", 256, 210, dequantise_q6_k, 208, d_unit=1 / 1360),
        Format(16, "IQ2_XXS", 256, 66, quant_iq.dequantise_iq2_xxs, 0, d_unit=1 / 50),
        Format(17, "IQ2_XS", 256, 74, quant_iq.dequantise_iq2_xs, 0, d_unit=1 / 50),
        Format(18, "IQ3_XXS", 256, 98, quant_iq.dequantise_iq3_xxs, 0, d_unit=1 / 120),
        Format(19, "IQ1_S", 256, 50, quant_iq.dequantise_iq1_s, 0, d_unit=1 / 6),
        Format(20, "IQ4_NL", 32, 18, dequantise_iq4_nl, 0, d_unit=1 / 69),
        Format(21, "IQ3_S", 256, 110, quant_iq.dequantise_iq3_s, 0, d_unit=1 / 120),
        Format(22, "IQ2_S", 256, 82, quant_iq.dequantise_iq2_s, 0, d_unit=1 / 50),
        Format(23, "IQ4_XS", 256, 136, dequantise_iq4_xs, 0, d_unit=1 / 1280),
        Format(29, "IQ1_M", 256, 56, quant_iq.dequantise_iq1_m),
        Format(30, "BF16", 1, 2, dequantise_bf16),
        Format(34, "TQ1_0", 256, 54, dequantise_tq1_0, 52, d_unit=1.25),
        Format(35, "TQ2_0", 256, 66, dequantise_tq2_0, 64, d_unit=1.0),
        Format(39, "MXFP4", 32, 17, dequantise_mxfp4),
        Format(40, "NVFP4", 64, 36, dequantise_nvfp4),
    )
}
FORMATS_BY_ID: dict[int, Format] = {f.id: f for f in FORMATS.values()}


def dequantise(type_name: str, raw: U8, n_elements: int) -> F32:
    """Decode whole blocks, in file order, to n_elements floats.

    Shapes: raw [n_elements / block_size * block_bytes]; result [n_elements].
    Raises: KeyError for an unknown type, ValueError when the sizes disagree.
    """
    form = FORMATS[type_name]
    n_blocks, rest = divmod(n_elements, form.block_size)
    if rest or raw.size != n_blocks * form.block_bytes:
        raise ValueError(
            f"{type_name}: {n_elements} elements in {raw.size} bytes; need whole "
            f"blocks of {form.block_size} elements in {form.block_bytes} bytes"
        )
    blocks = np.ascontiguousarray(raw).reshape(n_blocks, form.block_bytes)
    return form.decode(blocks).reshape(n_elements)


def random_blocks(
    type_name: str, n_blocks: int, rng: np.random.Generator, magnitude: float = 1.0
) -> bytes:
    """Make blocks of random bits whose scales give finite values about a magnitude.

    Every quant bit and every packed 4- or 6-bit scale takes all its values; the f16
    scales vary within a factor of three and in sign. Types whose scales are powers of
    two, or have few bits, come as near to the magnitude as a power of two does.
    """
    form = FORMATS[type_name]
    if form.block_size == 1:
        return _random_floats(type_name, n_blocks, rng, magnitude)
    blocks = rng.integers(0, 256, (n_blocks, form.block_bytes), np.uint8)
    power = round(np.log2(magnitude))
    if type_name == "MXFP4":
        blocks[:, 0] = rng.integers(124, 128, n_blocks) + power
        return blocks.tobytes()
    if type_name == "NVFP4":
        blocks[:, :4] = np.maximum(1, rng.integers(36, 52, (n_blocks, 4)) + 8 * power)
        return blocks.tobytes()
    signs = rng.choice([-1.0, 1.0], n_blocks)
    spread = signs * rng.uniform(0.5, 1.5, n_blocks) * magnitude
    if type_name == "IQ1_M":
        spread_nibbles(blocks[:, 48:], _half_bytes(spread / 6))
        return blocks.tobytes()
    assert form.d is not None
    blocks[:, form.d : form.d + 2] = _half_bytes(spread * form.d_unit)
    if form.m is not None:  # in proportion to d, so that the mean stays near 0
        blocks[:, form.m : form.m + 2] = _half_bytes(spread * form.m_unit)
    return blocks.tobytes()


def spread_nibbles(scales: U8, halves: U8) -> None:
    """Write IQ1_M's d into the top nibbles of four words."""
    nibbles_of = np.stack([halves & 15, halves >> 4], axis=-1).reshape(-1, 4)
    scales[:, 1::2] = scales[:, 1::2] & 15 | nibbles_of << 4


def _half_bytes(values: npt.NDArray[np.float64]) -> U8:
    """Encode as f16; shape [n, 2] bytes."""
    return values.astype("<f2").view(np.uint8).reshape(-1, 2)


def _random_floats(
    type_name: str, n: int, rng: np.random.Generator, magnitude: float
) -> bytes:
    """Return n normal numbers in an unquantised type."""
    values = (rng.standard_normal(n) * magnitude).astype("<f4")
    if type_name == "BF16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype("<f2" if type_name == "F16" else "<f4").tobytes()
