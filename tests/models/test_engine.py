"""The engine's requests: chat events, stopping, seeds, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.graph import tuning
from pyodide_app.load.loader import Progress
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat import ContentDelta, ThinkingDelta
from pyodide_app.text.chat.chatml import ChatML
from pyodide_app.text.chat.choice import Choice
from pyodide_app.text.chat.format import ChatFormat
from pyodide_app.text.chat.gemma4_format import Gemma4
from pyodide_app.text.chat.llama3 import Llama3
from pyodide_app.text.chat.mistral import V3_TEKKEN, V7
from pyodide_app.text.chat.templated import Templated
from tests.models.native import GREEDY, generate, opened
from tests.support.golden_data import committed_cases
from tests.support.gpu import device

CASE = next(case for case in committed_cases() if case.model == "moe8")
MESSAGES = [{"role": "user", "content": "Hello"}]


async def collect(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


def test_chat_yields_text_and_how_it_ended() -> None:
    with opened(CASE.gguf) as engine:
        events = asyncio.run(
            collect(engine.chat(MESSAGES, sampling=GREEDY, max_tokens=12))
        )
        *deltas, end = events
        assert isinstance(end, Finished)
        assert all(isinstance(d, ContentDelta | ThinkingDelta) for d in deltas)
        ids, in_thought = engine.encode_chat(MESSAGES)
        assert end.n_prompt == len(ids) and not in_thought
        assert end.n_generated == len(end.ids) <= 12
        text = "".join(d.text for d in deltas if isinstance(d, ContentDelta))
        decoder = engine.tokenizer.decoder()
        assert text == "".join(map(decoder.push, end.ids)) + decoder.finish()


def test_tokens_that_the_format_reads_reach_its_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control tokens, which no reply shows, too."""
    monkeypatch.setattr(Gemma4, "markers", ("<|think|>", "of no vocabulary"))
    with opened(CASE.gguf) as engine:
        (token,) = engine.tokenizer.encode("<|think|>")
        assert engine.tokenizer.decoder().push(token) == "<|think|>"


CALLS = [{"function": {"name": name, "arguments": {"x": 1}}} for name in "fg"]


STRANGER = Templated(
    "{% for m in messages %}{{ m.content }}{{ m.none.f if m.tool_calls }}{% endfor %}"
)


