"""Matrix ops: `linear` chooses between matvec and matmul."""

from __future__ import annotations

from pyodide_app.graph.recorder import Recorder, fold
from pyodide_app.graph.tensors import Tensor, Weight

MATMUL_TOKENS = 8  # tokens that one matmul thread carries for each row it decodes


class MatrixOps(Recorder):
    """Part of `Ops`."""

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        """Return x @ weight.T: [n, dim_in] -> [n, dim_out], by matvec or matmul."""
        return self.matvec(x, weight) if x.shape[0] == 1 else self.matmul(x, weight)

    def matvec(self, x: Tensor, weight: Weight) -> Tensor:
        """Multiply one row: x [1, dim_in] -> [1, dim_out]."""
        y = Tensor((1, weight.n_rows))
        for part in weight.parts:
            self._record(
                "matvec",
                {"x": x, "weight": self._part(part), "y": y},
                {
                    "dim_in": weight.n_cols,
                    "n_rows": part.count,
                    "row_begin": part.begin,
                },
                fold(-(-part.count // self.tuning.rows)),
                slots={"quant": weight.type.slug},
                overrides={"LANES": self.tuning.lanes, "ROWS": self.tuning.rows},
                label=weight.name,
            )
        return y

    def matmul(self, x: Tensor, weight: Weight) -> Tensor:
        """Multiply many rows: x [n, dim_in] -> [n, dim_out]."""
        n, rows = x.shape[0], self.tuning.matmul_rows
        y = Tensor((n, weight.n_rows))
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
                (-(-part.count // rows), -(-n // MATMUL_TOKENS), 1),
                slots={"quant": weight.type.slug},
                consts={"TOKENS": MATMUL_TOKENS},
                overrides={"WG": rows},
                label=weight.name,
            )
        return y
