"""Recording: pieces of tensors, what is computed later, and the order of it all."""

from __future__ import annotations

import dataclasses

import pytest

from pyodide_app.gguf.types import BY_NAME
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, Plan, View
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Part, Residual, Tensor, Weight
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning

DIM = 64


def recorder(tune: Tuning = SOFTWARE, trace: bool = False) -> Ops:
    return Ops("test", tune, Arena(), Buffer("state", STATE_BYTES), 1, trace)


def given(*shape: int) -> Tensor:
    size = Tensor(shape).size
    return Tensor(shape, View(Buffer("given", size), 0, size))


def weight(*dims: int, buffer: Buffer | None = None, offset: int = 0) -> Weight:
    size = Tensor(dims).size
    view = View(buffer or Buffer("weight", size), offset, size)
    return Weight("w", BY_NAME["F32"], dims, (Part(view, 0, dims[-1]),))


def stream() -> tuple[Residual, Weight]:
    """Return a residual with a branch to add, and the weight of a norm of the sum."""
    buffer = Buffer("vectors", 8 * DIM)
    norm = weight(DIM, buffer=buffer)
    following = weight(DIM, buffer=buffer, offset=4 * DIM)
    return Residual(given(1, DIM), 1e-6, given(1, DIM), norm), following


def kernels(plan: Plan) -> list[str]:
    return [dispatch.variant.kernel for dispatch in plan.dispatches]


def test_pieces_lie_in_their_tensor_and_keep_it() -> None:
    ops = recorder()
    q, k = ops.linears(given(1, DIM), [weight(DIM, 70), weight(DIM, 10)])
    other = ops.softcap(given(1, 500), 1.0)  # must not take the place of q and k
    last = ops.softcap(k, 1.0)
    ops.softcap(q, 1.0)
    plan, views = ops.finish()
    assert views[q].buffer is views[k].buffer is plan.dispatches[0].views[-1].buffer
    assert (views[q].offset, views[q].size) == (0, 280)
    assert (views[k].offset, views[k].size) == (512, 40)  # a multiple of 256
    assert views[other].buffer is not views[k].buffer
    assert views[last].size == 40


def test_a_norm_is_recorded_with_what_reads_it_first() -> None:
    for tune, expected in (
        (HARDWARE, ["matvec_many", "matvec_glu"]),
        (SOFTWARE, ["add_norm", "matvec_many", "matvec_glu"]),
        # A norm that several kernels read, and no workgroup holds.
        (
            dataclasses.replace(HARDWARE, fold_bytes=1024),
            ["add_norm", "matvec_many", "matvec_glu"],
        ),
    ):
        ops, (x, following) = recorder(tune), stream()
        _, h = ops.norm(x, following)
        assert not ops._records
        ops.linears(h, [weight(DIM, 8)])
        ops.gated(h, weight(DIM, 8), weight(DIM, 8))
        plan, _ = ops.finish()
        assert kernels(plan) == expected


def test_vectors_of_several_buffers_are_normed_apart() -> None:
    ops, (x, _) = recorder(HARDWARE), stream()
    _, h = ops.norm(x, weight(DIM))
    ops.linear(h, weight(DIM, 8))
    assert kernels(ops.finish()[0]) == ["add_norm", "matvec"]


def test_a_residual_is_not_read_before_its_branch_is_added() -> None:
    x, following = stream()
    with pytest.raises(ValueError, match="a branch is still to be added"):
        _ = x.tensor
    ops = recorder()
    x, _ = ops.norm(x, following)
    ops.softcap(x.tensor, 1.0)  # nobody has read the norm, hence nobody wrote x
    with pytest.raises(ValueError, match=r"softcap.* x is read before it is written"):
        ops.finish()


def test_a_trace_names_sums_and_what_becomes_a_tensor() -> None:
    for tune, expected in ((SOFTWARE, {"h", "blk.1.sum"}), (HARDWARE, {"blk.1.sum"})):
        ops, (x, following) = recorder(tune, trace=True), stream()
        assert x.norm and x.branch
        ops.scope("blk.1")
        x = ops.add(Residual(x.x, x.eps), x.branch, x.norm, "sum")
        ops.scope("")
        _, h = ops.norm(x, following)
        ops.linear(ops.name("h", h), weight(DIM, 8))
        assert set(ops.named) == expected
        _, views = ops.finish()
        assert all(tensor in views for tensor in ops.named.values())
