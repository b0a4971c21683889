"""How a reply ended, and how fast it was."""

from __future__ import annotations

from dataclasses import dataclass

_TELLING = 8  # tokens of a reply, below which its speed says nothing of the model


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a reply: why, which tokens, and how long it took."""

    reason: str  # "stop" | "length" | "stopped" | "context"
    ids: tuple[int, ...]  # the new tokens, an ending stop token left out
    n_prompt: int
    n_reused: int  # prompt tokens whose keys and values were still in the cache
    n_generated: int
    prefill_seconds: float  # until the first token was here
    decode_seconds: float  # from then on until the last was
    n_dispatches: int  # of a token's step
    weight_bytes: int  # that a step reads
    kv_bytes: int  # likewise, on average over the reply

    @property
    def n_keys(self) -> int:
        """Return how many tokens were in the cache, on average over the reply."""
        return self.n_prompt + self.n_generated // 2

    @property
    def tokens_per_second(self) -> float:
        """Return the speed of decoding; 0 where too few tokens say nothing of it."""
        n = self.n_generated - 1
        return n / self.decode_seconds if n > 0 and self.decode_seconds else 0.0

    @property
    def prefill_tokens_per_second(self) -> float:
        """Return the speed of prefill; 0 where its time is not known."""
        n = self.n_prompt - self.n_reused
        return n / self.prefill_seconds if self.prefill_seconds > 0 else 0.0

    @property
    def tells_speed(self) -> bool:
        """Say whether the reply is long enough for its speed to be the model's."""
        return self.n_generated >= _TELLING and self.decode_seconds > 0

    @property
    def bytes_per_second(self) -> float:
        """Return how fast decoding has read weights, keys and values."""
        return self.tokens_per_second * (self.weight_bytes + self.kv_bytes)
