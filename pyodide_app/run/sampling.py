"""Sampling: the options, and the exact host reference of the GPU sampler.

The next token is chosen in the order that users of Gemma's defaults expect:

1. Where a logit is NaN or infinite nothing is chosen: see `Fault`. Suppressed tokens
   leave. Penalties look back on the last `repeat_last_n` tokens of prompt and reply, as
   in Ollama: of a token that is among them the repetition penalty divides a positive
   logit and multiplies another, then the presence penalty is subtracted, and the
   frequency penalty as often as the token is there.
2. Temperature 0: the largest logit, ties to the lower id. This ends it.
3. top_k keeps the k largest logits, and all that equal the k-th.
4. What remains is divided by the temperature.
5. top_p keeps the most probable tokens that together have that share of the mass of
   what top_k kept, and all that equal the last of them.
6. min_p keeps what has that share of the largest probability.
7. The draw: the largest of logit / temperature + Gumbel noise, which is a draw from the
   softmax. The noise is -log(-log(u)), u = (bits + 1/2) / 2^32, and the bits are a hash
   of (seed, draw, id): pcg3d of M. Jarzynski and M. Olano, "Hash Functions for GPU
   Rendering", Journal of Computer Graphics Techniques 9(3), 2020.

The integer parts (bits, masses, counts, comparisons) are those of shaders/sample.wgsl
to the bit, and float32 roundings are repeated where a decision hangs on them. Left over
are the last bits of exp, log and division, which WGSL leaves to the adapter.
"""

from __future__ import annotations

import heapq
import math
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from pyodide_app.errors import RequestError
from pyodide_app.gguf.metadata import FLOAT32_MAX
from pyodide_app.text.chat.json_values import refuse