@pytest.mark.parametrize(
    "chat", [V3_TEKKEN, V7, Llama3(), Gemma4(), ChatML(), STRANGER]
)
@pytest.mark.parametrize("said", ["", "Hm."])
def test_calls_that_nobody_answers_end_no_conversation(
    chat: ChatFormat, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = {"role": "assistant", "content": said, "tool_calls": CALLS}
    with opened(CASE.gguf) as engine:
        monkeypatch.setattr(engine, "_choice", Choice(chat))
        ids, _ = engine.encode_chat([*MESSAGES, called, *MESSAGES])
        text = engine.tokenizer.decode(ids)
        assert said in text
        if chat.has_tools:
            assert text.index("f") < text.rindex("g") < text.rindex("Hello")


def test_answered_calls_that_the_format_refuses_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = {"role": "assistant", "tool_calls": CALLS}
    result = {"role": "tool", "content": "1"}
    with opened(CASE.gguf) as engine:
        monkeypatch.setattr(engine, "_choice", Choice(Llama3()))
        with pytest.raises(errors.RequestError, match="one tool in a turn"):
            engine.encode_chat([*MESSAGES, called, result])


@pytest.mark.parametrize("n", [1, 5, 11])
def test_reply_that_was_cut_goes_on_as_if_it_had_not_been(n: int) -> None:
    def reply(engine: Engine, n_most: int, begun: tuple[int, ...] = ()) -> Any:
        events = engine.chat(
            MESSAGES, sampling=GREEDY, max_tokens=n_most, begun=begun, ignore_eos=True
        )
        *deltas, end = asyncio.run(collect(events))
        assert engine.reply_ids == list(end.ids)
        return "".join(delta.text for delta in deltas), end.ids

    with opened(CASE.gguf) as engine:
        text, ids = reply(engine, 12)
        _, begun = reply(engine, n)
        assert begun == ids[:n]
        # Its text is told from the first word on: a character may lie across the cut.
        assert reply(engine, 12 - n, begun) == (text, ids[n:])
    with opened(CASE.gguf) as engine:  # loaded anew, with nothing in its cache
        assert reply(engine, 12 - n, begun) == (text, ids[n:])


def test_reply_that_begins_with_unknown_tokens_is_refused() -> None:
    with opened(CASE.gguf) as engine, pytest.raises(errors.RequestError):
        asyncio.run(collect(engine.chat(MESSAGES, begun=[10**6])))


def test_conversation_that_is_too_long_is_told_by_how_much() -> None:
    messages = [{"role": "user", "content": "gem " * 5000}]
    with opened(CASE.gguf) as engine, pytest.raises(errors.ContextFullError) as caught:
        asyncio.run(collect(engine.chat(messages)))
    n_tokens = len(engine.encode_chat(messages)[0])
    assert (caught.value.n_tokens, caught.value.n_most) == (n_tokens, engine.n_ctx)


def test_stop_ends_after_the_token_in_flight() -> None:
    async def stop_after(engine: Engine, n: int) -> Finished:
        count = 0
        async for item in engine.generate(
            CASE.ids("p20"), sampling=GREEDY, ignore_eos=True
        ):
            if isinstance(item, Finished):
                return item
            count += 1
            if count == n:
                engine.stop()
        raise AssertionError("no end")

    with opened(CASE.gguf) as engine:
        end = asyncio.run(stop_after(engine, 3))
        assert (end.reason, end.n_generated) == ("stopped", 3)
        # The engine goes on with the next request as if nothing had been.
        again = generate(
            engine, CASE.ids("p20"), sampling=GREEDY, max_tokens=32, ignore_eos=True
        )
        assert list(again.ids) == CASE.greedy("p20")


def test_stop_ends_a_long_prefill_between_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stop_soon(engine: Engine) -> Finished:
        request = asyncio.ensure_future(
            collect(engine.generate(CASE.ids("p80"), sampling=GREEDY))
        )
        while not engine.cached_ids:
            await asyncio.sleep(0)
        engine.stop()
        return (await request)[-1]

    let_others_run(monkeypatch)
    with opened(CASE.gguf, tune=replace(tuning.SOFTWARE, chunk=8)) as engine:
        end = asyncio.run(stop_soon(engine))
        assert (end.reason, end.n_generated) == ("stopped", 0)
        assert 0 < len(engine.cached_ids) < 80
        again = generate(
            engine, CASE.ids("p80"), sampling=GREEDY, max_tokens=8, ignore_eos=True
        )
        assert list(again.ids) == CASE.greedy("p80")[:8]
        assert 0 < again.n_reused < 80


def let_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other tasks run at every step, as a browser's device does."""
    run = device().run

    async def arrival(data: Awaitable[bytes]) -> bytes:
        await asyncio.sleep(0)
        return await data

    monkeypatch.setattr(device(), "run", lambda *a: arrival(run(*a)))


def test_a_long_prompt_says_how_far_it_is() -> None:
    def told(engine: Engine, prompt: str) -> list[Progress]:
        progress: list[Progress] = []
        generate(
            engine,
            CASE.ids(prompt),
            sampling=GREEDY,
            max_tokens=1,
            ignore_eos=True,
            progress=progress.append,
        )
        return progress

    n = len(CASE.ids("p80"))
    with opened(CASE.gguf, tune=replace(tuning.SOFTWARE, chunk=32)) as engine:
        assert told(engine, "p80") == [
            Progress("prompt", done, n) for done in range(0, n, 32)
        ]
        assert told(engine, "p80") == []  # all but a token is in the cache
        assert told(engine, "p20") == []  # fits in one pass


def test_a_second_request_at_once_is_refused() -> None:
    async def two(engine: Engine) -> None:
        first = engine.generate(CASE.ids("p20"), sampling=GREEDY, ignore_eos=True)
        await anext(first)
        with pytest.raises(errors.RequestError, match="busy"):
            await anext(engine.generate(CASE.ids("p20")))
        await first.aclose()
        rows = engine.logits(CASE.ids("p20"))
        await anext(rows)
        with pytest.raises(errors.RequestError, match="busy"):
            await anext(engine.generate(CASE.ids("p20")))
        await rows.aclose()
        assert isinstance(await anext(engine.generate(CASE.ids("p20"))), int)

    with opened(CASE.gguf) as engine:
        asyncio.run(two(engine))


def test_a_seed_fixes_the_reply_and_another_changes_it() -> None:
    with opened(CASE.gguf) as engine:
        replies = [
            generate(
                engine,
                CASE.ids("p20"),
                sampling=SamplingOptions(
                    temperature=2.0, top_k=0, top_p=1.0, seed=seed
                ),
                max_tokens=12,
                ignore_eos=True,
            ).ids
            for seed in (1, 1, 2)
        ]
    assert replies[0] == replies[1] != replies[2]


def test_info_says_what_runs_where() -> None:
    with opened(CASE.gguf, kv="f16", n_ctx=256) as engine:
        info = engine.info
    assert info["architecture"] == "gemma4" and info["n_experts"] == 8
    assert info["n_ctx"] == 256 and info["kv"] == "f16"
    # Three sliding layers of 2 heads of 64 keep window + chunk slots, two global ones
    # of 1 head of 128 the whole context: keys and values of two bytes.
    ring = 32 + tuning.SOFTWARE.chunk
    assert info["kv_bytes"] == 2 * 2 * (3 * ring * 2 * 64 + 2 * 256 * 128)
