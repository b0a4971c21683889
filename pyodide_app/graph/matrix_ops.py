"""Matrix ops: `linear`, `linears` and `gated` choose the kernels for n_tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyodide_app.graph.input_ops import InputOps, Taken
from pyodide_app.graph.recorder import Groups, fold
from pyodide_app.graph.tensors import PIECE_ALIGNMENT, Input, Tensor, Weight
from pyodide_app.graph.vector_ops import GEGLU

MOST_MATRICES = 3  # of one matvec_many
FOUR = 4  # rows that a thread of a matvec works on at once
MOST_TURNS = 8  # times that a workgroup which norms its input goes on to other rows


class MatrixOps(InputOps):
    """Part of `Ops`."""

    def linear(self, x: Input, weight: Weight, *, cap: float = 0.0) -> Tensor:
        """Return x @ weight.T: [n, dim_in] -> [n, dim_out], by matvec or matmul.

        With a `cap`, each element is squashed into (-cap, cap).
        """
        if self._takes_one_row(x, weight) and (cap or self._folds(x)):
            return self.matvec_many(x, [weight], cap=cap)[0]
        x = self.settle(x)
        y = self._product(x, weight, Tensor((x.shape[0], weight.n_rows)))
        return self.softcap(y, cap) if cap else y

    def linears(self, x: Input, weights: Sequence[Weight]) -> tuple[Tensor, ...]:
        """Return x @ weight.T for each weight, all in one launch for one row."""
        if self._takes_one_row(x, *weights) and len(weights) <= MOST_MATRICES:
            return self.matvec_many(x, weights)
        x = self.settle(x)
        results = _pieces(x.shape[0], [weight.n_rows for weight in weights])
        for weight, y in zip(weights, results, strict=True):
            self._product(x, weight, y)
        return results

    def gated(
        self,
        x: Input,
        gate: Weight,
        up: Weight | Tensor,
        up_begin: int = 0,
        *,
        unit: str = GEGLU,
    ) -> Tensor:
        """Return act(x @ gate.T) * up: [n, dim_in] -> [n, dim].

        `up` is a matrix that multiplies x too, or is given: [n, *], from column
        `up_begin` on. `unit` says what act is.
        """
        matrices = [gate] if isinstance(up, Tensor) else [gate, up]
        if self._takes_one_row(x, *matrices):
            return self.matvec_glu(x, gate, up, up_begin, unit=unit)
        x = self.settle(x)
        left = self.linear(x, gate)
        right = up if isinstance(up, Tensor) else self.linear(x, up)
        return self.glu(left, right, gate.n_rows, up_offset=up_begin, unit=unit)

    def _product(self, x: Tensor, weight: Weight, y: Tensor) -> Tensor:
        """Write x @ weight.T into y, by matvec or matmul."""
        op = self.matvec if x.shape[0] == 1 else self.matmul
        return op(x, weight, y)

    def matvec(self, x: Tensor, weight: Weight, y: Tensor | None = None) -> Tensor:
        """Multiply one row: x [1, dim_in] -> [1, dim_out]."""
        y = y or Tensor((1, weight.n_rows))
        for part in weight.parts:
            self._record(
                "matvec",
                {"x": x, "weight": self._part(part), "y": y},
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
        self, x: Input, weights: Sequence[Weight], *, cap: float = 0.0
    ) -> tuple[Tensor, ...]:
        """Multiply one row by up to three matrices: [1, dim_in] -> [1, dim_out] each.

        The weights are of one part each. Several results are pieces of one tensor.
        """
        rows = [weight.n_rows for weight in weights]
        results = _pieces(1, rows)
        taken = self._take(x)
        turns, groups = self._rows(taken, rows)
        absent = MOST_MATRICES - len(weights)
        matrices = [self._part(weight.parts[0]) for weight in weights]
        dots = [weight.dot for weight in weights]
        self._record(
            "matvec_many",
            {
                **taken.tensors,
                **_named("{}_weight", [*matrices, *[self._none] * absent]),
                "y": results[0].parent or results[0],
            },
            {
                "dim_in": weights[0].n_cols,
                **_named("{}_rows", [*rows, *[0] * absent]),
                **_named("{}_begin", [*(y.begin for y in results), *[0] * absent]),
                "cap": cap,
                **taken.params,
            },
            groups,
            slots={
                "input": taken.slot,
                **_named("{}", [*dots, *["none"] * absent]),
            },
            overrides={**turns, **taken.overrides, "HAS_CAP": int(cap > 0)},
            label=weights[0].name,
        )
        return results

    def matvec_glu(
        self,
        x: Input,
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
        taken = self._take(x)
        turns, groups = self._rows(taken, [gate.n_rows])
        self._record(
            "matvec_glu",
            {
                **taken.tensors,
                "gate_weight": self._part(gate.parts[0]),
                "up_weight": up if isinstance(up, Tensor) else self._part(up.parts[0]),
                "y": y,
            },
            {
                "dim_in": gate.n_cols,
                "n_rows": gate.n_rows,
                "up_begin": up_begin,
                **taken.params,
            },
            groups,
            slots={
                "input": taken.slot,
                "gate": gate.dot,
                "up": "given" if isinstance(up, Tensor) else up.dot,
                "unit": unit,
            },
            overrides={**turns, **taken.overrides},
            label=gate.name,
        )
        return y

    def matmul(self, x: Tensor, weight: Weight, y: Tensor | None = None) -> Tensor:
        """Multiply many rows: x [n, dim_in] -> [n, dim_out]."""
        n, tune = x.shape[0], self.tuning
        y = y or Tensor((n, weight.n_rows))
        for part in weight.parts:
            self._record(
                "matmul",
                {"x": x, "weight": self._part(part), "y": y},
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

    # -- one row, and how it is made -----------------------------------------------

    def _takes_one_row(self, x: Input, *weights: Weight) -> bool:
        """Return whether one kernel can take x: one row, by undivided matrices."""
        is_whole = all(len(weight.parts) == 1 for weight in weights)
        return x.shape[0] == 1 and is_whole and weights[0].n_cols % 4 == 0

    def _rows(self, taken: Taken, rows: Sequence[int]) -> tuple[dict[str, int], Groups]:
        """Return the overrides that say how rows are shared out, and the workgroups.

        A workgroup that makes its input goes on to more rows, so that this pays, but
        leaves enough of them to other workgroups to keep a GPU busy.
        """
        fours, turns = self.tuning.rows, 1
        if taken.n_groups:
            fours = self.tuning.fold_rows
            spare = sum(rows) // (FOUR * fours * taken.n_groups)
            turns = min(MOST_TURNS, max(1, spare))
        n_groups = sum(-(-n // (FOUR * fours * turns)) for n in rows)
        overrides = {"LANES": self.tuning.lanes, "ROWS": fours, "TURNS": turns}
        return overrides, fold(n_groups)


def _named(pattern: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return what belongs to the matrices a, b and c, by name."""
    return {pattern.format(name): v for name, v in zip("abc", values, strict=True)}


def _pieces(n_tokens: int, widths: Sequence[int]) -> tuple[Tensor, ...]:
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
