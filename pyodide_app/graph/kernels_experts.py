"""The kernels of a layer's mixture of experts, for one token."""

from __future__ import annotations

from collections.abc import Iterator

from pyodide_app.graph.kernels_buckets import overrides_of
from pyodide_app.graph.kernels_matrices import FOUR
from pyodide_app.graph.kernels_vectors import GEGLU
from pyodide_app.graph.recorder import Recorder
from pyodide_app.graph.rows import buffer_of
from pyodide_app.graph.tensors import (
    PIECE_ALIGNMENT,
    Choice,
    ExpertSlots,
    Normed,
    Part,
    Routing,
    Tensor,
    Weight,
    place_of,
)


class ExpertKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def router(
        self, h: Normed, weight: Weight, scale: Weight | None
    ) -> tuple[Tensor, Tensor]:
        """Do what `expert_scores` does, for one token; write the stream it norms."""
        x, dim = h.residual, h.shape[1]
        assert h.weight is not None
        logits, y = Tensor((1, weight.n_rows)), Tensor((1, dim))
        has_branch = x.branch is not None
        for part in weight.parts:
            self.record(
                "router",
                {
                    "x": x.x,
                    "more": x.branch or self.none,
                    "vectors": buffer_of(h.weight),
                    "weight": self.part(part),
                    "total": h.total if has_branch else Tensor((4,)),
                    "logits": logits,
                    "y": y,
                },
                {
                    "dim": dim,
                    "n_rows": part.count,
                    "row_begin": part.begin,
                    "norm": place_of(h.weight),
                    "scale": place_of(scale or h.weight),
                    "divisor": dim**0.5 if scale else 1.0,
                    "eps": x.eps,
                },
                (-(-part.count // FOUR), 1, 1),
                slots={"weight": weight.dot},
                overrides={
                    # More lanes than a matvec has: there are few rows to share.
                    "LANES": self.tuning.threads // FOUR,
                    "ROWS": 1,
                    "HAS_BRANCH": int(has_branch),
                },
                label=weight.name,
            )
        return logits, y

    def expert_gate_up(
        self,
        x: Tensor,
        gate: Weight,
        up: Weight,
        logits: Tensor,
        choice: Choice,
        slots: ExpertSlots,
        *,
        unit: str = GEGLU,
    ) -> tuple[Tensor, Routing]:
        """Do what `expert_hidden` does, for one token; up may be gate itself."""
        fused, n_used = gate is up, choice.n_used
        n_rows = gate.n_rows // 2 if fused else gate.n_rows
        fours = self.tuning.fold_rows
        weights_begin = -(-n_used // PIECE_ALIGNMENT) * PIECE_ALIGNMENT
        both, y = Tensor((weights_begin + n_used,)), Tensor((n_used, n_rows))
        for gate_part, up_part, begin, count in _overlaps(gate, up):
            self.record(
                "expert_gate_up",
                {
                    "x": x,
                    "gate_weight": self.part(gate_part),
                    "up_weight": self.part(up_part),
                    "logits": logits,
                    "scale": self.vector(choice.scale),
                    "table": Tensor((slots.n_experts,), slots.view),
                    "routing": both,
                    "y": y,
                },
                {
                    "dim_in": gate.n_cols,
                    "n_rows": n_rows,
                    "expert_rows": gate.n_rows,
                    "up_row": n_rows if fused else 0,
                    "slot_begin": begin,
                    "n_slots": count,
                    "gate_skip": begin - gate_part.begin,
                    "up_skip": begin - up_part.begin,
                    "weights_begin": weights_begin,
                },
                (-(-n_rows // (FOUR * fours)), n_used, 1),
                slots={"gate": gate.dot, "up": up.dot, "unit": unit},
                overrides={
                    "LANES": self.tuning.lanes,
                    "ROWS": fours,
                    **overrides_of(choice, slots.n_experts),
                },
                label=gate.name,
            )
        pieces = both.piece(0, (1, n_used)), both.piece(weights_begin, (1, n_used))
        return y, Routing(*pieces)

    def expert_down(
        self, x: Tensor, weight: Weight, routing: Routing, slots: ExpertSlots
    ) -> Tensor:
        """Do what `expert_output` does, for one token."""
        y = Tensor((1, weight.n_rows))
        for part in weight.parts:
            self.record(
                "expert_down",
                {
                    "x": x,
                    "weight": self.part(part),
                    "idx": routing.idx,
                    "w": routing.weight,
                    "table": Tensor((slots.n_experts,), slots.view),
                    "y": y,
                },
                {
                    "dim_in": weight.n_cols,
                    "n_rows": weight.n_rows,
                    "slot_begin": part.begin,
                    "n_slots": part.count,
                    "is_later": int(part is not weight.parts[0]),
                },
                (-(-weight.n_rows // (FOUR * self.tuning.rows)), 1, 1),
                slots={"weight": weight.dot},
                overrides={
                    "LANES": self.tuning.lanes,
                    "ROWS": self.tuning.rows,
                    "TOP_K": routing.idx.shape[1],
                },
                label=weight.name,
            )
        return y


def _overlaps(gate: Weight, up: Weight) -> Iterator[tuple[Part, Part, int, int]]:
    """Yield where parts of both hold the same slots: (begin, count) and these parts."""
    for a in gate.parts:
        for b in up.parts:
            begin = max(a.begin, b.begin)
            end = min(a.begin + a.count, b.begin + b.count)
            if begin < end:
                yield a, b, begin, end - begin
