"""Input ops: what matrices multiply, computed apart or by the kernel that reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

from pyodide_app.graph.attention_ops import AttentionOps
from pyodide_app.graph.plan import whole
from pyodide_app.graph.tensors import (
    Input,
    Normed,
    Splits,
    Tensor,
    Weight,
    place_of,
)
from pyodide_app.graph.vector_ops import VectorOps

# Partials that every workgroup which reads them may merge for itself: a matrix of the
# smallest models is as large, and then a launch less is worth it.
_MOST_PARTIALS = 128 << 10  # bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """How a kernel gets the row that it multiplies: a file of shaders/input/."""

    slot: str
    tensors: dict[str, Tensor]
    params: dict[str, int | float]
    overrides: dict[str, int] = field(default_factory=dict)
    n_groups: int = 0  # workgroups that may do so; 0: it is not computed


class InputOps(VectorOps, AttentionOps):
    """Part of `Ops`."""

    def settle(self, x: Input) -> Tensor:
        """Return the input as a tensor, computed once."""
        if isinstance(x, Tensor):
            return x
        if x not in self._settled:
            self._made(x, self._norm(x) if isinstance(x, Normed) else self._merge(x))
        return self._settled[x]

    def _made(self, x: Normed | Splits, y: Tensor) -> Tensor:
        """Note that y holds the input, for all that read it later; return y."""
        self._settled[x] = self._keep(self._pending.get(x, ""), y)
        return y

    def _merge(self, x: Splits) -> Tensor:
        return self.attention_merge(x.partials, x.shape, x.head_dim, x.n_splits)

    def _norm(self, h: Normed) -> Tensor:
        x = h.residual
        if x.branch is not None:
            _, y = self.add_norm(
                x.x,
                x.branch,
                x.norm,
                x.eps,
                layer_scale=x.scale,
                next_weight=h.weight,
                residual=h.total,
            )
            if h.weight is not None:
                return y
        if h.weight is None:
            return h.total
        return self.rms_norm(h.total, h.weight, x.eps)

    def _folds(self, x: Input) -> TypeGuard[Normed | Splits]:
        """Return whether what reads this row also computes it."""
        if isinstance(x, Tensor) or x in self._settled or x.shape[0] > 1:
            return False
        n_threads = self.tuning.lanes * self.tuning.fold_rows
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
        return used <= self.tuning.fold_bytes and is_worthwhile

    def _take(self, x: Input) -> Taken:
        """Say how a kernel reads its row: as it is, or by computing it."""
        if not self._folds(x):
            return Taken("vector", self._bound(self.settle(x)), _NO_NORM)
        overrides = {
            "DIM": x.shape[1],
            "WG": self.tuning.lanes * self.tuning.fold_rows,
        }
        if isinstance(x, Splits):
            overrides |= {"HEAD_DIM": x.head_dim, "SPLITS": x.n_splits}
            n_groups = 2 * self.tuning.fold_groups // x.n_splits
            bound = self._bound(x.partials)
            return Taken("splits", bound, _NO_NORM, overrides, max(1, n_groups))
        return self._take_norm(x, overrides)

    def _take_norm(self, h: Normed, overrides: dict[str, int]) -> Taken:
        x = h.residual
        tensors = self._bound(x.x)
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
        n_groups = self.tuning.fold_groups
        return Taken("residual", tensors, params, overrides, n_groups)

    def _bound(self, x: Tensor) -> dict[str, Tensor]:
        """Return the bindings of a kernel with an input, all but x left out."""
        none = self._none
        return {"x": x, "more": none, "vectors": none, "total": Tensor((4,))}


_NO_NORM: dict[str, int | float] = {
    "branch_norm": 0,
    "layer_scale": 0,
    "norm": 0,
    "eps": 0.0,
}


def are_together(vectors: Iterable[Weight]) -> bool:
    """Return whether one binding shows all of them."""
    return len({vector.parts[0].view.buffer for vector in vectors}) <= 1


def buffer_of(vector: Weight) -> Tensor:
    """Return the whole buffer in which a vector lies, with others of its layer."""
    view = whole(vector.parts[0].view.buffer)
    return Tensor((view.size // 4,), view)
