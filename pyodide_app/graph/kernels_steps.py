"""The kernels around the layers: a step's end, the load, the measure of a device."""

from __future__ import annotations

from pyodide_app.graph.recorder import Recorder, fold
from pyodide_app.graph.tensors import Part, Tensor, Weight

SMALL_VOCABULARY = 16384  # entries, up to which candidates are found in a short list
# In a word of `sampled`: it is the request's last; where its `Fault` lies; the token.
STOPPED = 1 << 31
FAULT_SHIFT = 28
TOKEN_MASK = (1 << FAULT_SHIFT) - 1


class StepKernels(Recorder):
    """Part of `Ops`: one method per kernel."""

    def sample_keys(
        self, logits: Tensor, suppressed: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Order the logits for `sample`: a key each, and the largest of each chunk.

        Shapes: logits [1, n_vocab]; suppressed: one bit per vocabulary entry; counts
        [n_vocab].
        """
        n_vocab = logits.shape[1]
        chunk, _ = _chunk_and_list(n_vocab)
        # A barrier costs software more than the loads of a short chunk.
        lanes = 1 if n_vocab <= SMALL_VOCABULARY else self.tuning.lanes
        keys, maxima = Tensor((n_vocab,)), Tensor((-(-n_vocab // chunk),))
        self.record(
            "sample_keys",
            {
                "logits": logits,
                "suppressed": suppressed,
                "counts": counts,
                "state": self.state,
                "keys": keys,
                "maxima": maxima,
            },
            {"n_vocab": n_vocab},
            (-(-maxima.shape[0] * lanes // self.tuning.threads), 1, 1),
            overrides={"WG": self.tuning.threads, "LANES": lanes, "CHUNK": chunk},
        )
        return keys, maxima

    def sample(
        self,
        ordered: tuple[Tensor, Tensor],
        tokens: Tensor,
        stops: Tensor,
        counts: Tensor,
        recent: Tensor,
        sampled: Tensor,
    ) -> None:
        """Choose the next token, store it in `tokens[0]` and advance the state.

        Each draw of a request has its place in `sampled`. A stop token has its highest
        bit set there, and is the last to advance anything; so has a token that could
        not be chosen, with the reason below that bit. `ordered` is what `sample_keys`
        gave. Shapes: stops: one bit per vocabulary entry; counts [n_vocab]; recent
        [the longest window].
        """
        keys, maxima = ordered
        chunk, most = _chunk_and_list(keys.shape[0])
        self.record(
            "sample",
            {
                "keys": keys,
                "maxima": maxima,
                "stops": stops,
                "counts": counts,
                "recent": recent,
                "tokens": tokens,
                "sampled": sampled,
                "state": self.state,
            },
            {"n_vocab": keys.shape[0], "n_tokens": self.n_tokens},
            (1, 1, 1),
            # At least 64: llvmpipe ends a thread's loops after 65535 turns in all.
            overrides={
                "WG": max(64, self.tuning.threads),
                "LIST": most,
                "CHUNK": chunk,
            },
        )

    def repack(
        self, raw: Tensor, weight: Weight, part: Part, block_begin: int, n_blocks: int
    ) -> None:
        """Split raw blocks into the two planes of a weight's part, at load.

        `raw` holds `n_blocks` blocks that start at block `block_begin` of the part.
        """
        kind = weight.type
        self.record(
            "repack",
            {"raw": raw, "planes": self.part(part)},
            {
                "n_blocks": n_blocks,
                "block_begin": block_begin,
                "total_blocks": weight.n_blocks(part),
            },
            fold(-(-n_blocks // self.tuning.threads)),
            overrides={
                "WG": self.tuning.threads,
                "BLOCK_BYTES": kind.block_bytes,
                "SCALE_OFFSET": kind.scale_offset,
                "SCALE_BYTES": kind.scale_bytes,
            },
            label=weight.name,
        )

    def copy(self, x: Tensor, n: int) -> Tensor:
        """Copy the first n rows: [n_rows, 4] -> [n_rows, 4], the rest unwritten."""
        y = Tensor(x.shape)
        self.record(
            "copy",
            {"x": x, "y": y},
            {"n": n},
            fold(max(1, -(-n // self.tuning.threads))),
            overrides={"WG": self.tuning.threads},
        )
        return y


def _chunk_and_list(n_vocab: int) -> tuple[int, int]:
    """Return the ids per chunk, and the sampler's room for chunks and for candidates.

    SwiftShader compiles the longer list for a second more (see `Tuning`).
    """
    most = 128 if n_vocab <= SMALL_VOCABULARY else 1024
    return 1 << (-(-n_vocab // most) - 1).bit_length(), most
