"""A reply: what the page asks of the engine, and what it is told, token by token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from pyodide_app.browser.figures import Meter
from pyodide_app.browser.messages import finished, post_event, post_progress
from pyodide_app.browser.options import sampling_options
from pyodide_app.run.engine import Engine, Event
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat.plain import plain_text


async def answer(
    number: int,
    engine: Engine,
    message: Mapping[str, Any],
    predicted: Callable[[Finished], float | None],
) -> dict[str, Any]:
    """Tell the page of a reply as it grows; returns its end.

    `predicted` says how fast a reply could have been.
    """
    done: dict[str, Any] = {}
    n_told, meter = 0, Meter()
    events = _events(number, engine, message)
    # To the very end: until then the engine takes no other request.
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                done = finished(event, predicted(event))
            else:
                ids, n_told = engine.reply_ids[n_told:], len(engine.reply_ids)
                post_event(number, event, ids, meter.rate(n_told))
    return done


def _events(
    number: int, engine: Engine, message: Mapping[str, Any]
) -> AsyncGenerator[Event, None]:
    """Ask for a reply to a conversation, or for more of its text as it stands."""
    asked: dict[str, Any] = {
        "begun": message.get("begun") or (),
        "sampling": sampling_options(message.get("sampling") or {}),
        "max_tokens": message.get("max_tokens"),
        "ignore_eos": bool(message.get("ignore_eos")),
        "stop": message.get("stop") or (),
        "progress": lambda p: post_progress(number, p.stage, p.done, p.total),
    }
    messages = message.get("messages")
    if message.get("raw"):
        return engine.complete(plain_text(messages), **asked)
    return engine.chat(
        messages,
        tools=message.get("tools"),
        think=bool(message.get("think")),
        **asked,
    )
