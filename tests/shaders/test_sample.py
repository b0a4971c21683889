"""The sample kernel against its host reference, and the distribution that it draws."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from pyodide_app.gguf.metadata import FLOAT32_MAX
from pyodide_app.gpu.device import Prepared
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.kernels_steps import STOPPED
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Tensor
from pyodide_app.run import sampling
from pyodide_app.run.decoding import Sampled
from pyodide_app.run.sampling import Fault, SamplingOptions
from tests.support import gpu

INF, NAN = np.inf, np.nan
GEMMA_VOCAB = 262_144
MOST_RECENT = 300  # tokens that a window may hold, if it reaches back to the beginning
# What exp, log and divisions may shift a scaled logit plus noise on another adapter.
SCORE_ERROR = 1e-5


@dataclass(frozen=True, slots=True)
class State:
    """What the kernel leaves in the state buffer."""

    position: int
    token: int
    n_sampled: int
    n_candidates: int
    ended: int


class Sampler:
    """The kernels over one vocabulary size, `n_draws` draws to a submit."""

    def __init__(
        self, n_vocab: int, n_draws: int, n_tokens: int = 1, n_submits: int = 1
    ) -> None:
        self.bench = gpu.Bench()
        self.n_vocab, self.n_draws = n_vocab, n_draws
        n_words = -(-n_vocab // 32)
        self.logits = self.bench.buffer("logits", n_vocab * 4)
        self.suppressed = self.bench.buffer("suppressed", n_words * 4)
        self.counts = self.bench.buffer("counts", n_vocab * 4)
        self.recent = self.bench.buffer("recent", MOST_RECENT * 4)
        self.state = self.bench.buffer("state", STATE_BYTES)
        self.stops = self.bench.buffer("stops", n_words * 4)
        # The input of a pass: of all its tokens; the next is put in front.
        self.tokens = self.bench.buffer("tokens", n_tokens * 4)
        self.sampled = self.bench.buffer("sampled", n_submits * n_draws * 4)
        self.n_drawn = 0
        self.prepared = self._prepare(n_tokens)

    def _prepare(self, n_tokens: int) -> Prepared:
        def tensor(buffer: Buffer, *shape: int) -> Tensor:
            return Tensor(shape, whole(buffer))

        arena = Arena()
        ops = Ops("sample", self.bench.tuning, arena, self.state, n_tokens)
        n_words = self.stops.size // 4
        for _ in range(self.n_draws):
            ordered = ops.sample_keys(
                tensor(self.logits, 1, self.n_vocab),
                tensor(self.suppressed, n_words),
                tensor(self.counts, self.n_vocab),
            )
            ops.sample(
                ordered,
                tensor(self.tokens, n_tokens),
                tensor(self.stops, n_words),
                tensor(self.counts, self.n_vocab),
                tensor(self.recent, MOST_RECENT),
                tensor(self.sampled, self.sampled.size // 4),
            )
        plan, _ = ops.finish()
        self.bench.buffers += arena.buffers
        return asyncio.run(self.bench.device.prepare(plan))

    def start(
        self,
        logits: np.ndarray,
        options: SamplingOptions,
        *,
        suppressed: Collection[int] = (),
        before: Sequence[int] = (),
        stops: Collection[int] = (),
        tokens: Collection[int] = (),
        position: int = 0,
    ) -> None:
        """Write all inputs."""
        write = self.bench.device.write
        write(self.logits, 0, np.ascontiguousarray(logits, np.float32).tobytes())
        write(self.suppressed, 0, sampling.pack_ids(suppressed, self.n_vocab))
        write(self.stops, 0, sampling.pack_ids(stops, self.n_vocab))
        write(self.sampled, 0, bytes(self.sampled.size))
        self.n_drawn = 0
        if tokens:
            write(self.tokens, 0, np.array(tokens, np.uint32).tobytes())
        window = options.window(MOST_RECENT)
        recent = list(before)[-window:] if window else []
        write(self.counts, 0, sampling.pack_counts(recent, self.n_vocab))
        if recent:
            write(self.recent, 0, np.array(recent, np.uint32).tobytes())
        state = sampling.pack_state(position, options, window, len(recent))
        write(self.state, 0, state)

    def draw(self) -> list[int]:
        """Run the draws and return their words."""
        begin = self.n_drawn
        self.n_drawn += self.n_draws
        self.bench.device.submit(self.prepared)
        return self.bench.read(self.sampled, np.uint32)[begin : self.n_drawn].tolist()

    def read_state(self) -> State:
        """Return the state."""
        words = self.bench.read(self.state, np.uint32)
        return State(*(int(words[i]) for i in (0, 1, 2, 9, 10)))

    def counted(self) -> dict[int, int]:
        """Return how often tokens are in the window, of those that are."""
        counts = self.bench.read(self.counts, np.uint32)
        return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}

    def close(self) -> None:
        """Free everything."""
        self.bench.close()


Make = Callable[..., Sampler]


@pytest.fixture(name="make")
def make_samplers() -> Iterator[Make]:
    """Make samplers that are closed after the test."""
    made: list[Sampler] = []

    def make(n_vocab: int, n_draws: int, **sizes: int) -> Sampler:
        made.append(Sampler(n_vocab, n_draws, **sizes))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def sample(
    make: Make,
    logits: list[float] | np.ndarray,
    options: SamplingOptions,
    **inputs: object,
) -> tuple[int, State]:
    """Draw once: the token and the state."""
    sampler = make(len(logits), 1)
    sampler.start(np.array(logits, np.float32), options, **inputs)
    return sampler.draw()[0], sampler.read_state()


# -- greedy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "token"),
    [
        ([5.0], 0),
        ([1.0, 2.0], 1),
        ([7.0, 2.0, 7.0], 0),
        ([-0.0, 0.0, -1.0], 0),
        ([0.0, -0.0], 0),
        ([-3.4028235e38, -3e38], 1),
    ],
)
def test_greedy_takes_the_largest_and_the_lower_id(
    make: Make, logits: list[float], token: int
) -> None:
    assert sample(make, logits, SamplingOptions.greedy)[0] == token
    assert sampling.choose(logits, SamplingOptions.greedy, 0) == token


@pytest.mark.parametrize("n_vocab", [1, 31, 33, 257, 1025, 4099, GEMMA_VOCAB])
def test_greedy_finds_every_edge(make: Make, n_vocab: int) -> None:
    sampler = make(n_vocab, 1)
    logits = gpu.random_input(n_vocab, n_vocab)
    for token in sorted({0, n_vocab // 2, n_vocab - 1}):
        raised = logits.copy()
        raised[token] = 50.0
        sampler.start(raised, SamplingOptions.greedy)
        assert sampler.draw() == [token]
    sampler.start(np.zeros(n_vocab), SamplingOptions.greedy)
    assert sampler.draw() == [0]


# -- what leaves, and what is kept ----------------------------------------------------


def test_never_takes_a_suppressed_token(make: Make) -> None:
    logits = [9.0, 1.0, 9.0, 2.0]
    assert sample(make, logits, SamplingOptions.greedy, suppressed=[0, 2])[0] == 3
    sampler = make(4, 200)
    sampler.start(
        np.array(logits), SamplingOptions(top_p=1.0, seed=1), suppressed=[0, 2]
    )
    assert set(sampler.draw()) == {1, 3}


def test_penalises_seen_tokens_of_either_sign(make: Make) -> None:
    greedy = replace(SamplingOptions.greedy, repetition_penalty=2.0)
    assert sample(make, [4.0, 3.0], greedy, before=[0])[0] == 1  # 4 / 2 < 3
    assert sample(make, [-1.0, -1.5], greedy, before=[0])[0] == 1  # -1 * 2 < -1.5
    assert sample(make, [4.0, 1.5], greedy, before=[0])[0] == 0
    assert sample(make, [4.0, 3.0], SamplingOptions.greedy, before=[0])[0] == 0


@pytest.mark.parametrize(
    ("options", "n_candidates"),
    [
        (SamplingOptions(top_k=0, top_p=1.0), 6),
        (SamplingOptions(top_k=1, top_p=1.0), 1),
        (SamplingOptions(top_k=2, top_p=1.0), 3),  # the second and third are equal
        (SamplingOptions(top_k=3, top_p=1.0), 3),
        (SamplingOptions(top_k=99, top_p=1.0), 6),
        # Probabilities 0.5, 0.15, 0.15, 0.1, 0.07, 0.03
        (SamplingOptions(top_k=0, top_p=0.49), 1),
        (SamplingOptions(top_k=0, top_p=0.51), 3),
        (SamplingOptions(top_k=0, top_p=0.79), 3),
        (SamplingOptions(top_k=0, top_p=0.81), 4),
        (SamplingOptions(top_k=0, top_p=0.98), 6),
        (SamplingOptions(top_k=0, top_p=1e-30), 1),
        (SamplingOptions(top_k=0, top_p=1e-50), 1),  # 0 in float32
        # Of what top_k keeps, 0.8 in all: 0.62, 0.19, 0.19
        (SamplingOptions(top_k=2, top_p=0.6), 1),
        (SamplingOptions(top_k=2, top_p=0.64), 3),
        (SamplingOptions(top_k=0, top_p=1.0, min_p=0.19), 4),
        (SamplingOptions(top_k=0, top_p=1.0, min_p=0.21), 3),
        (SamplingOptions(top_k=0, top_p=1.0, min_p=1.0), 1),
        (SamplingOptions(top_k=0, top_p=0.81, min_p=0.21), 3),
        (SamplingOptions(top_k=0, top_p=1.0, min_p=0.29, temperature=0.5), 1),
        (SamplingOptions(top_k=0, top_p=1.0, min_p=0.29, temperature=2.0), 5),
    ],
)
def test_keeps(make: Make, options: SamplingOptions, n_candidates: int) -> None:
    p = np.array([0.15, 0.03, 0.5, 0.15, 0.07, 0.1])
    logits = np.log(p).astype(np.float32) + np.float32(3)
    _, state = sample(make, logits, options)
    assert state.n_candidates == n_candidates
    assert len(sampling.candidates(logits.tolist(), options)) == n_candidates


def test_a_share_that_is_reached_exactly_is_enough(make: Make) -> None:
    options = SamplingOptions(top_k=0, top_p=0.5)
    # exp of the difference is 1: equal masses, unequal logits.
    logits = [1e-8, 1.02e-8]
    assert sample(make, logits, options)[1].n_candidates == 1
    assert len(sampling.candidates(logits, options)) == 1


# -- the state ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [SamplingOptions.greedy, SamplingOptions()])
def test_advances_the_state(make: Make, options: SamplingOptions) -> None:
    sampler = make(100, 5, n_tokens=7)
    options = replace(options, presence_penalty=0.5)
    logits = gpu.random_input(1, 100, scale=4.0)
    sampler.start(logits, options, before=[3, 3], position=40)
    tokens = sampler.draw()
    state = sampler.read_state()
    assert (state.position, state.n_sampled) == (40 + 5 * 7, 5)
    assert state.token == tokens[-1]
    assert sampler.counted() == Counter([3, 3, *tokens])


def test_keeps_the_options(make: Make) -> None:
    options = SamplingOptions(0.7, 12, 0.9, 0.05, 1.1, 7, 0.25, -0.5, 77)
    sampler = make(50, 1)
    sampler.start(gpu.random_input(1, 50), options)
    sampler.draw()
    data = sampler.bench.read(sampler.state, np.uint8).tobytes()
    wanted = sampling.pack_state(0, options, 7)
    assert data[12:36] == wanted[12:36] and data[44:56] == wanted[44:56]


def test_a_penalty_follows_the_tokens_of_the_request(make: Make) -> None:
    sampler = make(8, 8)
    logits = np.arange(1, 9, dtype=np.float32)
    sampler.start(logits, replace(SamplingOptions.greedy, repetition_penalty=100.0))
    assert sampler.draw() == [7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("last_n", "tokens"),
    [
        (0, [7, 7, 7, 7, 7, 7]),
        (1, [7, 6, 7, 6, 7, 6]),
        (2, [7, 6, 5, 7, 6, 5]),
        (3, [7, 5, 6, 4, 7, 5]),
        (64, [7, 5, 4, 3, 2, 1]),
        (-1, [7, 5, 4, 3, 2, 1]),
    ],
)
def test_penalties_look_back_on_the_last_tokens_of_prompt_and_reply(
    make: Make, last_n: int, tokens: list[int]
) -> None:
    sampler, logits = make(8, 6), np.arange(1, 9, dtype=np.float32)
    options = SamplingOptions(0.0, repeat_last_n=last_n, presence_penalty=9.0)
    before = [6, 0]
    sampler.start(logits, options, before=before)
    assert sampler.draw() == tokens
    for draw, token in enumerate(tokens):
        assert sampling.choose(logits.tolist(), options, draw, (), before) == token
        before.append(token)


def test_a_frequency_counts_each_time(make: Make) -> None:
    sampler = make(3, 6)
    options = replace(SamplingOptions.greedy, frequency_penalty=1.0)
    sampler.start(np.array([2.5, 1.25, 0.0]), options)
    assert sampler.draw() == [0, 0, 1, 0, 1, 2]
    options = replace(options, frequency_penalty=-1.0)
    sampler.start(np.array([0.0, 0.5, 1.0]), options, before=[0, 0])
    assert sampler.draw() == [0] * 6


# -- the end --------------------------------------------------------------------------


@pytest.mark.parametrize("n_tokens", [1, 7])
def test_a_stop_token_is_the_last_to_change_anything(make: Make, n_tokens: int) -> None:
    sampler = make(40, 5, n_tokens=n_tokens)
    greedy = replace(SamplingOptions.greedy, repetition_penalty=100.0)
    tokens = list(range(10, 10 + n_tokens))
    # Each draw takes the next lower id; the third is a stop token.
    sampler.start(
        np.arange(1, 41), greedy, stops=[37, 5], tokens=tokens, before=[1], position=40
    )
    assert sampler.draw() == [39, 38, 37 | STOPPED, 0, 0]
    state = sampler.read_state()
    # At the last token that was run: its input is in place, its position the next.
    assert state == State(40 + 3 * n_tokens - 1, 37, 3, 1, 1)
    held = sampler.bench.read(sampler.tokens, np.uint32).tolist()
    assert held == ([38] if n_tokens == 1 else [tokens[-1], *tokens[1:]])
    assert sampler.counted() == {1: 1, 39: 1, 38: 1}


@pytest.mark.parametrize("options", [SamplingOptions.greedy, SamplingOptions(seed=2)])
def test_a_request_that_begins_anew_has_not_ended(
    make: Make, options: SamplingOptions
) -> None:
    sampler = make(40, 2)
    sampler.start(np.zeros(40), options, stops=range(40))
    assert sampler.draw()[0] >= STOPPED
    sampler.start(np.zeros(40), options)
    assert all(token < STOPPED for token in sampler.draw())
    assert sampler.read_state().ended == 0


@pytest.mark.parametrize(
    ("options", "n_vocab"),
    [(SamplingOptions.greedy, 40), (SamplingOptions(seed=2), GEMMA_VOCAB)],
)
def test_what_is_no_number_ends_the_request(
    make: Make, options: SamplingOptions, n_vocab: int
) -> None:
    sampler = make(n_vocab, 3, n_tokens=2)
    options = replace(options, frequency_penalty=0.5)
    last = n_vocab - 1
    for bad, suppressed in (
        ({0: NAN}, []),
        ({last: INF}, []),
        ({last: -INF}, []),
        ({last: -NAN, 1: INF}, []),
        ({7: NAN}, [7]),
        ({}, range(n_vocab)),
    ):
        logits = gpu.random_input(1, n_vocab)
        for token, value in bad.items():
            logits[token] = value
        masks = {"suppressed": suppressed, "before": [1]}
        sampler.start(logits, options, tokens=[8, 9], **masks)
        first, *later = sampler.draw()
        fault = sampling.find_fault(logits.tolist(), set(suppressed))
        assert fault != Fault.NONE and not any(later)
        token = next(iter(bad), 0)
        assert Sampled.from_word(first) == Sampled(token, True, fault)
        state = sampler.read_state()
        assert (state.position, state.n_sampled, state.ended) == (1, 1, 1)
        assert sampler.bench.read(sampler.tokens, np.uint32).tolist() == [9, 9]
        assert sampler.counted() == {1: 1}


# -- against the reference ------------------------------------------------------------


def flat(rng: np.random.Generator, n: int) -> np.ndarray:
    """All probabilities alike."""
    return rng.standard_normal(n) * 0.1


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    """As language models leave them: a few large, a long tail."""
    return rng.standard_normal(n) * 4.0


def repeated(rng: np.random.Generator, n: int) -> np.ndarray:
    """Many equal logits."""
    return rng.integers(-5, 6, n).astype(np.float64)


def binary(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two values alone: more equal logits than the kernel's list holds."""
    return rng.integers(0, 2, n).astype(np.float64)