MASS_UNIT = 268435440.0  # of radix_select.wgsl: 2^28 - 16
WORTHLESS = -1000.0  # of sample.wgsl: a scaled logit far below where exp is 0
_WORD = 0xFFFFFFFF
_STATE = struct.Struct("<4IfI3f2I2f2I4x")  # struct State of shaders/common/state.wgsl


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How to choose the next token; the defaults are those of Gemma.

    Raises RequestError for a value outside its range.
    """

    greedy: ClassVar[SamplingOptions]

    temperature: float = 1.0  # 0: greedy
    top_k: int = 64  # 0: off
    top_p: float = 0.95  # 1: off
    min_p: float = 0.0  # 0: off
    repetition_penalty: float = 1.0  # 1: off
    repeat_last_n: int = 64  # tokens that penalties look back on; -1: all, 0: off
    presence_penalty: float = 0.0  # 0: off
    frequency_penalty: float = 0.0  # 0: off
    seed: int = 0

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0.0, 1000.0)
        _check_integer("top_k", self.top_k)
        _check_number("top_p", self.top_p, 0.0, 1.0, above=True)
        _check_number("min_p", self.min_p, 0.0, 1.0)
        _check_number("repetition_penalty", self.repetition_penalty, 0.001, 1000.0)
        _check_integer("repeat_last_n", self.repeat_last_n, least=-1)
        _check_number("presence_penalty", self.presence_penalty, -1000.0, 1000.0)
        _check_number("frequency_penalty", self.frequency_penalty, -1000.0, 1000.0)
        _check_integer("seed", self.seed)

    def window(self, most: int) -> int:
        """Return how many of the last tokens penalties look back on; 0 if none do."""
        is_on = self.presence_penalty or self.frequency_penalty
        if self.repetition_penalty == 1 and not is_on:
            return 0
        return most if self.repeat_last_n < 0 else min(self.repeat_last_n, most)


def _check_number(
    name: str, value: float, low: float, high: float, *, above: bool = False
) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A comparison with NaN is false, so NaN is outside every range.
    if not is_number or not low <= value <= high or (above and value == low):
        begin = f"above {low:g} and at most" if above else f"from {low:g} to"
        refuse(name, value, f"a number {begin} {high:g}")


def _check_integer(name: str, value: int, least: int = 0) -> None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not least <= value <= _WORD:
        refuse(name, value, f"an integer from {least} to {_WORD}")


class Fault(IntEnum):
    """Why no token can be chosen; the numbers are those of shaders/sample.wgsl."""

    NONE = 0
    INFINITE = 1
    NOT_A_NUMBER = 2
    ALL_SUPPRESSED = 3


SamplingOptions.greedy = SamplingOptions(temperature=0.0)


def pack_state(
    position: int, options: SamplingOptions, window: int = 0, n_recent: int = 0
) -> bytes:
    """Pack the GPU's state for a request that goes on at a position.

    `window` is how many tokens penalties look back on, of which `n_recent` are there.
    Returns the 64 bytes of `State` in shaders/common/state.wgsl, no token sampled yet.
    """
    return _STATE.pack(
        position,
        0,  # token
        0,  # n_sampled
        options.seed,
        options.temperature,
        options.top_k,
        options.top_p,
        options.min_p,
        options.repetition_penalty,
        0,  # n_candidates
        0,  # ended
        options.presence_penalty,
        options.frequency_penalty,
        window,
        n_recent,
    )


def pack_ids(ids: Iterable[int], n_vocab: int) -> bytes:
    """Pack token ids as one bit each, in u32 words: `suppressed`, `stops` of the GPU.

    Raises RequestError for an id outside the vocabulary.
    """
    bits = bytearray(-(-n_vocab // 32) * 4)
    for token_id in ids:
        if not 0 <= token_id < n_vocab:
            raise RequestError(
                "token id", found=str(token_id), expected=f"0 to {n_vocab - 1}"
            )
        bits[token_id >> 3] |= 1 << (token_id & 7)
    return bytes(bits)


def pack_counts(ids: Iterable[int], n_vocab: int) -> bytes:
    """Pack how often each token of the vocabulary is among these."""
    counts = array("I", bytes(4 * n_vocab))
    for token_id in ids:
        counts[token_id] += 1
    return counts.tobytes()


def find_fault(logits: Sequence[float], suppressed: Collection[int] = ()) -> Fault:
    """Return what keeps the sampler from choosing; suppressed logits count, too."""
    if any(map(math.isnan, logits)):
        return Fault.NOT_A_NUMBER
    if any(map(math.isinf, logits)):
        return Fault.INFINITE
    is_open = any(i not in suppressed for i in range(len(logits)))
    return Fault.NONE if is_open else Fault.ALL_SUPPRESSED


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may be drawn."""

    id: int
    probability: float  # among the candidates
    scaled: float  # (logit - largest logit) / temperature


def candidates(
    logits: Sequence[float],
    options: SamplingOptions,
    suppressed: Collection[int] = (),
    before: Sequence[int] = (),
) -> list[Candidate]:
    """Return the tokens that the options leave, the most probable first.

    `before` are all tokens of prompt and reply so far. Empty if all are suppressed. The
    logits are finite.
    """
    kept = sorted(
        _keep(logits, options, suppressed, before), key=lambda c: (-c[1], c[0])
    )
    total = math.fsum(math.exp(scaled) for _, scaled in kept)
    return [
        Candidate(token_id, math.exp(scaled) / total, scaled)
        for token_id, scaled in kept
    ]


def choose(
    logits: Sequence[float],
    options: SamplingOptions,
    n_sampled: int,
    suppressed: Collection[int] = (),
    before: Sequence[int] = (),
) -> int:
    """Choose the next token as shaders/sample.wgsl does.

    `n_sampled` counts the draws of the request so far. There is no fault.
    """
    return min(
        (-score(scaled, options.seed, n_sampled, token_id), token_id)
        for token_id, scaled in _keep(logits, options, suppressed, before)
    )[1]


