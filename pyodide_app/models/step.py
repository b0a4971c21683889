"""A step: one pass over the model, and the buffers that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Residual, Tensor
from pyodide_app.models import blocks
from pyodide_app.models.family import Model


@dataclass(frozen=True, slots=True, eq=False)
class StepBuffers:
    """What a step reads and advances, besides the model."""

    state: Buffer
    tokens: Buffer  # of the pass; the first is the next token afterwards
    suppressed: Buffer  # a bit per vocabulary entry
    stops: Buffer  # likewise
    counts: Buffer  # how often each entry is among the recent tokens
    recent: Buffer  # the ring of these
    sampled: Buffer  # a word per token that a request has sampled

    @property
    def all(self) -> tuple[Buffer, ...]:
        """Return all of them."""
        masks = (self.suppressed, self.stops, self.counts, self.recent)
        return (self.state, self.tokens, *masks, self.sampled)


def make_buffers(n_vocab: int, chunk: int, n_ctx: int) -> StepBuffers:
    """Describe the buffers of passes over up to `chunk` tokens."""
    n_bytes = 4 * -(-n_vocab // 32)
    return StepBuffers(
        Buffer("state", STATE_BYTES),
        Buffer("tokens", 4 * chunk),
        Buffer("suppressed", n_bytes),
        Buffer("stops", n_bytes),
        Buffer("counts", 4 * n_vocab),
        Buffer("recent", 4 * n_ctx),
        Buffer("sampled", 4 * n_ctx),
    )


def forward(ops: Ops, model: Model, buffers: StepBuffers, n_wanted: int) -> Residual:
    """Record the layers over the pass's tokens; returns the last of the stream."""
    tokens = View(buffers.tokens, 0, 4 * ops.n_tokens)
    return blocks.forward(ops, model, Tensor((ops.n_tokens,), tokens), n_wanted)


def record(ops: Ops, model: Model, buffers: StepBuffers, sample: bool) -> None:
    """Record a pass; with `sample` it ends in the next token."""
    x = forward(ops, model, buffers, n_wanted=int(sample))
    if sample:
        y = blocks.logits(ops, model, x)
        tokens, suppressed, *written = map(_words, buffers.all[1:])
        stops, counts, recent, sampled = written
        ordered = ops.sample_keys(y, suppressed, counts)
        ops.sample(ordered, tokens, stops, counts, recent, sampled)


def _words(buffer: Buffer) -> Tensor:
    return Tensor((buffer.size // 4,), whole(buffer))