def extreme(rng: np.random.Generator, n: int) -> np.ndarray:
    """All magnitudes, and the ends of the range."""
    x = np.float64(10.0) ** rng.uniform(-30, 30, n) * rng.choice([-1.0, 1.0], n)
    x[rng.random(n) < 0.1] = -FLOAT32_MAX
    x[rng.random(n) < 0.1] = FLOAT32_MAX
    x[rng.random(n) < 0.05] = 0.0
    return x


DISTRIBUTIONS = [flat, gaussian, repeated, binary, extreme]
OPTIONS = [
    SamplingOptions(),
    SamplingOptions(temperature=0.3, top_k=5),
    SamplingOptions(temperature=1.7, top_k=200, top_p=0.7, min_p=0.02),
    SamplingOptions(top_k=0, top_p=1.0),
    SamplingOptions(top_k=0, top_p=0.5),
    SamplingOptions(top_k=0, top_p=1.0, min_p=0.1),
    SamplingOptions(repetition_penalty=1.3, top_p=1.0),
    SamplingOptions(repetition_penalty=0.8, repeat_last_n=3, presence_penalty=-0.7),
    SamplingOptions(top_k=0, repeat_last_n=-1, frequency_penalty=0.9),
    SamplingOptions(temperature=1e-20),
    SamplingOptions.greedy,
]


