"""The kernels of experts for many tokens, which are sorted by expert first."""

from __future__ import annotations

from pyodide_app.graph.recorder import Recorder
from pyodide_app.graph.tensors import Choice, ExpertSlots, Routing, Tensor, Weight


class BucketKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def router_top_k(self, logits: Tensor, choice: Choice) -> Routing:
        """Choose experts: logits [n, n_experts] -> idx and weight [n, n_used]."""
        n, n_experts = logits.shape
        idx, weight = Tensor((n, choice.n_used)), Tensor((n, choice.n_used))
        self.record(
            "router_top_k",
            {
                "logits": logits,
                "scale": self.vector(choice.scale),
                "idx": idx,
                "weight": weight,
            },
            {"stride": n_experts},
            (n, 1, 1),
            overrides={
                "WG": min(64, self.tuning.threads),
                **overrides_of(choice, n_experts),
            },
        )
        return Routing(idx, weight)

    def expert_sort(self, routing: Routing, n_experts: int) -> Routing:
        """Bucket the assignments by expert, stably, and cut the buckets into tiles."""
        n_slots = routing.idx.shape[0] * routing.idx.shape[1]
        n_tiles = n_slots // self.tuning.tile_tokens + min(n_experts, n_slots)
        offsets, token_idx = Tensor((n_experts + 1,)), Tensor((n_slots,))
        perm, tiles = Tensor((n_slots,)), Tensor((n_tiles, 2))
        self.record(
            "expert_sort",
            {
                "idx": routing.idx,
                "offsets": offsets,
                "token_idx": token_idx,
                "perm": perm,
                "tiles": tiles,
            },
            {
                "n_assignments": n_slots,
                "top_k": routing.idx.shape[1],
                "n_experts": n_experts,
                "n_tiles": n_tiles,
                "tile": self.tuning.tile_tokens,
            },
            (1, 1, 1),
            overrides={"WG": self.tuning.threads, "MAX_EXPERTS": n_experts},
        )
        return Routing(routing.idx, routing.weight, offsets, token_idx, perm, tiles)

    def expert_matmul(
        self,
        x: Tensor,
        weight: Weight,
        routing: Routing,
        slots: ExpertSlots,
        y: Tensor,
        y_offset: int,
        *,
        gather: bool,
    ) -> None:
        """Multiply by one weight, into the columns from `y_offset` on."""
        assert routing.offsets and routing.token_idx and routing.tiles
        tune = self.tuning
        for part in weight.parts:
            self.record(
                "expert_matmul",
                {
                    "x": x,
                    "weight": self.part(part),
                    "offsets": routing.offsets,
                    "token_idx": routing.token_idx,
                    "tiles": routing.tiles,
                    "table": Tensor((slots.n_experts,), slots.view),
                    "y": y,
                },
                {
                    "dim_in": weight.n_cols,
                    "n_rows": weight.n_rows,
                    "gather": int(gather),
                    "slot_begin": part.begin,
                    "n_slots": part.count,
                    "y_stride": y.shape[1],
                    "y_offset": y_offset,
                },
                (-(-weight.n_rows // tune.tile_rows), routing.tiles.shape[0], 1),
                slots={"weight": weight.type.slug, "tile": tune.tile},
                consts={"TILE_ROWS": tune.tile_rows, "TOKENS": tune.tile_tokens},
                label=weight.name,
            )

    def expert_combine(self, y: Tensor, routing: Routing) -> Tensor:
        """Sum each token's experts in slot order: [n * n_used, dim] -> [n, dim]."""
        assert routing.perm
        n, n_used = routing.idx.shape
        out = Tensor((n, y.shape[1]))
        self.record(
            "expert_combine",
            {
                "x": y,
                "perm": routing.perm,
                "weight": routing.weight,
                "y": out,
            },
            {"dim": y.shape[1], "top_k": n_used},
            (-(-y.shape[1] // self.tuning.threads), n, 1),
            overrides={"WG": self.tuning.threads},
        )
        return out


def overrides_of(choice: Choice, n_experts: int) -> dict[str, int]:
    """Return the overrides of a kernel that chooses."""
    return {
        "N_EXPERTS": n_experts,
        "TOP_K": choice.n_used,
        "HAS_SCALE": int(choice.scale is not None),
        "RENORMALISED": int(choice.renormalised),
    }
