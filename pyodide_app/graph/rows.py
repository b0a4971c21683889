"""The row that a matrix multiplies: as it lies, or computed by what reads it.

A launch less for a few more loads: where a row is small enough for workgroup memory,
every workgroup norms it, or merges the splits of attention, for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pyodide_app.graph.plan import whole
from pyodide_app.graph.tensors import Normed, Splits, Tensor, Weight, place_of
from pyodide_app.graph.tuning import Tuning

# Partials that every workgroup which reads them may merge for itself: a matrix of the
# smallest models is as large, and then a launch less is worth it.
_MOST_PARTIALS = 128 << 10  # bytes
_NO_NORM: dict[str, int | float] = {
    "branch_norm": 0,
    "layer_scale": 0,
    "norm": 0,
    "eps": 0.0,
}


@dataclass(frozen=True, slots=True)
class Row:
    """How a kernel gets the row that it multiplies: a file of shaders/input/."""

    slot: str
    tensors: dict[str, Tensor]
    params: dict[str, int | float]
    overrides: dict[str, int] = field(default_factory=dict)
    n_groups: int = 0  # workgroups that may do so; 0: it is not computed


def folds(x: Normed | Splits, tuning: Tuning) -> bool:
    """Return whether what reads this row should also compute it."""
    if x.shape[0] > 1:
        return False
    n_threads = tuning.lanes * tuning.fold_rows
    room = -(-x.shape[1] // 32) * 32  # of the row, as common/spread.wgsl places it
    used = 4 * (room + 8 * n_threads)  # and eight sums of each lane
    if isinstance(x, Splits):
        n_stats = x.n_splits * x.shape[1] // x.head_dim
        used += 12 * n_stats  # of two numbers, and no more totals than that
        is_small = 4 * x.n_splits * x.shape[1] <= _MOST_PARTIALS
        is_worthwhile = is_small and n_stats % 2 == 0 and x.head_dim % 4 == 0
    else:
        used += 4 * (n_threads + 16)  # a sum of each thread, in two steps
        is_worthwhile = x.total.shape[0] == 1 and are_together(x.vectors)
    return used <= tuning.fold_bytes and is_worthwhile


def plain(x: Tensor, none: Tensor) -> Row:
    """Return a row that lies there."""
    return Row("vector", _bound(x, none), _NO_NORM)


def computed(x: Normed | Splits, none: Tensor, tuning: Tuning) -> Row:
    """Return a row that each workgroup computes for itself."""
    overrides = {"DIM": x.shape[1], "WG": tuning.lanes * tuning.fold_rows}
    if isinstance(x, Normed):
        return _normed(x, none, overrides, tuning.fold_groups)
    overrides |= {"HEAD_DIM": x.head_dim, "SPLITS": x.n_splits}
    n_groups = max(1, 2 * tuning.fold_groups // x.n_splits)
    return Row("splits", _bound(x.partials, none), _NO_NORM, overrides, n_groups)


def _normed(h: Normed, none: Tensor, overrides: dict[str, int], n_groups: int) -> Row:
    x = h.residual
    tensors = _bound(x.x, none)
    if h.vectors:
        tensors |= {"vectors": buffer_of(h.vectors[0])}
    if x.branch is not None:
        tensors |= {"more": x.branch, "total": h.total}
    params: dict[str, int | float] = {
        "branch_norm": place_of(x.norm),
        "layer_scale": place_of(x.scale),
        "norm": place_of(h.weight),
        "eps": x.eps,
    }
    overrides |= {
        "HAS_BRANCH": int(x.branch is not None),
        "HAS_BRANCH_NORM": int(x.norm is not None),
        "HAS_SCALE": int(x.scale is not None),
        "HAS_NORM": int(h.weight is not None),
    }
    return Row("residual", tensors, params, overrides, n_groups)


def _bound(x: Tensor, none: Tensor) -> dict[str, Tensor]:
    """Return the bindings of a kernel with an input, all but x left out."""
    return {"x": x, "more": none, "vectors": none, "total": Tensor((4,))}


def are_together(vectors: Iterable[Weight]) -> bool:
    """Return whether one binding shows all of them."""
    return len({vector.parts[0].view.buffer for vector in vectors}) <= 1


def buffer_of(vector: Weight) -> Tensor:
    """Return the whole buffer in which a vector lies, with others of its layer."""
    view = whole(vector.parts[0].view.buffer)
    return Tensor((view.size // 4,), view)