def explains(
    logits: list[float],
    options: SamplingOptions,
    draw: int,
    got: int,
    expected: int,
    masks: dict[str, Any],
) -> bool:
    """Return whether rounding accounts for another token than the reference's.

    Either the two scores agree, or one of the two tokens lies at the edge of top-p or
    min-p, that is, is a candidate under options that differ in the sixth digit.
    """

    def kept(shift: float) -> dict[int, float]:
        shifted = replace(
            options,
            top_p=min(1.0, options.top_p * (1 + shift)),
            min_p=options.min_p * (1 - shift),
        )
        found = sampling.candidates(logits, shifted, **masks)
        return {c.id: c.scaled for c in found}

    wide, narrow = kept(1e-6), kept(-1e-6)
    if got not in wide or expected not in wide:
        return False
    scores = [
        sampling.score(wide[token], options.seed, draw, token)
        for token in (got, expected)
    ]
    return abs(scores[0] - scores[1]) <= SCORE_ERROR or not {got, expected} <= set(
        narrow
    )


def test_rounding_explains_neither_an_outsider_nor_a_loser() -> None:
    logits, options = [0.0, 1.0, 2.0, 3.0, -9.0], SamplingOptions(top_k=4, top_p=1.0)
    expected = sampling.choose(logits, options, 0)
    loser = next(i for i in range(4) if i != expected)
    assert not explains(logits, options, 0, loser, expected, {})
    assert not explains(logits, options, 0, 4, expected, {})


