"""Stop strings in the engine: where a reply ends, and what the next one finds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat import ContentDelta
from tests.models.native import GREEDY, generate, opened
from tests.support.golden_data import committed_cases

CASE = next(case for case in committed_cases() if case.model == "moe8")
N = 24


def write(engine: Engine, ids: list[int], **options: Any) -> tuple[str, Finished]:
    """Return the text of a reply and its end."""

    async def collect() -> list[str | Finished]:
        items = engine.generate_text(ids, sampling=GREEDY, ignore_eos=True, **options)
        return [item async for item in items]

    *texts, end = asyncio.run(collect())
    assert isinstance(end, Finished) and all(isinstance(t, str) and t for t in texts)
    return "".join(map(str, texts)), end


def pieces(engine: Engine, ids: tuple[int, ...]) -> list[str]:
    """Return what each token adds to the text."""
    decoder = engine.tokenizer.decoder()
    return [decoder.push(token) for token in ids]


def straddling(parts: list[str]) -> tuple[int, str]:
    """Find a text that begins in one token and ends in the next but one."""
    whole = "".join(parts)
    for i in range(2, len(parts) - 2):
        stop = parts[i][-1:] + parts[i + 1] + parts[i + 2][:1]
        first = whole.find(stop) == len("".join(parts[: i + 1])) - 1
        if all(parts[i : i + 3]) and first:
            return i, stop
    raise AssertionError("no text is at one place only")


def test_a_reply_ends_before_a_text_that_straddles_tokens() -> None:
    ids = CASE.ids("p20")
    with opened(CASE.gguf) as engine:
        text, free = write(engine, ids, max_tokens=N)
        i, stop = straddling(pieces(engine, free.ids))
        found, end = write(engine, ids, max_tokens=N, stop=["never there", stop])
        assert found == text[: text.index(stop)]
        assert end.reason == "stop" and end.ids == free.ids[: i + 3]
        assert end.n_generated == i + 3 and end.n_prompt == len(ids)


def test_the_first_token_and_the_last_may_hold_the_text() -> None:
    ids = CASE.ids("p20")
    with opened(CASE.gguf) as engine:
        text, free = write(engine, ids, max_tokens=N)
        assert write(engine, ids, max_tokens=N, stop=[text[:1]])[0] == ""
        parts = pieces(engine, free.ids)
        n = next(n for n in range(N, 0, -1) if parts[n - 1])
        stop = "".join(parts[:n])  # complete with the last token, at the limit
        found, end = write(engine, ids, max_tokens=n, stop=[stop])
        assert (found, end.reason, end.n_generated) == ("", "stop", n)


def test_a_text_that_only_begins_is_shown_at_the_end() -> None:
    ids = CASE.ids("p20")
    with opened(CASE.gguf) as engine:
        text, free = write(engine, ids, max_tokens=N)
        stop = f"{text[-3:]}\0"  # a vocabulary has no such text
        assert write(engine, ids, max_tokens=N, stop=[stop])[0] == text
        assert free.reason == "length"


def test_the_next_request_finds_the_cache_as_it_should_be() -> None:
    ids = CASE.ids("p20")
    with opened(CASE.gguf) as engine:
        _, free = write(engine, ids, max_tokens=N)
        _, stop = straddling(pieces(engine, free.ids))
        _, end = write(engine, ids, max_tokens=N, stop=[stop])
        again = [*ids, *end.ids]
        known = len(engine.cached_ids)
        assert engine.cached_ids == [*ids, *free.ids][:known]
        more = generate(engine, again, sampling=GREEDY, max_tokens=8, ignore_eos=True)
        assert more.n_reused >= len(again) - 1
    with opened(CASE.gguf) as fresh:
        expected = generate(
            fresh, again, sampling=GREEDY, max_tokens=8, ignore_eos=True
        )
    assert more.ids == expected.ids == free.ids[len(end.ids) :][:8]


def test_chat_ends_before_it_and_tells_why() -> None:
    async def chat(engine: Engine, **options: Any) -> tuple[str, Finished]:
        text = ""
        async for event in engine.chat(
            [{"role": "user", "content": "Hello"}],
            sampling=GREEDY,
            max_tokens=N,
            **options,
        ):
            if isinstance(event, Finished):
                return text, event
            assert isinstance(event, ContentDelta)
            text += event.text
        raise AssertionError("no end")

    with opened(CASE.gguf) as engine:
        text, _ = asyncio.run(chat(engine))
        stop = text[len(text) // 2 :][:3]
        found, end = asyncio.run(chat(engine, stop=[stop]))
        assert found == text[: text.index(stop)] and end.reason == "stop"
        with pytest.raises(errors.RequestError, match="stop"):
            asyncio.run(chat(engine, stop=[""]))
        assert asyncio.run(chat(engine))[0] == text  # the refusal left nothing behind
