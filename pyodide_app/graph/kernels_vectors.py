"""The kernels of vectors: embeddings, norms, the residual, gates."""

from __future__ import annotations

from pyodide_app.graph.recorder import Recorder, fold
from pyodide_app.graph.tensors import Tensor, Weight

GEGLU, SWIGLU = "geglu", "swiglu"  # gated units: files shaders/common/unit_*.wgsl


class VectorKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def embed(self, tokens: Tensor, weight: Weight, scale: float) -> Tensor:
        """Gather and scale rows: tokens [n] u32, weight [n_vocab, dim] -> [n, dim]."""
        n, dim = tokens.shape[0], weight.n_cols
        y = Tensor((n, dim))
        for part in weight.parts:
            self.record(
                "embed",
                {"tokens": tokens, "weight": self.part(part), "y": y},
                {
                    "dim": dim,
                    "row_begin": part.begin,
                    "n_rows": part.count,
                    "scale": scale,
                },
                (-(-dim // self.tuning.threads), n, 1),
                slots={"weight": weight.type.slug},
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
    ) -> Tensor:
        """Normalise rows: x [n, dim] -> [n, dim]."""
        n, dim = x.shape
        y = Tensor((n, dim))
        self.record(
            "rms_norm",
            {"x": x, "weight": self.vector(weight), "y": y},
            {"dim": dim, "eps": eps, "scale": scale},
            (n, 1, 1),
            overrides={
                "WG": self.tuning.threads,
                "HAS_WEIGHT": int(weight is not None),
            },
        )
        return y

    def last_rows(self, x: Tensor, n: int) -> Tensor:
        """Return the last rows: x [n_rows, dim] -> [n, dim]."""
        n_rows, dim = x.shape
        y = Tensor((n, dim))
        if n:
            self.record(
                "last_rows",
                {"x": x, "y": y},
                {"dim": dim, "row_begin": n_rows - n},
                (-(-dim // self.tuning.threads), n, 1),
                overrides={"WG": self.tuning.threads},
            )
        return y

    def add_norm(
        self,
        x: Tensor,
        branch: Tensor,
        weight: Weight | None,
        eps: float,
        *,
        layer_scale: Weight | None = None,
        next_weight: Weight | None = None,
        residual: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Add a branch to the residual, and norm the sum for what comes next.

        With a `weight` the branch is normed first.
        Shapes: x, branch [n, dim] -> the new residual [n, dim] and its norm [n, dim]
        (left unwritten without `next_weight`).
        """
        n, dim = x.shape
        residual = residual or Tensor((n, dim))
        y = Tensor((n, dim) if next_weight else (4,))
        self.record(
            "add_norm",
            {
                "x": x,
                "branch": branch,
                "weight": self.vector(weight),
                "layer_scale": self.vector(layer_scale),
                "next_weight": self.vector(next_weight),
                "residual": residual,
                "y": y,
            },
            {"dim": dim, "eps": eps},
            (n, 1, 1),
            overrides={
                "WG": self.tuning.threads,
                "HAS_NORM": int(weight is not None),
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
        self.record(
            "norm_sum",
            {
                "a": a,
                "weight_a": self.vector(weight_a),
                "b": b,
                "weight_b": self.vector(weight_b),
                "y": y,
            },
            {"dim": dim, "eps": eps},
            (n, 1, 1),
            overrides={"WG": self.tuning.threads},
        )
        return y

    def glu(
        self,
        gate: Tensor,
        up: Tensor,
        dim: int,
        *,
        unit: str = GEGLU,
        gate_offset: int = 0,
        up_offset: int = 0,
    ) -> Tensor:
        """Return act(gate) * up on `dim` columns of each: [n, *] -> [n, dim]."""
        n = gate.shape[0]
        y = Tensor((n, dim))
        self.record(
            "glu",
            {"gate": gate, "up": up, "y": y},
            {
                "dim": dim,
                "gate_stride": gate.shape[1],
                "gate_offset": gate_offset,
                "up_stride": up.shape[1],
                "up_offset": up_offset,
            },
            (-(-dim // self.tuning.threads), n, 1),
            slots={"unit": unit},
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
        self.record(
            "ple_combine",
            {
                "projected": projected,
                "embedded": embedded,
                "weight": self.vector(weight),
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
        self.record(
            "softcap",
            {"x": x, "y": y},
            {"n": n, "cap": cap},
            fold(-(-n // self.tuning.threads)),
            overrides={"WG": self.tuning.threads},
        )
        return y
