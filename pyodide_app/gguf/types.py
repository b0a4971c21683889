"""The ggml tensor types: one row each.

Source: spec of the ggml block formats; `id` is the number in a GGUF's tensor table.
A type whose block is no multiple of four bytes is kept on the GPU as two aligned planes
of the same total size: the bodies of all blocks, then their scales (see
shaders/repack.wgsl). `scale_offset` and `scale_bytes` say which bytes of a block go to
the second plane. Behind the blocks of some types stands what they cannot be read
without (see load/tails.py): a code book, or the scales of whole matrices.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GGMLType:
    """One tensor type: the size of a block, and how it is split into planes.

    A block of 0 bytes means that its size is not known here.
    """

    id: int
    name: str
    block_size: int  # elements
    block_bytes: int
    scale_offset: int = 0
    scale_bytes: int = 0  # 0: the block is aligned and kept as it is
    grid: str = ""  # the code book behind the blocks (grids.py)
    has_scales: bool = False  # of whole matrices, behind the blocks

    @property
    def slug(self) -> str:
        """Return the name of the file in shaders/quant."""
        return self.name.lower()

    @property
    def is_supported(self) -> bool:
        """Say whether kernels can read it."""
        return self.id in BY_ID

    @property
    def is_split(self) -> bool:
        """Say whether blocks are repacked into two planes at load."""
        return self.scale_bytes > 0

    @property
    def body_bytes(self) -> int:
        """Return the bytes of a block that stay in the first plane."""
        return self.block_bytes - self.scale_bytes


TYPES: tuple[GGMLType, ...] = (
    GGMLType(0, "F32", 1, 4),
    GGMLType(1, "F16", 1, 2),
    GGMLType(2, "Q4_0", 32, 18, 0, 2),
    GGMLType(3, "Q4_1", 32, 20),
    GGMLType(6, "Q5_0", 32, 22, 0, 2),
    GGMLType(7, "Q5_1", 32, 24),
    GGMLType(8, "Q8_0", 32, 34, 0, 2),
    GGMLType(10, "Q2_K", 256, 84),
    GGMLType(11, "Q3_K", 256, 110, 108, 2),
    GGMLType(12, "Q4_K", 256, 144),
    GGMLType(13, "Q5_K", 256, 176),
    GGMLType(14, "Q6_K", 256, 210, 208, 2),
    GGMLType(16, "IQ2_XXS", 256, 66, 0, 2, grid="IQ2_XXS"),
    GGMLType(17, "IQ2_XS", 256, 74, 0, 2, grid="IQ2_XS"),
    GGMLType(18, "IQ3_XXS", 256, 98, 0, 2, grid="IQ3_XXS"),
    GGMLType(19, "IQ1_S", 256, 50, 0, 2, grid="IQ1_S"),
    GGMLType(20, "IQ4_NL", 32, 18, 0, 2),
    GGMLType(21, "IQ3_S", 256, 110, 0, 2, grid="IQ3_S"),
    GGMLType(22, "IQ2_S", 256, 82, 0, 2, grid="IQ2_S"),
    GGMLType(23, "IQ4_XS", 256, 136),
    GGMLType(29, "IQ1_M", 256, 56, grid="IQ1_S"),
    GGMLType(30, "BF16", 1, 2),
    GGMLType(34, "TQ1_0", 256, 54, 52, 2),
    GGMLType(35, "TQ2_0", 256, 66, 64, 2),
    GGMLType(39, "MXFP4", 32, 17, 0, 1),
    GGMLType(40, "NVFP4", 64, 36, has_scales=True),
)
BY_ID: dict[int, GGMLType] = {t.id: t for t in TYPES}
BY_NAME: dict[str, GGMLType] = {t.name: t for t in TYPES}

# Known to ggml, not supported here: an error can say what was found, and tensors that
# no pass reads are placed and shown all the same. Q8_1 and Q8_K are never stored.
UNSUPPORTED: tuple[GGMLType, ...] = (
    GGMLType(9, "Q8_1", 1, 0),
    GGMLType(15, "Q8_K", 1, 0),
    GGMLType(24, "I8", 1, 1),
    GGMLType(25, "I16", 1, 2),
    GGMLType(26, "I32", 1, 4),
    GGMLType(27, "I64", 1, 8),
    GGMLType(28, "F64", 1, 8),
    GGMLType(41, "Q1_0", 128, 18),
)
_NAMED: dict[int, GGMLType] = BY_ID | {t.id: t for t in UNSUPPORTED}


def type_of(type_id: int) -> GGMLType:
    """Return the type of that number; of one that nobody knows the size is 0."""
    return _NAMED.get(type_id) or GGMLType(type_id, "unknown", 1, 0)
