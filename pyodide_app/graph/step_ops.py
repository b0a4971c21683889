"""Ops around the layers: the end of a step, the load, the measure of a device."""

from __future__ import annotations

from pyodide_app.graph.recorder import Recorder, fold
from pyodide_app.graph.tensors import Part, Tensor, Weight

SMALL_VOCABULARY = 16384  # entries, up to which candidates are found in a short list


class StepOps(Recorder):
    """Part of `Ops`."""

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