@pytest.mark.parametrize("n_vocab", [1, 2, 33, 1000, 5003])
def test_agrees_with_the_reference(make: Make, n_vocab: int) -> None:
    n_draws, n_all, differing = 6, 0, []
    sampler = make(n_vocab, n_draws)
    for seed, (distribution, options) in enumerate(
        (d, o) for d in DISTRIBUTIONS for o in OPTIONS
    ):
        rng = np.random.default_rng(seed)
        options = replace(options, seed=int(rng.integers(2**32)))
        logits = distribution(rng, n_vocab).astype(np.float32).tolist()
        masks = {
            "suppressed": set(rng.integers(0, n_vocab, 3).tolist()) - {0},
            "before": rng.integers(0, n_vocab, 20).tolist(),
        }
        sampler.start(np.array(logits), options, **masks)
        for draw, got in enumerate(sampler.draw()):
            expected = sampling.choose(logits, options, draw, **masks)
            n_all += 1
            if got != expected:
                case = (
                    f"{distribution.__name__} {options} draw {draw}: {got} {expected}"
                )
                assert explains(logits, options, draw, got, expected, masks), case
                differing.append(case)
            masks["before"].append(got)
    assert len(differing) <= n_all // 100, differing


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(seed=5),
        SamplingOptions(top_k=0, top_p=0.9, min_p=1e-5, seed=6),
        SamplingOptions(top_k=3000, top_p=0.99, seed=7),  # more than the list holds
        SamplingOptions(top_k=0, top_p=1.0, seed=8),
    ],
)
# The nucleus of 0.9 has 10,896 tokens, 925, 67: beyond the list, at its edge, within.
@pytest.mark.parametrize("scale", [3.0, 4.0, 5.0])
def test_agrees_over_the_vocabulary_of_gemma(
    make: Make, options: SamplingOptions, scale: float
) -> None:
    rng = np.random.default_rng(9)
    logits = (rng.standard_normal(GEMMA_VOCAB) * scale).astype(np.float32)
    sampler = make(GEMMA_VOCAB, 1)
    sampler.start(logits, options)
    got = sampler.draw()[0]
    values = logits.tolist()
    expected = sampling.choose(values, options, 0)
    assert got == expected or explains(values, options, 0, got, expected, {})
    n_expected = len(sampling.candidates(values, options))
    assert abs(sampler.read_state().n_candidates - n_expected) <= n_expected // 1000


