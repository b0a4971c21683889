"""Ops: what a family's file is written with.

Each op takes one token or many and chooses the kernels for them, which are methods in
`kernels_*.py`, one per kernel; a kernel records one dispatch per part of its weight.
Nothing here touches a GPU: the result of `finish` is a `Plan`. Activations are float32
[n_tokens, width]; weights have any ggml type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from pyodide_app.graph import rows
from pyodide_app.graph.kernels_attention import AttentionKernels
from pyodide_app.graph.kernels_buckets import BucketKernels
from pyodide_app.graph.kernels_experts import ExpertKernels
from pyodide_app.graph.kernels_matrices import MOST_MATRICES, MatrixKernels, pieces
from pyodide_app.graph.kernels_steps import StepKernels
from pyodide_app.graph.kernels_vectors import GEGLU, VectorKernels
from pyodide_app.graph.kv_cache import LayerCache
from pyodide_app.graph.rows import Row
from pyodide_app.graph.tensors import (
    Choice,
    ExpertSlots,
    Heads,
    Input,
    Normed,
    Residual,
    Routing,
    Splits,
    Tensor,
    Weight,
)


class Ops(
    VectorKernels,
    MatrixKernels,
    AttentionKernels,
    ExpertKernels,
    BucketKernels,
    StepKernels,
):
    """A pass being recorded: its kernels, and the ops that choose among them."""

    # -- the residual stream -------------------------------------------------------

    def add(
        self,
        x: Residual,
        branch: Tensor,
        norm: Weight | None,
        name: str,
        scale: Weight | None = None,
    ) -> Residual:
        """Add a branch, normed if it has a norm, to the residual; scale the sum.

        Recorded when it is read next; `name` is the sum's.
        """
        return Residual(x.tensor, x.eps, branch, norm, scale, self.scoped(name))

    def norm(self, x: Residual, weight: Weight | None) -> tuple[Residual, Normed]:
        """Return the residual with its branch added, and its norm.

        Recorded with what reads the norm first, where one kernel does both.
        """
        total = x.x
        if x.branch is not None:
            total = self.keep(x.name, Tensor(x.x.shape))
        return Residual(total, x.eps), Normed(x, weight, total)

    # -- what is computed where it is read -------------------------------------------

    def settle(self, x: Input) -> Tensor:
        """Return an input as a tensor, computed once."""
        if isinstance(x, Tensor):
            return x
        made = self.made(x)
        if made is not None:
            return made
        return self.make(x, self._norm(x) if isinstance(x, Normed) else self._merge(x))

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

    def row(self, x: Input) -> Row:
        """Say how a kernel reads its row: as it is, or by computing it."""
        if self._folds(x):
            return rows.computed(x, self.none, self.tuning)
        return rows.plain(self.settle(x), self.none)

    def _folds(self, x: Input) -> TypeGuard[Normed | Splits]:
        """Return whether what reads this row also computes it."""
        if isinstance(x, Tensor) or self.made(x) is not None:
            return False
        return rows.folds(x, self.tuning)

    # -- matrices ----------------------------------------------------------------------

    def linear(self, x: Input, weight: Weight, *, cap: float = 0.0) -> Tensor:
        """Return x @ weight.T: [n, dim_in] -> [n, dim_out], by matvec or matmul.

        With a `cap`, each element is squashed into (-cap, cap).
        """
        if self._takes_one_row(x, weight) and (cap or self._folds(x)):
            return self.matvec_many(self.row(x), [weight], cap=cap)[0]
        x = self.settle(x)
        y = self._product(x, weight, Tensor((x.shape[0], weight.n_rows)))
        return self.softcap(y, cap) if cap else y

    def linears(self, x: Input, weights: Sequence[Weight]) -> tuple[Tensor, ...]:
        """Return x @ weight.T for each weight, all in one launch for one row."""
        if self._takes_one_row(x, *weights) and len(weights) <= MOST_MATRICES:
            return self.matvec_many(self.row(x), weights)
        x = self.settle(x)
        results = pieces(x.shape[0], [weight.n_rows for weight in weights])
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
            return self.matvec_glu(self.row(x), gate, up, up_begin, unit=unit)
        x = self.settle(x)
        left = self.linear(x, gate)
        right = up if isinstance(up, Tensor) else self.linear(x, up)
        return self.glu(left, right, gate.n_rows, up_offset=up_begin, unit=unit)

    def _product(self, x: Tensor, weight: Weight, y: Tensor) -> Tensor:
        """Write x @ weight.T into y, by matvec or matmul."""
        op = self.matvec if x.shape[0] == 1 else self.matmul
        return op(x, weight, y)

    def _takes_one_row(self, x: Input, *weights: Weight) -> bool:
        """Return whether one kernel can take x: one row, by undivided matrices."""
        is_whole = all(len(weight.parts) == 1 for weight in weights)
        return x.shape[0] == 1 and is_whole and weights[0].n_cols % 4 == 0

    # -- attention ---------------------------------------------------------------------

    def attention(self, heads: Heads, cache: LayerCache) -> Tensor | Splits:
        """Store keys and values, if any, and attend: [n, n_heads * head_dim]."""
        if heads.n_tokens == 1:
            return self.attention_decode(heads, cache)
        q = self.name("Qcur_pos", self.head_norm_rope(heads, cache))
        return self.attention_prefill(q, cache)

    def store(self, heads: Heads, cache: LayerCache) -> None:
        """Store keys and values; there are no queries."""
        self.head_norm_rope(heads, cache)

    # -- a mixture of experts ----------------------------------------------------------

    def expert_scores(
        self, h: Normed, weight: Weight, scale: Weight | None
    ) -> tuple[Tensor, Tensor]:
        """Score all experts, and norm the tokens for those that they will choose.

        The router sees what the experts see; or with a `scale` the residual by a norm
        of its own: rms(x) * scale * dim^-0.5.
        Shapes: h [n, dim] -> logits [n, n_experts] and y [n, dim], which is h.
        """
        if self._takes_one_token(h, scale):
            logits, y = self.router(h, weight, scale)
            return logits, self.make(h, y)
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
        Shapes: x [n, dim], logits [n, n_experts] -> [n * n_used, ffn_dim], in the order
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
        """Project down and sum up: [n * n_used, ffn_dim] -> [n, dim]."""
        if routing.tiles is None:
            return self.expert_down(x, weight, routing, slots)
        y = self.experts(x, (weight,), routing, slots, gather=False)
        return self.expert_combine(y, routing)

    def _takes_one_token(self, h: Normed, scale: Weight | None) -> bool:
        """Return whether `router` can norm h: one token, whose branch has no norm."""
        x, vectors = h.residual, [h.weight, scale]
        is_plain = h.weight is not None and x.norm is None and x.scale is None
        is_one = h.shape[0] == 1 and h.shape[1] % 4 == 0 and self.made(h) is None
        return is_one and is_plain and rows.are_together(v for v in vectors if v)

    def experts(
        self,
        x: Tensor,
        weights: tuple[Weight, ...],
        routing: Routing,
        slots: ExpertSlots,
        *,
        gather: bool,
    ) -> Tensor:
        """Multiply bucket by bucket: [n * n_used, sum of the rows], in sorted order.

        `gather`: x has a row per token; else a row per assignment. Several weights
        (gate and up apart) write side by side.
        """
        n_slots = routing.idx.shape[0] * routing.idx.shape[1]
        y = Tensor((n_slots, sum(weight.n_rows for weight in weights)))
        offset = 0
        for weight in weights:
            self.expert_matmul(x, weight, routing, slots, y, offset, gather=gather)
            offset += weight.n_rows
        return y
