"""Prompts of every length: chunks, decode, ring wrap-around, a context filled up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oracle.gemma4 import Gemma4
from pyodide_app import errors
from pyodide_app.graph import tuning
from tests.models.native import GREEDY, generate, greedy, logits, opened
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, committed_cases

F32_L2 = 5e-5
WINDOW = 32
ALL = pytest.mark.parametrize("case", committed_cases(), ids=str)


def random_ids(n: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return [2, *(int(i) for i in rng.integers(300, 1000, n - 1))]


@ALL
@pytest.mark.parametrize("n", [1, 20, WINDOW + 50])
def test_prefill_of_any_length_equals_the_oracle(case: Case, n: int) -> None:
    ids = random_ids(n)
    with opened(case.gguf) as engine:
        got = logits(engine, ids)
    assert relative_l2(got, Gemma4.open(case.gguf).forward(ids).logits) < F32_L2


@ALL
def test_chunks_equal_at_once(case: Case) -> None:
    """Chunks of more than one token run the same kernels, in the same order of sums."""
    ids = random_ids(WINDOW + 50)
    results = []
    for chunk in (128, 41, 7):
        tune = replace(tuning.SOFTWARE, chunk=chunk)
        with opened(case.gguf, tune=tune) as engine:
            results.append(logits(engine, ids))
    for other in results[1:]:
        assert relative_l2(other, results[0]) < 1e-6


@ALL
def test_decode_equals_prefill(case: Case) -> None:
    """One token at a time gives what a prefill gives: matvec against matmul."""
    ids = random_ids(WINDOW + 10)
    with opened(case.gguf) as engine:
        at_once = logits(engine, ids)
    with opened(case.gguf, tune=replace(tuning.SOFTWARE, chunk=1)) as engine:
        one_by_one = logits(engine, ids)
    assert relative_l2(one_by_one, at_once) < F32_L2


@ALL
def test_hardware_tuning_gives_the_same(case: Case) -> None:
    with opened(case.gguf, tune=replace(tuning.HARDWARE, chunk=16)) as engine:
        got = logits(engine, case.ids("p20"))
        assert greedy(engine, case.ids("p20"), 8) == case.greedy("p20")[:8]
    assert relative_l2(got, case.exact("p20")) < F32_L2


@ALL
@pytest.mark.parametrize("n_prompt", [1, 40, 63, 64])
def test_a_context_filled_to_its_end(case: Case, n_prompt: int) -> None:
    """The last position is used, the reply ends there, and every token is right."""
    n_ctx, ids = 64, random_ids(n_prompt)
    with opened(case.gguf, n_ctx=n_ctx) as engine:
        end = generate(engine, ids, sampling=GREEDY, ignore_eos=True)
        assert end.reason == "context"
        assert len(ids) + end.n_generated == n_ctx + 1  # the last is never fed back
        # Fed back as a prompt, each token is the arg-max after those before it.
        rows = logits(engine, (ids + list(end.ids))[:n_ctx])[n_prompt - 1 :]
    assert rows.argmax(axis=-1).tolist() == list(end.ids)


@ALL
def test_a_prompt_longer_than_the_context_is_refused(case: Case) -> None:
    with opened(case.gguf, n_ctx=16) as engine:
        with pytest.raises(errors.ContextFullError, match="17 tokens"):
            generate(engine, random_ids(17))
        assert generate(engine, random_ids(16), max_tokens=1).n_generated == 1


@ALL
def test_a_second_turn_reuses_the_first(case: Case) -> None:
    """Whatever the first request left behind, a reply is that of a fresh engine."""
    first = random_ids(30)
    with opened(case.gguf) as engine:
        reply = greedy(engine, first, 10)
        # An extension, a shorter prompt, one that differs early, and one far back.
        follow_ups = [
            first + reply + random_ids(5, 1),
            first[:25],
            [*first[:3], *random_ids(60, 2)],
            first[:8],
        ]
        reused, replies = [], []
        for ids in follow_ups:
            end = generate(engine, ids, sampling=GREEDY, max_tokens=8, ignore_eos=True)
            reused.append(end.n_reused)
            replies.append(list(end.ids))
    assert reused[0] >= 39 and reused[1] == 24 and reused[2] == 3
    for ids, expected in zip(follow_ups, replies, strict=True):
        with opened(case.gguf) as engine:
            assert greedy(engine, ids, 8) == expected


def test_requests_that_cannot_be_served() -> None:
    case = committed_cases()[0]
    with opened(case.gguf, n_ctx=64) as engine:
        for ids, options, text in (
            ([], {}, "empty prompt"),
            ([2, 1024], {}, "token id: found 1024"),
            ([-1], {}, "token id: found -1"),
            ([2], {"max_tokens": 0}, "max_tokens: found 0"),
        ):
            with pytest.raises(errors.RequestError, match=text):
                generate(engine, ids, **options)
        assert generate(engine, [2], max_tokens=3, ignore_eos=True).n_generated == 3
