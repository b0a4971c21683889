"""A residual stream for the kernels that norm their own input, and what it comes to."""

from __future__ import annotations

import dataclasses

import numpy as np

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Normed, Residual
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE
from tests.support.gpu import Bench, random_input

EPS = 1e-6
# Kernels that norm their input, in workgroups of awkward shapes; one workgroup for all
# rows, so that it takes turns.
ODD = dataclasses.replace(
    SOFTWARE, lanes=5, fold_rows=3, fold_bytes=32768, fold_groups=2
)
TURNS = dataclasses.replace(HARDWARE, fold_rows=4, fold_groups=1)
FOLDING = (HARDWARE, ODD, TURNS)


class Stream:
    """A residual, perhaps with a branch to add, a scale, and a norm of the sum."""

    def __init__(
        self,
        on: Bench,
        dim: int,
        *,
        branch: bool = True,
        branch_normed: bool = True,
        scaled: bool = True,
        normed: bool = True,
    ) -> None:
        values = [random_input(i, dim) for i in range(4)]
        x, added, norm, weight = values
        norm *= 3
        scale = np.array([0.37], np.float32)
        placed = on.vectors(norm, scale, weight)
        self.residual = Residual(on.tensor(x[None]), EPS)
        self.weight = placed[2] if normed else None
        self.total = x[None].astype(np.float64)
        self.magnitude = np.abs(self.total)
        if branch:
            self.residual = dataclasses.replace(
                self.residual,
                branch=on.tensor(added[None]),
                norm=placed[0] if branch_normed else None,
                scale=placed[1] if scaled else None,
            )
            factor = float(scale[0]) if scaled else 1.0
            summand = added[None].astype(np.float64)
            if branch_normed:
                summand = oracle.rms_norm(summand, norm, EPS)
            self.total = (self.total + summand) * factor
            self.magnitude = (self.magnitude + np.abs(summand)) * factor
        self.h = self.total
        if normed:
            self.h = oracle.rms_norm(self.total, weight, EPS)
            rms = np.sqrt(np.mean(self.total**2) + EPS)
            # What h would be if nothing cancelled in the sum.
            self.magnitude = self.magnitude / rms * np.abs(weight)

    def norm(self, ops: Ops) -> tuple[Residual, Normed]:
        """Return the stream and its norm, not yet recorded."""
        return ops.norm(self.residual, self.weight)


def kernels_of(ops: Ops) -> list[str]:
    """Return which kernels have been recorded."""
    return [record.variant.kernel for record in ops._records]
