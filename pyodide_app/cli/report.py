"""What the verbs print: pieces of a reply, its figures, how far something is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pyodide_app.load.loader import Progress
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat import ContentDelta, ThinkingDelta, ToolCall


def show(event: object) -> None:
    """Print a piece of a reply; thoughts go to stderr."""
    if isinstance(event, ContentDelta):
        print(event.text, end="", flush=True)
    elif isinstance(event, ThinkingDelta):
        print(event.text, end="", flush=True, file=sys.stderr)
    elif isinstance(event, ToolCall):
        print(f"[{event.name} {json.dumps(event.arguments)}]")


def speed(end: Finished, predicted: float | None) -> str:
    """Say how a reply ended and how fast it was, beside what could have been."""
    prefill, decode = end.prefill_tokens_per_second, end.tokens_per_second
    share = ""
    if predicted:
        percent = 100 * decode / predicted
        share = f", predicted at most {predicted:.1f}/s ({percent:.0f} %)"
    is_empty = end.reason == "stop" and not end.n_generated
    how = "the model ended its reply at once" if is_empty else end.reason
    return (
        f"[{how}: prompt {end.n_prompt} tokens at {prefill:.1f}/s, "
        f"reply {end.n_generated} tokens at {decode:.1f}/s{share}]"
    )


def result(end: Finished, text: str) -> dict[str, Any]:
    """Return a whole reply as JSON can hold it."""
    return {
        "ids": list(end.ids),
        "text": text,
        "reason": end.reason,
        "n_prompt": end.n_prompt,
        "n_generated": end.n_generated,
        "prefill_seconds": end.prefill_seconds,
        "decode_seconds": end.decode_seconds,
    }


def parts(events: Sequence[object]) -> dict[str, Any]:
    """Return the parts of a reply as JSON can hold them."""
    return {
        "thinking": "".join(e.text for e in events if isinstance(e, ThinkingDelta)),
        "content": "".join(e.text for e in events if isinstance(e, ContentDelta)),
        "tool_calls": [
            {"name": e.name, "arguments": e.arguments}
            for e in events
            if isinstance(e, ToolCall)
        ],
    }


def progress(found: Progress) -> None:
    """Show how much of the weights is read."""
    if found.stage == "weights":
        share("loading", found.done, found.total)


def share(what: str, done: int, total: int) -> None:
    """Show how much of something is done, on a terminal only."""
    if sys.stderr.isatty():
        percent = 100 * done // max(total, 1)
        end = "\n" if done == total else ""
        print(f"\r{what} {percent:3d} %", end=end, flush=True, file=sys.stderr)
