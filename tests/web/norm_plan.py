"""A small plan for every device: norm, matrix, norm."""

from __future__ import annotations

import random
import struct

from pyodide_app.gpu.device import Device
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, View, whole

DIM_IN = 100
DIM_OUT = 37
EPS = 1e-6


def floats(seed: int, n: int) -> list[float]:
    """Return reproducible gaussians, rounded to float32."""
    rng = random.Random(seed)
    values = [rng.gauss(0, 1) for _ in range(n)]
    return list(struct.unpack(f"<{n}f", struct.pack(f"<{n}f", *values)))


def pack(values: list[float]) -> bytes:
    """Return float32 bytes."""
    return struct.pack(f"<{len(values)}f", *values)


X = floats(1, DIM_IN)
NORM_WEIGHT = floats(2, DIM_IN)
MATRIX = floats(3, DIM_OUT * DIM_IN)


def expected() -> list[float]:
    """Return the plan's output, computed in double precision."""
    y = _rms_norm(X, NORM_WEIGHT)
    rows = [MATRIX[r * DIM_IN : (r + 1) * DIM_IN] for r in range(DIM_OUT)]
    z = [sum(w * v for w, v in zip(row, y, strict=True)) for row in rows]
    return _rms_norm(z, [2.0] * DIM_OUT)


def _rms_norm(x: list[float], weight: list[float]) -> list[float]:
    factor = (sum(v * v for v in x) / len(x) + EPS) ** -0.5
    return [v * factor * w for v, w in zip(x, weight, strict=True)]


class NormPlan:
    """The plan with its buffers; its inputs are there after `write`."""

    def __init__(self) -> None:
        """Describe it."""
        self.x = Buffer("x", 4 * DIM_IN)
        # Both weights in one buffer, so that views have offsets.
        self.weights = Buffer("weights", 1024 + 4 * DIM_OUT * DIM_IN)
        # Not one buffer for both: a dispatch may not read and write the same one.
        self.y = Buffer("y", 4 * DIM_IN)
        self.z = Buffer("z", 4 * DIM_OUT)
        self.none = Buffer("none", 16)
        y, z = whole(self.y), whole(self.z)
        self.output = Buffer("output", 4 * DIM_OUT)
        norm_weight = View(self.weights, 0, 4 * DIM_IN)
        matrix = View(self.weights, 1024, 4 * DIM_OUT * DIM_IN)
        self.plan = Plan(
            "norm plan",
            (
                norm(whole(self.x), norm_weight, y, DIM_IN, 1.0),
                matvec(y, matrix, z),
                norm(z, None, whole(self.output), DIM_OUT, 2.0, self.none),
            ),
        )

    @property
    def buffers(self) -> list[Buffer]:
        """Return all buffers."""
        return [self.x, self.weights, self.y, self.z, self.none, self.output]

    def write(self, device: Device) -> None:
        """Write the inputs."""
        device.write(self.x, 0, pack(X))
        device.write(self.weights, 0, pack(NORM_WEIGHT))
        device.write(self.weights, 1024, pack(MATRIX))

    async def run(self, device: Device) -> bytes:
        """Write, prepare and run it; return the output."""
        self.write(device)
        return await device.run(await device.prepare(self.plan), whole(self.output))


def norm(
    x: View,
    weight: View | None,
    y: View,
    dim: int,
    scale: float,
    none: Buffer | None = None,
) -> Dispatch:
    """Return an rms_norm of one row; without a weight, `none` is bound in its place."""
    bound = weight or (whole(none) if none else x)
    return Dispatch(
        Variant("rms_norm", overrides=(("WG", 32), ("HAS_WEIGHT", int(bool(weight))))),
        (x, bound, y),
        kernels.load("rms_norm").pack({"dim": dim, "eps": EPS, "scale": scale}),
        (1, 1, 1),
        "test",
    )


def matvec(x: View, matrix: View, y: View) -> Dispatch:
    """Return the product with the matrix."""
    slots = (("input", "vector"), ("weight", "f32"))
    fours = 2  # of rows of a workgroup
    return Dispatch(
        Variant("matvec", slots, (), (("LANES", 4), ("ROWS", fours))),
        (x, matrix, y),
        kernels.load("matvec").pack(
            {"dim_in": DIM_IN, "n_rows": DIM_OUT, "row_begin": 0}
        ),
        (-(-DIM_OUT // (4 * fours)), 1, 1),
        "test",
    )
