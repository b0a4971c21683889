"""Ops: one method per kernel; each call records one dispatch per part of its weight.

A model is written with these and nothing else. Nothing here touches a GPU: the result
of `finish` is a `Plan`. Activations are float32 [n_tokens, width]; weights have any
ggml type. Two choosers stand for a pair of kernels: `linear` and `experts`.
"""

from __future__ import annotations

from pyodide_app.graph.plan import whole
from pyodide_app.graph.recorder import Recorder, fold
from pyodide_app.graph.tensors import ExpertSlots, Part, Rope, Routing, Tensor, Weight
from pyodide_app.kv_cache import LayerCache

SMALL_VOCABULARY = 16384  # entries, up to which candidates are found in a short list
MATMUL_TOKENS = 8  # tokens that one matmul thread carries for each row it decodes


class Ops(Recorder):
    """The kernels, as methods of a recorder."""

    # -- token and vector ops ----------------------------------------------------

    def embed(self, tokens: Tensor, weight: Weight, scale: float) -> Tensor:
        """Gather and scale rows: tokens [n] u32, weight [n_vocab, dim] -> [n, dim]."""
        n, dim = tokens.shape[0], weight.n_cols
        y = Tensor((n, dim))
        for part in weight.parts:
            self._record(
                "embed",
                {"tokens": tokens, "weight": self._part(part), "y": y},
                {
                    "dim": dim,
                    "row_begin": part.begin,
                    "n_rows": part.count,
                    "scale": scale,
                },
                (-(-dim // self.tuning.threads), n, 1),
                slots={"quant": weight.type.slug},
                overrides={"WG": self.tuning.threads},
                label=weight.name,
            )
        return y

    def rms_norm(
        self,
        x: Tensor,
        weight: Weight | None,
        eps: float,
        *,
        scale: float = 1.0,
        row_begin: int = 0,
    ) -> Tensor:
        """Normalise rows from `row_begin` on: x [n, dim] -> [n - row_begin, dim]."""
        n, dim = x.shape[0] - row_begin, x.shape[1]
        y = Tensor((n, dim))
        self._record(
            "rms_norm",
            {"x": x, "weight": self._vector(weight), "y": y},
            {"dim": dim, "row_begin": row_begin, "eps": eps, "scale": scale},
            (n, 1, 1),
            overrides={
                "WG": self.tuning.threads,
                "HAS_WEIGHT": int(weight is not None),
            },
        )
        return y

    def add_norm(
        self,
        x: Tensor,
        branch: Tensor,
        weight: Weight,
        eps: float,
        *,
        layer_scale: Weight | None = None,
        next_weight: Weight | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Add a normed branch to the residual, and norm the sum for what comes next.

        Shapes: x, branch [n, dim] -> the new residual [n, dim] and its norm [n, dim]
        (left unwritten without `next_weight`).
        """
        n, dim = x.shape
        residual, y = Tensor((n, dim)), Tensor((n, dim) if next_weight else (4,))
        self._record(
            "add_norm",
            {
                "x": x,
                "branch": branch,
                "weight": self._vector(weight),
                "layer_scale": self._vector(layer_scale),
                "next_weight": self._vector(next_weight),
                "residual": residual,
                "y": y,
            },
            {"dim": dim, "eps": eps},
            (n, 1, 1),
            overrides={
                "WG": self.tuning.threads,
                "HAS_SCALE": int(layer_scale is not None),
                "HAS_NEXT": int(next_weight is not None),
            },
        )
        return residual, y

    def norm_sum(
        self, a: Tensor, weight_a: Weight, b: Tensor, weight_b: Weight, eps: float
    ) -> Tensor:
        """Return rms(a) * weight_a + rms(b) * weight_b, all [n, dim]."""
        n, dim = a.shape
        y = Tensor((n, dim))
        self._record(
            "norm_sum",
            {
                "a": a,
                "weight_a": self._vector(weight_a),
                "b": b,
                "weight_b": self._vector(weight_b),
                "y": y,
            },
            {"dim": dim, "eps": eps},
            (n, 1, 1),
            overrides={"WG": self.tuning.threads},
        )
        return y

    def geglu(
        self,
        gate: Tensor,
        up: Tensor,
        dim: int,
        *,
        gate_offset: int = 0,
        up_offset: int = 0,
    ) -> Tensor:
        """Return gelu(gate) * up on `dim` columns of each: [n, *] -> [n, dim]."""
        n = gate.shape[0]
        y = Tensor((n, dim))
        self._record(
            "geglu",
            {"gate": gate, "up": up, "y": y},
            {
                "dim": dim,
                "gate_stride": gate.shape[1],
                "gate_offset": gate_offset,
                "up_stride": up.shape[1],
                "up_offset": up_offset,
            },
            (-(-dim // self.tuning.threads), n, 1),
            overrides={"WG": self.tuning.threads},
        )
        return y

    def ple_combine(
        self,
        projected: Tensor,
        embedded: Tensor,
        weight: Weight,
        eps: float,
        *,
        scale_projected: float,
        scale_embedded: float,
    ) -> Tensor:
        """Merge per-layer inputs: both [n, n_layers * per_layer_dim] -> the same."""
        n, width = projected.shape
        dim = weight.n_cols
        y = Tensor((n, width))
        self._record(
            "ple_combine",
            {
                "projected": projected,
                "embedded": embedded,
                "weight": self._vector(weight),
                "y": y,
            },
            {
                "dim": dim,
                "eps": eps,
                "scale_projected": scale_projected,
                "scale_embedded": scale_embedded,
            },
            (width // dim, n, 1),
            overrides={"WG": self.tuning.threads},
        )
        return y

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """Return cap * tanh(x / cap), elementwise."""
        y = Tensor(x.shape)
        n = x.size // 4
        self._record(
            "softcap",
            {"x": x, "y": y},
            {"n": n, "cap": cap},
            fold(-(-n // self.tuning.threads)),
            overrides={"WG": self.tuning.threads},
        )
        return y

    # -- matrices ----------------------------------------------------------------

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

    # -- attention ---------------------------------------------------------------

    def head_norm_rope(
        self, x: Tensor, weight: Weight, rope: Rope, head_dim: int, eps: float
    ) -> Tensor:
        """Norm each head and rotate it by position: [n, n_heads * head_dim]."""
        n, width = x.shape
        y = Tensor((n, width))
        self._record(
            "head_norm_rope",
            {
                "state": self._state,
                "x": x,
                "weight": self._vector(weight),
                "rope": Tensor((rope.table.size // 4,), rope.table),
                "y": y,
            },
            {
                "head_dim": head_dim,
                "n_pairs": rope.n_pairs,
                "fine": rope.fine,
                "eps": eps,
            },
            (width // head_dim, n, 1),
            overrides={"WG": min(64, self.tuning.threads)},
        )
        return y

    def kv_write(
        self,
        k: Tensor,
        v: Tensor,
        weight: Weight,
        rope: Rope,
        cache: LayerCache,
        eps: float,
    ) -> None:
        """Norm and rotate keys, norm values, and store both in the cache.

        Shapes: k, v [n, n_kv_heads * head_dim], as the projections left them.
        """
        self._record(
            "kv_write",
            {
                "state": self._state,
                "k": k,
                "v": v,
                "weight": self._vector(weight),
                "rope": Tensor((rope.table.size // 4,), rope.table),
                "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
                "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
            },
            {
                "head_dim": cache.head_dim,
                "n_kv_heads": cache.n_kv_heads,
                "n_pairs": rope.n_pairs,
                "fine": rope.fine,
                "n_slots": cache.n_slots,
                "eps": eps,
            },
            (cache.n_kv_heads, k.shape[0], 2),
            slots={"kv": cache.kv},
            overrides={"WG": min(64, self.tuning.threads)},
        )

    def attention(self, q: Tensor, cache: LayerCache) -> Tensor:
        """Attend to the cache: q [n, n_heads * head_dim] -> the same shape."""
        n, width = q.shape
        n_heads = width // cache.head_dim
        y = Tensor((n, width))
        self._record(
            "attention",
            {
                "state": self._state,
                "q": q,
                "k_cache": Tensor((cache.k.size // 4,), whole(cache.k)),
                "v_cache": Tensor((cache.v.size // 4,), whole(cache.v)),
                "y": y,
            },
            {
                "n_heads": n_heads,
                "n_kv_heads": cache.n_kv_heads,
                "n_slots": cache.n_slots,
                "window": cache.window,
            },
            (n_heads, n, 1),
            slots={"kv": cache.kv},
            consts={"HEAD_DIM": cache.head_dim, "WG": self.tuning.attention_threads},
        )
        return y

    # -- mixture of experts ------------------------------------------------------

    def router_top_k(self, logits: Tensor, scale: Weight, top_k: int) -> Routing:
        """Choose experts: logits [n, n_experts] -> idx and weight [n, top_k]."""
        n, n_experts = logits.shape
        idx, weight = Tensor((n, top_k)), Tensor((n, top_k))
        self._record(
            "router_top_k",
            {
                "logits": logits,
                "scale": self._vector(scale),
                "idx": idx,
                "weight": weight,
            },
            {"n_experts": n_experts, "top_k": top_k},
            (n, 1, 1),
            overrides={
                "WG": min(64, self.tuning.threads),
                "MAX_EXPERTS": n_experts,
            },
        )
        return Routing(idx, weight)

    def expert_sort(self, routing: Routing, n_experts: int) -> Routing:
        """Bucket the assignments by expert, stably, and cut the buckets into tiles."""
        n_slots = routing.idx.shape[0] * routing.idx.shape[1]
        n_tiles = n_slots // MATMUL_TOKENS + min(n_experts, n_slots)
        offsets, token_idx = Tensor((n_experts + 1,)), Tensor((n_slots,))
        perm, tiles = Tensor((n_slots,)), Tensor((n_tiles, 2))
        self._record(
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
                "tile": MATMUL_TOKENS,
            },
            (1, 1, 1),
            overrides={"WG": self.tuning.threads, "MAX_EXPERTS": n_experts},
        )
        return Routing(routing.idx, routing.weight, offsets, token_idx, perm, tiles)

    def experts(
        self,
        x: Tensor,
        weights: tuple[Weight, ...],
        routing: Routing,
        slots: ExpertSlots,
        *,
        gather: bool,
    ) -> Tensor:
        """Multiply each assignment by its expert: [n * top_k, sum of the rows].

        `gather`: x has a row per token; else a row per assignment. Several weights
        (gate and up apart) write side by side.
        """
        run = self.expert_matvec if routing.tiles is None else self.expert_matmul
        n_slots = routing.idx.shape[0] * routing.idx.shape[1]
        y = Tensor((n_slots, sum(weight.n_rows for weight in weights)))
        offset = 0
        for weight in weights:
            run(x, weight, routing, slots, y, offset, gather=gather)
            offset += weight.n_rows
        return y

    def expert_matvec(
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
        """Multiply each assignment on its own, in routing order (decode)."""
        for part in weight.parts:
            self._record(
                "expert_matvec",
                {
                    "x": x,
                    "weight": self._part(part),
                    "idx": routing.idx,
                    "table": Tensor((slots.n_experts,), slots.view),
                    "y": y,
                },
                {
                    "dim_in": weight.n_cols,
                    "n_rows": weight.n_rows,
                    "per_x": routing.idx.shape[1] if gather else 1,
                    "slot_begin": part.begin,
                    "n_slots": part.count,
                    "y_stride": y.shape[1],
                    "y_offset": y_offset,
                },
                (-(-weight.n_rows // self.tuning.rows), y.shape[0], 1),
                slots={"quant": weight.type.slug},
                overrides={"LANES": self.tuning.lanes, "ROWS": self.tuning.rows},
                label=weight.name,
            )

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
        """Multiply bucket by bucket, in sorted order (prefill)."""
        assert routing.offsets and routing.token_idx and routing.tiles
        rows = self.tuning.matmul_rows
        for part in weight.parts:
            self._record(
                "expert_matmul",
                {
                    "x": x,
                    "weight": self._part(part),
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
                (-(-weight.n_rows // rows), routing.tiles.shape[0], 1),
                slots={"quant": weight.type.slug},
                consts={"TOKENS": MATMUL_TOKENS},
                overrides={"WG": rows},
                label=weight.name,
            )

    def expert_combine(self, y: Tensor, routing: Routing) -> Tensor:
        """Sum each token's experts in slot order: [n * top_k, dim] -> [n, dim]."""
        n, top_k = routing.idx.shape
        out = Tensor((n, y.shape[1]))
        self._record(
            "expert_combine",
            {
                "x": y,
                "perm": routing.perm or self._none,
                "weight": routing.weight,
                "y": out,
            },
            {"dim": y.shape[1], "top_k": top_k},
            (-(-y.shape[1] // self.tuning.threads), n, 1),
            overrides={
                "WG": self.tuning.threads,
                "HAS_PERM": int(routing.perm is not None),
            },
        )
        return out

    # -- the end of a step, the load, and the measure of a device ----------------

    def sample(
        self, logits: Tensor, tokens: Tensor, suppressed: Tensor, seen: Tensor
    ) -> None:
        """Choose the next token, store it in `tokens[0]` and advance the state.

        Shapes: logits [1, n_vocab]; suppressed, seen: one bit per vocabulary entry.
        """
        self._record(
            "sample",
            {
                "logits": logits,
                "suppressed": suppressed,
                "seen": seen,
                "tokens": tokens,
                "state": self._state,
            },
            {"n_vocab": logits.shape[1], "n_tokens": self.n_tokens},
            (1, 1, 1),
            # At least 64: llvmpipe ends a thread's loops after 65535 turns in all.
            # SwiftShader compiles the longer list for half a second more.
            overrides={
                "WG": max(64, self.tuning.threads),
                "LIST": 256 if logits.shape[1] <= SMALL_VOCABULARY else 1024,
            },
        )

    def repack(
        self, raw: Tensor, weight: Weight, part: Part, block_begin: int, n_blocks: int
    ) -> None:
        """Split raw blocks into the two planes of a weight's part, at load.

        `raw` holds `n_blocks` blocks that start at block `block_begin` of the part.
        """
        kind = weight.type
        words = n_blocks * kind.body_bytes // 4 + -(-n_blocks * kind.scale_bytes // 4)
        self._record(
            "repack",
            {"raw": raw, "planes": self._part(part)},
            {
                "n_blocks": n_blocks,
                "block_begin": block_begin,
                "total_blocks": part.view.size // kind.block_bytes,
                "block_bytes": kind.block_bytes,
                "scale_offset": kind.scale_offset,
                "scale_bytes": kind.scale_bytes,
            },
            fold(-(-words // self.tuning.threads)),
            overrides={"WG": self.tuning.threads},
            label=weight.name,
        )

    def copy(self, x: Tensor, n: int) -> Tensor:
        """Copy the first n rows: [n_rows, 4] -> [n_rows, 4], the rest unwritten."""
        y = Tensor(x.shape)
        self._record(
            "copy",
            {"x": x, "y": y},
            {"n": n},
            fold(max(1, -(-n // self.tuning.threads))),
            overrides={"WG": self.tuning.threads},
        )
        return y