def score(scaled: float, seed: int, n_sampled: int, token_id: int) -> float:
    """Return a scaled logit plus its Gumbel noise, in float32."""
    u = (random_bits(seed, n_sampled, token_id) + 0.5) / 2.0**32
    return _float32(scaled + _float32(-math.log(-math.log(u))))


def random_bits(seed: int, draw: int, token_id: int) -> int:
    """Hash three words to one (pcg3d), as shaders/common/random.wgsl does."""
    x, y, z = ((word * 1664525 + 1013904223) & _WORD for word in (seed, draw, token_id))
    x, y, z = _mix(x, y, z)
    x, y, z = _mix(x ^ x >> 16, y ^ y >> 16, z ^ z >> 16)
    return x


def _mix(x: int, y: int, z: int) -> tuple[int, int, int]:
    x = (x + y * z) & _WORD
    y = (y + z * x) & _WORD
    z = (z + x * y) & _WORD
    return x, y, z


def _float32(value: float) -> float:
    """Round to float32; beyond its range, to infinity."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def _bounded(value: float) -> float:
    """Round to float32, within its numbers."""
    return max(-FLOAT32_MAX, min(_float32(value), FLOAT32_MAX))


def _keep(
    logits: Sequence[float],
    options: SamplingOptions,
    suppressed: Collection[int],
    before: Sequence[int],
) -> list[tuple[int, float]]:
    """Return (id, scaled logit) of the candidates by id; one if greedy."""
    values = _penalised(logits, options, suppressed, before)
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return []
    temperature = _float32(options.temperature)
    if temperature == 0:
        return [(values.index(top), 0.0)]
    threshold = -FLOAT32_MAX
    if options.top_k:
        threshold = max(threshold, heapq.nlargest(options.top_k, values)[-1])
    kept = [
        (i, _scaled(value, top, temperature))
        for i, value in enumerate(values)
        if value >= threshold
    ]
    if options.top_p < 1:
        kept = _nucleus(kept, values, _float32(options.top_p))
    min_p = _float32(options.min_p)
    return [(i, scaled) for i, scaled in kept if _float32(math.exp(scaled)) >= min_p]


def _penalised(
    logits: Sequence[float],
    options: SamplingOptions,
    suppressed: Collection[int],
    before: Sequence[int],
) -> list[float]:
    """Return the logits as numbers that can be compared, -inf for what is out."""
    values = array("f", logits).tolist()
    window = options.window(len(before))
    for i, count in Counter(before[-window:] if window else ()).items():
        values[i] = _bounded(_penalise(values[i], count, options))
    for i in suppressed:
        values[i] = -math.inf
    return values


def _penalise(value: float, count: int, options: SamplingOptions) -> float:
    penalty = _float32(options.repetition_penalty)
    if penalty != 1:
        value = _float32(value / penalty if value > 0 else value * penalty)
    frequency = _float32(count * _float32(options.frequency_penalty))
    return value - _float32(frequency + _float32(options.presence_penalty))


def _scaled(value: float, top: float, temperature: float) -> float:
    return max(_float32(_float32(value - top) / temperature), WORTHLESS)


def _nucleus(
    kept: list[tuple[int, float]], values: list[float], top_p: float
) -> list[tuple[int, float]]:
    """Return the most probable tokens that have the share `top_p` of the mass."""
    masses: dict[float, int] = {}  # by logit: equal ones stay or go together
    for i, scaled in kept:
        mass = round(_float32(_float32(math.exp(scaled)) * MASS_UNIT))
        masses[values[i]] = masses.get(values[i], 0) + mass
    wanted = _float32(top_p * _mass_value(sum(masses.values())))
    above = 0
    for value in sorted(masses, reverse=True):
        above += masses[value]
        if _mass_value(above) >= wanted:
            return [(i, scaled) for i, scaled in kept if values[i] >= value]
    return kept


def _mass_value(mass: int) -> float:
    """Convert an integer mass as radix_select.wgsl does: high part, then low."""
    return _float32(_float32(float(mass >> 14)) * 16384.0 + float(mass & 0x3FFF))