def test_finds_what_lies_close_together(make: Make) -> None:
    # All that counts is in a chunk or two, most chunks hold nothing: one maximum bounds
    # nothing from below.
    logits = np.full(GEMMA_VOCAB, -1000.0, np.float32)
    logits[1000:1200] = np.linspace(0, 4, 200)
    values = logits.tolist()
    sampler = make(GEMMA_VOCAB, 1)
    for options in (SamplingOptions(seed=1), SamplingOptions(top_k=0, top_p=0.8)):
        sampler.start(logits, options)
        got = sampler.draw()[0]
        n_expected = len(sampling.candidates(values, options))
        assert sampler.read_state().n_candidates == n_expected
        assert got == sampling.choose(values, options, 0)


def test_survives_a_vocabulary_of_equal_logits(make: Make) -> None:
    sampler = make(GEMMA_VOCAB, 1)
    for options in (SamplingOptions(), SamplingOptions(top_k=0, top_p=0.5)):
        sampler.start(np.full(GEMMA_VOCAB, 2.5), options)
        sampler.draw()
        assert sampler.read_state().n_candidates == GEMMA_VOCAB  # all tie


def test_masses_do_not_overflow(make: Make) -> None:
    sampler = make(GEMMA_VOCAB, 1)
    # All of the largest mass, though half of them have the larger logit.
    logits = np.where(np.arange(GEMMA_VOCAB) % 2 == 0, 0.0, 1e-9)
    for top_p, n_candidates in ((0.5, GEMMA_VOCAB // 2), (0.51, GEMMA_VOCAB)):
        sampler.start(logits, SamplingOptions(top_k=0, top_p=top_p))
        sampler.draw()
        assert sampler.read_state().n_candidates == n_candidates


# -- the distribution -----------------------------------------------------------------


def chi_square(counts: np.ndarray, p: np.ndarray) -> float:
    """Return Pearson's statistic of counts against probabilities."""
    expected = counts.sum() * p
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(top_k=0, top_p=1.0, seed=11),
        SamplingOptions(temperature=2.0, top_k=9, top_p=0.9, seed=12),
    ],
)
def test_frequencies_follow_the_probabilities(
    make: Make, options: SamplingOptions
) -> None:
    logits = gpu.random_input(4, 12, scale=1.0)
    kept = sampling.candidates(logits.tolist(), options)
    sampler = make(12, 250, n_submits=40)
    sampler.start(logits, options)
    tokens = [token for _ in range(40) for token in sampler.draw()]
    counts = np.bincount(tokens, minlength=12)
    assert counts.sum() == counts[[c.id for c in kept]].sum() == 10_000
    statistic = chi_square(
        counts[[c.id for c in kept]], np.array([c.probability for c in kept])
    )
    # The 99.9 % point of chi-square, by the Wilson-Hilferty approximation.
    freedom = len(kept) - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < bound


def test_a_seed_repeats_and_another_differs(make: Make) -> None:
    sampler = make(500, 50)
    runs = []
    for seed in (1, 1, 2):
        sampler.start(gpu.random_input(2, 500), SamplingOptions(seed=seed))
        runs.append(sampler.draw())
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) > 10  # draws of one request differ
