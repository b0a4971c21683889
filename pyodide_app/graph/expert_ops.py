"""Expert ops: the mixture of experts of a layer.

`expert_scores`, `expert_hidden` and `expert_output` choose: one token takes three
dispatches, many tokens are bucketed by expert.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyodide_app.graph.bucket_ops import BucketOps, overrides_of
from pyodide_app.graph.input_ops import are_together, buffer_of
from pyodide_app.graph.matrix_ops import FOUR
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
from pyodide_app.graph.vector_ops import GEGLU


class ExpertOps(BucketOps):
    """Part of `Ops`."""

    def expert_scores(
        self, h: Normed, weight: Weight, scale: Weight | None
    ) -> tuple[Tensor, Tensor]:
        """Score all experts, and norm the tokens for those that they will choose.

        The router sees what the experts see; or with a `scale` the residual by a norm
        of its own: rms(x) * scale * dim^-0.5.
        Shapes: h [n, dim] -> logits [n, n_experts] and y [n, dim], which is h.
        """
        if self._takes_one_token(h, scale):
            return self.router(h, weight, scale)
        y = self.settle(h)
        if scale is None:
            return self.linear(y, weight), y
        dim = h.shape[1]
        z = self.rms_norm(h.total, scale, h.residual.eps, scale=dim**-0.5)
        return self.linear(z, weight), y

    def expert_hidden(
        self,
        x: Tensor,
        gate_up: tuple[Weight, ...],
        logits: Tensor,
        choice: Choice,
        slots: ExpertSlots,
        *,
        unit: str,
    ) -> tuple[Tensor, Routing]:
        """Choose each token's experts, and compute their gated hidden vectors.

        `gate_up`: one weight whose experts have the rows of gate, then those of up; or
        two. `unit` says what act is.
        Shapes: x [n, dim], logits [n, n_experts] -> [n * top_k, ffn_dim], in the order
        of the routing.
        """
        ffn_dim = sum(weight.n_rows for weight in gate_up) // 2
        if x.shape[0] == 1 and x.shape[1] % 4 == 0 and ffn_dim % 4 == 0:
            gate, up = gate_up[0], gate_up[-1]
            return self.expert_gate_up(x, gate, up, logits, choice, slots, unit=unit)
        routing = self.router_top_k(logits, choice)
        routing = self.expert_sort(routing, slots.n_experts)
        both = self.experts(x, gate_up, routing, slots, gather=True)
        return self.glu(both, both, ffn_dim, unit=unit, up_offset=ffn_dim), routing

    def expert_output(
        self, x: Tensor, weight: Weight, routing: Routing, slots: ExpertSlots
    ) -> Tensor:
        """Project down and sum up: [n * top_k, ffn_dim] -> [n, dim]."""
        if routing.tiles is None:
            return self.expert_down(x, weight, routing, slots)
        y = self.experts(x, (weight,), routing, slots, gather=False)
        return self.expert_combine(y, routing)

    def _takes_one_token(self, h: Normed, scale: Weight | None) -> bool:
        """Return whether `router` can norm h: one token, whose branch has no norm."""
        x, vectors = h.residual, [h.weight, scale]
        is_plain = h.weight is not None and x.norm is None and x.scale is None
        is_one = h.shape[0] == 1 and h.shape[1] % 4 == 0 and h not in self._settled
        return is_one and is_plain and are_together(v for v in vectors if v)

    def router(
        self, h: Normed, weight: Weight, scale: Weight | None
    ) -> tuple[Tensor, Tensor]:
        """Do what `expert_scores` does, for one token; write the stream it norms."""
        x, dim = h.residual, h.shape[1]
        assert h.weight is not None
        logits, y = Tensor((1, weight.n_rows)), Tensor((1, dim))
        has_branch = x.branch is not None
        for part in weight.parts:
            self._record(
                "router",
                {
                    "x": x.x,
                    "more": x.branch or self._none,
                    "vectors": buffer_of(h.weight),
                    "weight": self._part(part),
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
        return logits, self._made(h, y)

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
        fused, top_k = gate is up, choice.top_k
        n_rows = gate.n_rows // 2 if fused else gate.n_rows
        fours = self.tuning.fold_rows
        weights_begin = -(-top_k // PIECE_ALIGNMENT) * PIECE_ALIGNMENT
        both, y = Tensor((weights_begin + top_k,)), Tensor((top_k, n_rows))
        for gate_part, up_part, begin, count in _overlaps(gate, up):
            self._record(
                "expert_gate_up",
                {
                    "x": x,
                    "gate_weight": self._part(gate_part),
                    "up_weight": self._part(up_part),
                    "logits": logits,
                    "scale": self._vector(choice.scale),
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
                (-(-n_rows // (FOUR * fours)), top_k, 1),
                slots={"gate": gate.dot, "up": up.dot, "unit": unit},
                overrides={
                    "LANES": self.tuning.lanes,
                    "ROWS": fours,
                    **overrides_of(choice, slots.n_experts),
                },
                label=gate.name,
            )
        pieces = both.piece(0, (1, top_k)), both.piece(weights_begin, (1, top_k))
        return y, Routing(*pieces)

    def expert_down(
        self, x: Tensor, weight: Weight, routing: Routing, slots: ExpertSlots
    ) -> Tensor:
        """Do what `expert_output` does, for one token."""
        y = Tensor((1, weight.n_rows))
        for part in weight.parts:
            self._record(
                "expert_down",
                {
                    "x": x,
                    "weight": self._part(part),
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
