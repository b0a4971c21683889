"""Messages from the page → Engine calls → messages back, all inside a worker.

The types of the messages are described in web/worker.js.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Coroutine
from typing import Any

from js import Object, postMessage
from pyodide.ffi import to_js

from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall
from pyodide_app.engine import Engine, Event, Finished
from pyodide_app.errors import DeviceLostError, EngineError, RequestError
from pyodide_app.gguf.sources_js import BlobSource, UrlSource
from pyodide_app.gpu.webgpu_js import WebGPUDevice, open_device
from pyodide_app.loader import Progress
from pyodide_app.sampling import SamplingOptions

_RUNTIME = 0  # the id of messages that answer no request
_STAGES = {
    "header": "Reading the header",
    "tokenizer": "Preparing the tokenizer",
    "weights": "Reading the weights",
    "pipelines": "Compiling the shaders",
}
_LOAD_AGAIN = "Load the model again; if that does not help, reload the page."


class Worker:
    """The one engine of this worker, its device, and the requests under way."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._device: WebGPUDevice | None = None
        self._sources: list[BlobSource | UrlSource] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._generating = _RUNTIME
        self._stopped: set[int] = set()
        self._turn = asyncio.Lock()

    def handle(self, message: Any) -> None:
        """Take one message; requests are served in order, a stop acts at once."""
        number, kind = int(message.id), str(message.kind)
        if kind == "stop":
            self._stop(number)
        elif kind == "load":
            self._start(number, self._load(number, message))
        elif kind == "generate":
            self._start(number, self._generate(number, message.to_py()))
        else:
            post_error(number, RequestError("unknown message", found=kind))

    def _start(self, number: int, request: Coroutine[Any, Any, dict[str, Any]]) -> None:
        task = asyncio.ensure_future(self._serve(number, request))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        del self._tasks[number]
        self._stopped.discard(number)

    def _stop(self, number: int) -> None:
        """End a request; a load is taken back, a reply ends after its token."""
        if number == self._generating and self.engine is not None:
            self.engine.stop()
        elif number in self._tasks:
            self._stopped.add(number)
            self._tasks[number].cancel()

    async def _serve(
        self, number: int, request: Coroutine[Any, Any, dict[str, Any]]
    ) -> None:
        """Serve one request when its turn comes; it ends in `done` or `error`."""
        try:
            async with self._turn:
                done = await request
        except asyncio.CancelledError:
            request.close()
            if number not in self._stopped:
                raise
            post(number, "done", reason="stopped")
        except Exception as error:
            post_error(number, error, kept=self.engine is not None)
        else:
            post(number, "done", **done)

    async def _load(self, number: int, message: Any) -> dict[str, Any]:
        """Load a model; the one before stays until the new file has proven sound."""
        options = message.options.to_py() if message.options else {}
        sources = await open_sources(message)
        try:
            if self._device is None:
                self._device = await open_device(on_lost=tell_lost)
            self.engine = await Engine.load(
                sources,
                self._device,
                n_ctx=options.get("n_ctx"),
                kv=options.get("kv", "f16"),
                progress=lambda progress: self._progress(number, progress),
            )
        except BaseException:
            close_all(sources)
            raise
        self._sources = sources
        return {"info": self.engine.info}

    def _progress(self, number: int, progress: Progress) -> None:
        if progress.stage == "weights":
            self._unload()
        post(
            number,
            "progress",
            stage=progress.stage,
            done=progress.done,
            total=progress.total,
            text=_STAGES.get(progress.stage, progress.stage),
        )

    def _unload(self) -> None:
        """Free the model before, if there is one, to make room."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
            close_all(self._sources)
            self._sources = []

    async def _generate(self, number: int, message: dict[str, Any]) -> dict[str, Any]:
        """Answer a conversation, token by token."""
        if self.engine is None:
            raise RequestError("no model is loaded", remedy="Choose a model file.")
        events = self.engine.chat(
            message["messages"],
            tools=message.get("tools") or (),
            think=bool(message.get("think")),
            sampling=sampling_options(message.get("sampling") or {}),
            max_tokens=message.get("max_tokens"),
        )
        self._generating = number
        try:
            async for event in events:
                if isinstance(event, Finished):
                    return finished(event)
                post_event(number, event)
        finally:
            self._generating = _RUNTIME
        raise AssertionError("a reply that never ends in Finished")


async def open_sources(message: Any) -> list[BlobSource | UrlSource]:
    """Return the byte sources that a load message names."""
    if message.files:
        return [BlobSource(file) for file in message.files]
    if message.url:
        return [await UrlSource.open(str(message.url))]
    raise RequestError("nothing to load", expected="files or a URL")


def close_all(sources: list[BlobSource | UrlSource]) -> None:
    """Give back what the sources hold."""
    for source in sources:
        source.close()


def sampling_options(options: dict[str, Any]) -> SamplingOptions:
    """Return the options under the engine's names.

    Raises: RequestError when one is unknown.
    """
    try:
        return SamplingOptions(**options)
    except TypeError as error:
        raise RequestError("unknown sampling option", found=str(error)) from error


def finished(event: Finished) -> dict[str, Any]:
    """Return the end of a reply as the page reads it."""
    return {
        "reason": event.reason,
        "ids": list(event.ids),
        "n_prompt": event.n_prompt,
        "n_reused": event.n_reused,
        "n_generated": event.n_generated,
        "prefill_seconds": event.prefill_seconds,
        "decode_seconds": event.decode_seconds,
    }


def post_event(number: int, event: Event) -> None:
    """Send a piece of a reply."""
    if isinstance(event, ThinkingDelta):
        post(number, "token", channel="thinking", text=event.text)
    elif isinstance(event, ContentDelta):
        post(number, "token", channel="content", text=event.text)
    elif isinstance(event, ToolCall):
        call = {"name": event.name, "arguments": event.arguments}
        post(number, "token", channel="tool", text=json.dumps(call, indent=2))


def post_error(number: int, error: Exception, kept: bool = False) -> None:
    """Send a typed error; `kept` says that a model is still loaded."""
    known = isinstance(error, EngineError)
    if not isinstance(error, EngineError):
        traceback.print_exception(error)
        found = f"{type(error).__name__}: {error}"
        error = EngineError("The engine failed", found=found, remedy=_LOAD_AGAIN)
    post(
        number,
        "error",
        type=type(error).__name__ if known else "RuntimeError",
        what=error.what,
        found=error.found,
        expected=error.expected,
        remedy=error.remedy,
        kept=kept,
    )


def tell_lost(message: str) -> None:
    """Tell the page that the device is gone, with a request under way or without."""
    what, remedy = "the GPU device was lost", "Load the model again."
    post_error(_RUNTIME, DeviceLostError(what, found=message, remedy=remedy))


def post(number: int, kind: str, **content: Any) -> None:
    """Send a plain object to the page."""
    message = {"id": number, "kind": kind, **content}
    postMessage(to_js(message, dict_converter=Object.fromEntries))


_worker = Worker()
handle = _worker.handle
