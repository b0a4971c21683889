"""A small plan for every device: products that compute their input, as on a GPU."""

from __future__ import annotations

from dataclasses import replace

from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Device
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Part, Residual, Splits, Tensor, Weight
from pyodide_app.graph.tuning import HARDWARE
from tests.web.norm_plan import floats, pack

DIM = 64
N_SPLITS, HEAD_DIM = 3, 32
# As a GPU's plans, in workgroups of 64 threads: larger ones are slow in SwiftShader.
TUNING = replace(HARDWARE, fold_rows=4)


class FoldedPlan:
    """The plan with its buffers."""

    def __init__(self, device: Device) -> None:
        """Put the inputs on a device."""
        self.device = device
        self.arena = Arena()
        self.buffers: list[Buffer] = []

    def place(self, seed: int, n: int) -> View:
        """Return where n floats lie that are the same on every device."""
        buffer = Buffer(f"input {seed}", 4 * n)
        self.buffers.append(buffer)
        self.device.write(buffer, 0, pack(floats(seed, n)))
        return whole(buffer)

    def matrix(self, seed: int, n_rows: int) -> Weight:
        """Return a matrix of DIM columns."""
        view = self.place(seed, n_rows * DIM)
        return Weight("matrix", BY_NAME["F32"], (DIM, n_rows), (Part(view, 0, n_rows),))

    async def run(self) -> bytes:
        """Return the residual, three products, a gated unit and a merge's product."""
        vectors = self.place(0, 3 * DIM).buffer
        norm, scale, weight = (
            Weight("", BY_NAME["F32"], (n,), (Part(View(vectors, at, 4 * n), 0, 1),))
            for at, n in ((0, DIM), (256, 1), (512, DIM))
        )
        x, branch = (Tensor((1, DIM), self.place(seed, DIM)) for seed in (1, 2))
        n_heads = DIM // HEAD_DIM
        n_sums, n_stats = N_SPLITS * DIM, 2 * N_SPLITS * n_heads
        partials = Tensor((n_sums + n_stats,), self.place(3, n_sums + n_stats))
        # A total is positive.
        stats = [abs(value) + 0.1 for value in floats(4, n_stats)]
        buffer = self.buffers[-1]
        self.device.write(buffer, 4 * n_sums, pack(stats))
        state = Buffer("state", STATE_BYTES)
        self.buffers.append(state)
        ops = Ops("folded", TUNING, self.arena, state, 1, trace=True)
        stream, h = ops.norm(Residual(x, 1e-6, branch, norm, scale), weight)
        products = ops.linears(
            h, [self.matrix(5 + i, n) for i, n in enumerate((9, 4, 1))]
        )
        gated = ops.gated(h, self.matrix(8, 7), self.matrix(9, 7))
        splits = Splits(partials, (1, DIM), HEAD_DIM, N_SPLITS)
        merged = ops.linear(splits, self.matrix(10, 5), cap=30.0)
        results = [stream.tensor, *products, gated, merged]
        for i, tensor in enumerate(results):
            ops.name(str(i), tensor)
        plan, views = ops.finish()
        inputs = [dict(d.variant.slots)["input"] for d in plan.dispatches]
        assert inputs == ["residual", "residual", "splits"]
        self.device.submit(await self.device.prepare(plan))
        data = [await self.device.read(views[tensor]) for tensor in results]
        self.device.release([*self.buffers, *self.arena.buffers])
        return b"".join(data)
