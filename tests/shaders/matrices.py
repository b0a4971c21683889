"""Quantised matrices for the kernel tests, and the bound on a dot product's error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import quant
from pyodide_app.gguf.types import BY_NAME, TYPES
from pyodide_app.graph.tensors import Weight
from pyodide_app.graph.tuning import Tuning
from pyodide_app.load.weights import LOAD_BYTES
from tests.support.compare import tolerance
from tests.support.gpu import Bench

FORMATS = tuple(kind.name for kind in TYPES)
FLOATS = ("F32", "F16", "BF16")
# For kernels that reach a type by the same files as matvec or matmul, which try them
# all: of the types of dynamic quants, one with a code book behind its blocks, one whose
# blocks are not split as well, and one with the scales of matrices there.
LAYOUTS = tuple(
    name
    for name in FORMATS
    if name not in ("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0")
)
# Types that multiply a vector which is quantised to int8, if a tuning says so.
INT8 = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]


@contextmanager
def bench(tune: Tuning | None = None) -> Iterator[Bench]:
    """Open a bench and free its buffers afterwards, whatever happens."""
    opened = Bench(tune)
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True, slots=True)
class Matrix:
    """A random matrix in a type: its raw blocks, and its values by the oracle."""

    type_name: str
    raw: bytes
    values: Array

    def place(self, on: Bench, max_bytes: int | None = None) -> Weight:
        """Upload it, in parts of at most `max_bytes`, rounded up to whole loads."""
        if max_bytes is not None:
            max_bytes = -(-max_bytes // LOAD_BYTES) * LOAD_BYTES
        dims = tuple(reversed(self.values.shape))
        return on.weight(self.type_name, dims, self.raw, max_bytes)


def matrix(type_name: str, *shape: int, seed: int = 0) -> Matrix:
    """Make a matrix of random blocks, the same every time."""
    n_elements = int(np.prod(shape))
    n_blocks = n_elements // quant.FORMATS[type_name].block_size
    rng = np.random.default_rng((seed, n_elements))
    raw = quant.random_blocks(type_name, n_blocks, rng)
    values = quant.dequantise(type_name, np.frombuffer(raw, np.uint8), n_elements)
    return Matrix(type_name, raw, values.reshape(shape))


def off_ties(x: Array) -> Array:
    """Return x without elements near the middle of two steps of int8.

    There, the last bit of a division says which step they are rounded to.
    """
    halves = x.reshape(-1, 16)
    step = np.abs(halves).max(axis=1, keepdims=True) / 127
    ratio = halves / step
    near = np.abs(ratio - np.floor(ratio) - 0.5) < 1e-3  # 2^-23 * 127 is far less
    return np.where(near, np.rint(ratio) * step, halves).reshape(x.shape)


def close_sums(kernel: str, got: Array, expected: Array, magnitude: Array) -> None:
    """Assert |got - expected| <= atol + rtol * sum |weight * x|, element by element.

    Rounding errors of a dot product are in proportion to its terms, however much of
    them cancels. `magnitude` is that sum: the same oracle on absolute values.
    """
    rtol, atol = tolerance(kernel)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    error = np.abs(got.astype(np.float64) - expected)
    bad = ~(error <= atol + rtol * magnitude)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise AssertionError(
            f"{kernel}: {bad.sum()} of {bad.size} off, max abs {np.nanmax(error):.3g}, "
            f"error / sum {np.nanmax(error / (magnitude + 1e-30)):.3g}, first at "
            f"{first}: expected {expected[first]:.8g}, got {got[first]:.8g}"
        )


def widths(type_name: str) -> tuple[int, ...]:
    """Return row lengths to test: of the real models, and awkward ones."""
    if type_name in FLOATS:
        return (1, 3, 33, 704)
    if (block := BY_NAME[type_name].block_size) == 256:
        return (256, 512, 2816)
    # What 26b-a4b's rows fall back to: 704 and 2112 are no multiples of 256.
    return (block, 2 * block, 704, 2112)
