"""Tolerances from a kernel's header, and a comparison that says where it fails."""

from __future__ import annotations

import re

import numpy as np

from pyodide_app.graph import kernels


def tolerance(kernel: str) -> tuple[float, float]:
    """Return (rtol, atol) from the `tolerance` line of a kernel's header."""
    line = kernels.header_value(kernels.load(kernel).source, "tolerance")
    found = re.match(r"rtol=(\S+) atol=(\S+)", line)
    assert found, f"{kernel}.wgsl: the tolerance line reads {line!r}"
    return float(found.group(1)), float(found.group(2))


def close(kernel: str, got: np.ndarray, expected: np.ndarray) -> None:
    """Assert |got - expected| <= atol + rtol * max|expected| of the row.

    The bound is relative to the largest value of the last axis, not to each element:
    a sum that cancels to nearly zero keeps the rounding of its terms.
    """
    rtol, atol = tolerance(kernel)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    scale = np.max(np.abs(expected), axis=-1, keepdims=True)
    error = np.abs(got.astype(np.float64) - expected)
    bad = ~(error <= atol + rtol * scale)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise AssertionError(
            f"{kernel}: {bad.sum()} of {bad.size} off, max abs {np.nanmax(error):.3g}, "
            f"first at {first}: expected {expected[first]:.8g}, got {got[first]:.8g}"
        )


def relative_l2(got: np.ndarray, expected: np.ndarray) -> float:
    """Return |got - expected| / |expected| in the 2-norm."""
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
