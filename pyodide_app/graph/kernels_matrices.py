"""The kernels of matrices, for one row and for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyodide_app.graph.kernels_vectors import GEGLU
from pyodide_app.graph.recorder import Groups, Recorder, fold
from pyodide_app.graph.rows import Row
from pyodide_app.graph.tensors import PIECE_ALIGNMENT, Tensor, Weight

MOST_MATRICES = 3  # of one matvec_many
FOUR = 4  # rows that a thread of a matvec works on at once
MOST_TURNS = 8  # times that a workgroup which norms its input goes on to other rows


class MatrixKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def matvec(self, x: Tensor, weight: Weight, y: Tensor | None = None) -> Tensor:
        """Multiply one row: x [1, dim_in] -> [1, dim_out]."""
        y = y or Tensor((1, weight.n_rows))
        for part in weight.parts:
            self.record(
                "matvec",
                {"x": x, "weight": self.part(part), "y": y},
                {
                    "dim_in": weight.n_cols,
                    "n_rows": part.count,
                    "row_begin": part.begin,
                },
                fold(-(-part.count // (FOUR * self.tuning.rows))),
                slots={
                    "input": "plain" if weight.n_cols % 4 else "vector",
                    "weight": weight.dot,
                },
                overrides={"LANES": self.tuning.lanes, "ROWS": self.tuning.rows},
                label=weight.name,
            )
        return y

    def matvec_many(
        self, row: Row, weights: Sequence[Weight], *, cap: float = 0.0
    ) -> tuple[Tensor, ...]:
        """Multiply one row by up to three matrices: [1, dim_in] -> [1, dim_out] each.

        The weights are of one part each. Several results are pieces of one tensor.
        """
        rows = [weight.n_rows for weight in weights]
        results = pieces(1, rows)
        turns, groups = self._share(row, rows)
        absent = MOST_MATRICES - len(weights)
        matrices = [self.part(weight.parts[0]) for weight in weights]
        dots = [weight.dot for weight in weights]
        self.record(
            "matvec_many",
            {
                **row.tensors,
                **_named("{}_weight", [*matrices, *[self.none] * absent]),
                "y": results[0].parent or results[0],
            },
            {
                "dim_in": weights[0].n_cols,
                **_named("{}_rows", [*rows, *[0] * absent]),
                **_named("{}_begin", [*(y.begin for y in results), *[0] * absent]),
                "cap": cap,
                **row.params,
            },
            groups,
            slots={
                "input": row.slot,
                **_named("{}", [*dots, *["none"] * absent]),
            },
            overrides={**turns, **row.overrides, "HAS_CAP": int(cap > 0)},
            label=weights[0].name,
        )
        return results

    def matvec_glu(
        self,
        row: Row,
        gate: Weight,
        up: Weight | Tensor,
        up_begin: int = 0,
        *,
        unit: str = GEGLU,
    ) -> Tensor:
        """Return one row's act(gate) * up: [1, dim_in] -> [1, n_rows].

        The weights are of one part each; `up` may be given, as in `gated`.
        """
        y = Tensor((1, gate.n_rows))
        turns, groups = self._share(row, [gate.n_rows])
        self.record(
            "matvec_glu",
            {
                **row.tensors,
                "gate_weight": self.part(gate.parts[0]),
                "up_weight": up if isinstance(up, Tensor) else self.part(up.parts[0]),
                "y": y,
            },
            {
                "dim_in": gate.n_cols,
                "n_rows": gate.n_rows,
                "up_begin": up_begin,
                **row.params,
            },
            groups,
            slots={
                "input": row.slot,
                "gate": gate.dot,
                "up": "given" if isinstance(up, Tensor) else up.dot,
                "unit": unit,
            },
            overrides={**turns, **row.overrides},
            label=gate.name,
        )
        return y

    def matmul(self, x: Tensor, weight: Weight, y: Tensor | None = None) -> Tensor:
        """Multiply many rows: x [n, dim_in] -> [n, dim_out]."""
        n, tune = x.shape[0], self.tuning
        y = y or Tensor((n, weight.n_rows))
        for part in weight.parts:
            self.record(
                "matmul",
                {"x": x, "weight": self.part(part), "y": y},
                {
                    "n_tokens": n,
                    "dim_in": weight.n_cols,
                    "dim_out": weight.n_rows,
                    "n_rows": part.count,
                    "row_begin": part.begin,
                },
                (-(-part.count // tune.tile_rows), -(-n // tune.tile_tokens), 1),
                slots={"weight": weight.type.slug, "tile": tune.tile},
                consts={"TILE_ROWS": tune.tile_rows, "TOKENS": tune.tile_tokens},
                label=weight.name,
            )
        return y

    def _share(self, row: Row, rows: Sequence[int]) -> tuple[dict[str, int], Groups]:
        """Return the overrides that say how rows are shared out, and the workgroups.

        A workgroup that makes its input goes on to more rows, so that this pays, but
        leaves enough of them to other workgroups to keep a GPU busy.
        """
        fours, turns = self.tuning.rows, 1
        if row.n_groups:
            fours = self.tuning.fold_rows
            spare = sum(rows) // (FOUR * fours * row.n_groups)
            turns = min(MOST_TURNS, max(1, spare))
        n_groups = sum(-(-n // (FOUR * fours * turns)) for n in rows)
        overrides = {"LANES": self.tuning.lanes, "ROWS": fours, "TURNS": turns}
        return overrides, fold(n_groups)


def _named(pattern: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return what belongs to the matrices a, b and c, by name."""
    return {pattern.format(name): v for name, v in zip("abc", values, strict=True)}


def pieces(n_tokens: int, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """Return room for several results, [n_tokens, width] each, in one tensor."""
    if len(widths) == 1:
        return (Tensor((n_tokens, widths[0])),)
    begins = [0]
    for width in widths:
        end = begins[-1] + n_tokens * width
        begins.append(-(-end // PIECE_ALIGNMENT) * PIECE_ALIGNMENT)
    together = Tensor((begins.pop(),))
    shapes = ((n_tokens, width) for width in widths)
    return tuple(map(together.piece, begins, shapes))
