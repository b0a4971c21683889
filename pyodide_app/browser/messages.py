"""What the worker tells the page: progress, pieces of a reply, its end, errors.

The types of the messages are described in web/engine/messages.js.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from typing import Any

from js import Object, postMessage
from pyodide.ffi import to_js

from pyodide_app.errors import (
    ContextFullError,
    DeviceError,
    DeviceLimitError,
    EngineError,
    InternalError,
    with_separators,
)
from pyodide_app.gpu import failures
from pyodide_app.run.engine import Event
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat import ContentDelta, ThinkingDelta, ToolCall

RUNTIME = 0  # the id of messages that answer no request
_STAGES = {
    "fetch": "Fetching the model",
    "header": "Reading the header",
    "kernels": "Trying this device",
    "measure": "Measuring this device",
    "tokenizer": "Preparing the tokenizer",
    "weights": "Reading the weights",
    "pipelines": "Compiling the shaders",
    "prompt": "Reading the message",
    "room": "Making room",
    "runtime": "The runtime is ready",
    "verify": "Computing the SHA-256",
}
_FAULT = (
    "Try again: a loaded model is still there. If it happens again, start a new chat "
    "or reload the page; the browser's console has the details for a report."
)


def post_progress(
    number: int, stage: str, done: int = 0, total: int = 1, **more: Any
) -> None:
    """Send how far a stage of a request is; it begins unless said."""
    told = {"stage": stage, "done": done, "total": total, **more}
    post(number, "progress", text=_STAGES.get(stage, stage), **told)


def finished(event: Finished, predicted: float | None) -> dict[str, Any]:
    """Return the end of a reply as the page reads it, beside what could have been."""
    told = {
        "reason": event.reason,
        "ids": list(event.ids),
        "n_prompt": event.n_prompt,
        "n_reused": event.n_reused,
        "n_generated": event.n_generated,
        "prefill_seconds": event.prefill_seconds,
        "decode_seconds": event.decode_seconds,
        "prefill_tokens_per_second": event.prefill_tokens_per_second,
        "tokens_per_second": event.tokens_per_second,
        "tells_speed": event.tells_speed,
        "n_keys": event.n_keys,
        "bytes_per_second": event.bytes_per_second,
        "n_dispatches": event.n_dispatches,
        "weight_bytes": event.weight_bytes,
        "kv_bytes_read": event.kv_bytes,
    }
    if predicted is not None:
        told |= {"predicted": predicted, "reached": event.tokens_per_second / predicted}
    return told


def post_event(number: int, event: Event, ids: Sequence[int], rate: float) -> None:
    """Send a piece of a reply, with the tokens that came since the one before.

    `rate` is how many come in a second, 0 where that says nothing yet.
    """
    told: dict[str, Any] = {"ids": list(ids), "tokens_per_second": rate}
    if isinstance(event, ThinkingDelta):
        told |= {"channel": "thinking", "text": event.text}
    elif isinstance(event, ContentDelta):
        told |= {"channel": "content", "text": event.text}
    elif isinstance(event, ToolCall):
        call = {"name": event.name, "arguments": event.arguments}
        told |= {"channel": "tool", "text": json.dumps(call, indent=2)}
        # As text: in JavaScript's numbers a long integer would become another.
        told |= {"name": event.name, "args": json.dumps(event.arguments)}
    post(number, "token", **told)


def post_error(number: int, error: Exception, kept: bool = False) -> None:
    """Send a typed error; `kept` says that a model is still loaded.

    Where the GPU failed and none is, the page had better start another worker.
    """
    if not isinstance(error, EngineError):
        traceback.print_exception(error)
        found = f"{type(error).__name__}: {error}"
        error = InternalError("the engine failed", found=found, remedy=_FAULT)
    of_gpu = isinstance(error, DeviceError) and not isinstance(error, DeviceLimitError)
    post(
        number,
        "error",
        type=type(error).__name__,
        what=with_separators(error.what),
        found=with_separators(error.found),
        expected=with_separators(error.expected),
        remedy=with_separators(error.remedy),
        kept=kept,
        fatal=of_gpu and not kept,
        n_ctx=error.n_ctx if isinstance(error, DeviceError) else 0,
        n_tokens=error.n_tokens if isinstance(error, ContextFullError) else 0,
        n_most=error.n_most if isinstance(error, ContextFullError) else 0,
    )


def tell_lost(message: str, times: int) -> None:
    """Tell the page that the device is gone, with a request under way or without."""
    post_error(RUNTIME, failures.lost(message, times, "the browser"))


def post(number: int, kind: str, **content: Any) -> None:
    """Send a plain object to the page."""
    message = {"id": number, "kind": kind, **content}
    postMessage(to_js(message, dict_converter=Object.fromEntries))
