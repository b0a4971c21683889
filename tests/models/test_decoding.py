"""The decode loop on the GPU: any number of tokens per submit gives the same reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.load.passes import STEP
from pyodide_app.run import decoding
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.pace import Adaptive, Fixed, Single
from pyodide_app.run.sampling import SamplingOptions
from tests.models.native import GREEDY, generate, greedy, opened
from tests.support.golden_data import committed_cases
from tests.support.gpu import device

CASE = next(case for case in committed_cases() if case.model == "moe8")
PLE = next(case for case in committed_cases() if case.model == "ple")
DRAWN = SamplingOptions(temperature=1.5, top_k=0, top_p=0.9, seed=7)
PENALISED = SamplingOptions(temperature=0.8, repetition_penalty=1.4, seed=8)
SIZES = [1, 2, 5, 16]


@contextmanager
def paced(n_tokens: int, **options: Any) -> Iterator[Engine]:
    """Load a model that decodes so many tokens per submit."""
    with opened(CASE.gguf, **options) as engine:
        engine.pace = Fixed(n_tokens)
        yield engine


def start(engine: Engine, prompt: str = "p20", **options: Any) -> AsyncGenerator:
    """Begin a greedy request without an end."""
    return engine.generate(
        CASE.ids(prompt), sampling=GREEDY, ignore_eos=True, **options
    )


def in_cache(engine: Engine) -> list[int]:
    """Return what the engine says is in the cache, once the next request has proven it.

    That request reuses all of it, and gives what a fresh engine gives.
    """
    ids = list(engine.cached_ids)
    prompt = [*ids, 5]
    reused = generate(engine, prompt, sampling=GREEDY, max_tokens=6, ignore_eos=True)
    assert reused.n_reused == len(ids)
    engine.cached_ids = []
    fresh = generate(engine, prompt, sampling=GREEDY, max_tokens=6, ignore_eos=True)
    assert fresh.n_reused == 0 and fresh.ids == reused.ids
    return ids


# -- the same tokens ------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, PENALISED])
def test_tokens_do_not_depend_on_the_batch(sampling: SamplingOptions) -> None:
    replies = []
    with opened(CASE.gguf) as engine:
        for pace in (Single(), *map(Fixed, SIZES), Adaptive()):
            engine.pace = pace
            end = generate(
                engine,
                CASE.ids("p20"),
                sampling=sampling,
                max_tokens=32,
                ignore_eos=True,
            )
            replies.append(end.ids)
            assert end.reason == "length"
    assert set(replies) == {replies[0]}
    if sampling is GREEDY:
        assert list(replies[0]) == CASE.greedy("p20")


@pytest.mark.parametrize("n_tokens", SIZES)
def test_a_stop_token_ends_a_reply_in_the_middle_of_a_batch(n_tokens: int) -> None:
    expected = CASE.greedy("p20")
    with paced(n_tokens) as engine:
        for n in (0, 1, 6, 9):
            n_before = expected.index(expected[n])
            engine._stop_ids = frozenset({expected[n]})
            end = generate(engine, CASE.ids("p20"), sampling=GREEDY, max_tokens=30)
            assert (end.reason, list(end.ids)) == ("stop", expected[:n_before])
            # Steps behind the end have run, and changed nothing.
            assert in_cache(engine) == CASE.ids("p20") + expected[:n_before]


@pytest.mark.parametrize("n_tokens", SIZES)
def test_the_longest_reply_ends_in_the_middle_of_a_batch(n_tokens: int) -> None:
    ids = CASE.ids("p20")
    with paced(n_tokens) as engine:
        for n_most in (1, 2, 7, 18):
            end = generate(
                engine, ids, sampling=GREEDY, max_tokens=n_most, ignore_eos=True
            )
            expected = CASE.greedy("p20")[:n_most]
            assert (end.reason, list(end.ids)) == ("length", expected)
            assert in_cache(engine) == ids + expected[:-1]


@pytest.mark.parametrize("n_tokens", SIZES)
@pytest.mark.parametrize("n_room", [1, 8])
def test_the_context_is_full_in_the_middle_of_a_batch(
    n_tokens: int, n_room: int
) -> None:
    ids = CASE.ids("p20")
    with paced(n_tokens, n_ctx=len(ids) + n_room - 1) as engine:
        end = generate(engine, ids, sampling=GREEDY, ignore_eos=True)
        assert (end.reason, end.n_generated) == ("context", n_room)
        assert list(end.ids) == CASE.greedy("p20")[:n_room]
        assert len(engine.cached_ids) == engine.n_ctx
        # Nothing was written beyond the end: the full cache still serves its prompt.
        again = generate(engine, ids, sampling=GREEDY, max_tokens=1, ignore_eos=True)
        assert (again.ids, again.n_reused) == (end.ids[:1], len(ids) - 1)


# -- ends from outside ----------------------------------------------------------------


@pytest.mark.parametrize("n_tokens", SIZES)
def test_closing_early_leaves_the_engine_ready(n_tokens: int) -> None:
    async def read_some(engine: Engine, n: int) -> list[int]:
        items = start(engine)
        read = [await anext(items) for _ in range(n)]
        await items.aclose()
        return read

    known = CASE.ids("p20") + CASE.greedy("p20")
    with paced(n_tokens) as engine:
        for n in (1, 3, 8):
            assert asyncio.run(read_some(engine, n)) == CASE.greedy("p20")[:n]
            held = in_cache(engine)
            # All that was queued counts, for it is in the cache.
            assert held[: len(known)] == known[: len(held)]
            assert len(held) >= len(CASE.ids("p20")) + n - 1


def test_a_ring_that_was_written_ahead_is_not_taken_for_older() -> None:
    # 80 tokens and what is decoded go round the ring of 32 + 64 slots.
    async def read_some(engine: Engine) -> None:
        items = start(engine, "p80")
        for _ in range(20):
            await anext(items)
        await items.aclose()

    with paced(16) as engine:
        asyncio.run(read_some(engine))
        assert len(engine.cached_ids) > 96
        for n in (99, 85, 60, 20):
            prompt = [*engine.cached_ids[:n], 5]
            got = generate(engine, prompt, sampling=GREEDY, max_tokens=3)
            engine.cached_ids = []
            fresh = generate(engine, prompt, sampling=GREEDY, max_tokens=3)
            assert got.ids == fresh.ids
            asyncio.run(read_some(engine))


def test_going_back_twice_counts_from_the_furthest_that_was_written() -> None:
    ids = CASE.ids("p80") + CASE.greedy("p80")  # 112 tokens, in rings of 32 + 64 slots
    prompts = [ids, [*ids[:78], 5], [*ids[:40], 5]]  # each back by less than 64
    with opened(CASE.gguf) as engine:
        got = [greedy(engine, prompt, 3) for prompt in prompts]
        for prompt, found in zip(prompts, got, strict=True):
            engine.cached_ids = []
            assert greedy(engine, prompt, 3) == found


def test_closing_a_chat_early_frees_the_engine_at_once() -> None:
    async def twice(engine: Engine) -> None:
        for _ in range(2):
            messages = [{"role": "user", "content": "Hello"}]
            events = engine.chat(messages, sampling=GREEDY, max_tokens=12)
            await anext(events)
            await events.aclose()

    with paced(2) as engine:
        asyncio.run(twice(engine))


class Clock:
    """Time that passes by what the GPU does: so long for each token."""

    def __init__(self, token: float) -> None:
        self.now, self.token = 0.0, token
        self.free = 0.0  # when the GPU has done what is queued
        self._run = device().run

    def __call__(self) -> float:
        return self.now

    def run(self, prepared: Any, view: Any, times: int = 1) -> Awaitable[bytes]:
        """Run, and let the time pass when the answer is waited for."""
        self.free = max(self.free, self.now) + times * self.token
        return self._answer(self._run(prepared, view, times), self.free)

    async def _answer(self, data: Awaitable[bytes], done: float) -> bytes:
        self.now = max(self.now, done)
        return await data


@pytest.mark.parametrize(
    ("token", "n_most"), [(0.2, 1), (0.06, 1), (0.01, 5), (0.003, 16), (0.001, 32)]
)
def test_stop_leaves_no_more_than_a_token_or_50_ms_of_work(
    monkeypatch: pytest.MonkeyPatch, token: float, n_most: int
) -> None:
    async def work_after_stop(engine: Engine, n_read: int) -> int:
        items = start(engine)
        for _ in range(n_read):
            assert isinstance(await anext(items), int)
        engine.stop()
        before, begin = device().counters["dispatches"], clock.now
        waiting = round((clock.free - begin) / token)
        end = await anext(items)
        assert isinstance(end, Finished)
        assert (end.reason, end.n_generated) == ("stopped", n_read)
        assert device().counters["dispatches"] == before, "more was submitted"
        assert clock.now - begin <= max(token, 0.05) + 1e-9
        return waiting

    clock = Clock(token)
    monkeypatch.setattr(device(), "run", clock.run)
    monkeypatch.setattr(decoding, "perf_counter", clock)
    with opened(CASE.gguf, n_ctx=300) as engine:
        found = [asyncio.run(work_after_stop(engine, n)) for n in (1, 40, 80)]
    # The first reply begins with one token; later there is more where it is fast.
    assert found[0] == 1
    assert max(found) <= n_most
    assert max(found) >= n_most // 2


# -- costs and failures ---------------------------------------------------------------


@pytest.mark.parametrize("n_tokens", SIZES)
def test_a_batch_is_one_call_one_submit_and_no_object(n_tokens: int) -> None:
    def counted(engine: Engine, n_batches: int) -> dict[str, int]:
        engine.cached_ids = []
        before = dict(device().counters)
        n_most = 1 + n_batches * n_tokens
        generate(
            engine,
            CASE.ids("p20"),
            sampling=GREEDY,
            max_tokens=n_most,
            ignore_eos=True,
        )
        return {name: n - before[name] for name, n in device().counters.items()}

    with paced(n_tokens) as engine:
        n_dispatches = len(engine.passes.record(STEP).finish()[0].dispatches)
        counted(engine, 6)
        few, many = counted(engine, 2), counted(engine, 6)
    assert {name: many[name] - few[name] for name in many} == {
        "submits": 4,
        "dispatches": 4 * n_tokens * n_dispatches,
        "host_calls": 4,
        "bytes_uploaded": 0,
        "bytes_read": 4 * n_tokens * 4,
        "objects": 0,
    }


def test_a_failed_read_is_told_and_the_cache_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, n_runs = device().run, 0

    async def failed(data: Awaitable[bytes]) -> bytes:
        await data
        raise errors.DeviceError("the GPU refused what it was asked to do")

    def failing(*arguments: Any) -> Awaitable[bytes]:
        nonlocal n_runs
        n_runs += 1
        data = run(*arguments)
        return failed(data) if n_runs == 3 else data  # the second batch

    with paced(4) as engine:
        monkeypatch.setattr(device(), "run", failing)
        with pytest.raises(errors.DeviceError):
            generate(engine, CASE.ids("p20"), sampling=GREEDY, ignore_eos=True)
        assert n_runs == 4, "the batch behind it was not awaited"
        assert engine.cached_ids == []
        again = generate(
            engine, CASE.ids("p20"), sampling=GREEDY, max_tokens=9, ignore_eos=True
        )
        assert list(again.ids) == CASE.greedy("p20")[:9]


def test_a_refused_write_leaves_the_engine_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise errors.DeviceError("the GPU refused what it was asked to do")

    with paced(4) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(device(), "write", refuse)
            with pytest.raises(errors.DeviceError):
                generate(engine, CASE.ids("p20"), sampling=GREEDY)
        end = generate(
            engine, CASE.ids("p20"), sampling=GREEDY, max_tokens=3, ignore_eos=True
        )
        assert list(end.ids) == CASE.greedy("p20")[:3]


def test_the_end_says_what_decoding_has_read() -> None:
    with paced(4, kv="f16", n_ctx=300) as engine:
        end = generate(
            engine, CASE.ids("p20"), sampling=GREEDY, max_tokens=21, ignore_eos=True
        )
        fit, config = engine.loaded.fit, engine.loaded.model.config
    assert (end.n_dispatches, end.weight_bytes) == (fit.n_dispatches, fit.step_bytes)
    n_keys = end.n_prompt + 10  # at the middle of the reply
    assert n_keys > max(layer.window for layer in config.layers) > 0
    assert end.kv_bytes == sum(
        2 * 2 * a.n_kv_heads * a.head_dim * (a.window or n_keys) for a in config.layers
    )
    assert end.tokens_per_second == pytest.approx(20 / end.decode_seconds)
    read = 20 * (end.weight_bytes + end.kv_bytes) / end.decode_seconds
    assert end.bytes_per_second == pytest.approx(read)


def test_penalties_look_back_on_prompt_and_reply() -> None:
    """On the prompt's own tokens, too, and on none before the window."""
    ids = CASE.ids("p20")
    with opened(CASE.gguf, n_ctx=200) as engine:
        plain = generate(engine, ids, sampling=GREEDY, max_tokens=20, ignore_eos=True)
        found = {}
        for last_n in (-1, 1, 0):
            options = replace(GREEDY, presence_penalty=100.0, repeat_last_n=last_n)
            end = generate(
                engine, ids, sampling=options, max_tokens=20, ignore_eos=True
            )
            found[last_n] = [ids[-1], *end.ids]
    assert found[0][1:] == list(plain.ids)
    assert len(set(ids) | set(found[-1])) == len(set(ids)) + 20
    assert all(a != b for a, b in pairwise(found[1]))


@pytest.mark.parametrize("value", [0, -1, 2.0, 1e300, float("nan"), True, "9"])
def test_a_longest_reply_that_is_none_is_refused(value: object) -> None:
    with opened(CASE.gguf, n_ctx=64) as engine:
        with pytest.raises(errors.RequestError, match="max_tokens") as caught:
            generate(engine, [2, 5], max_tokens=value)
        assert caught.value.found == repr(value)
        generate(engine, [2, 5], max_tokens=1 << 70, sampling=GREEDY)
