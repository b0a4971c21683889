"""Messages from the page → Engine calls → messages back, all inside a worker.

The types of the messages are described in web/worker.js.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from js import AbortController, File, Object, fetch, postMessage
from pyodide.ffi import JsException, to_js

from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall
from pyodide_app.engine import Engine, Event, Finished
from pyodide_app.errors import (
    DeviceLostError,
    EngineError,
    RequestError,
    SourceError,
)
from pyodide_app.gguf.directories import (
    Directory,
    Kind,
    MappedDirectory,
    OpenFile,
    check_component,
)
from pyodide_app.gguf.sources_js import BlobSource, UrlSource
from pyodide_app.gpu.webgpu_js import WebGPUDevice, open_device
from pyodide_app.loader import Progress
from pyodide_app.ollama import Store
from pyodide_app.sampling import SamplingOptions

_RUNTIME = 0  # the id of messages that answer no request
_STAGES = {
    "fetch": "Fetching the model",
    "header": "Reading the header",
    "tokenizer": "Preparing the tokenizer",
    "weights": "Reading the weights",
    "pipelines": "Compiling the shaders",
}
_WHOLE = 32 << 20  # bytes; a file up to this size is fetched in one piece
_NOT_THERE = ("NotFoundError", "TypeMismatchError")  # of entries of a folder
_LOAD_AGAIN = "Load the model again; if that does not help, reload the page."


Request = Coroutine[Any, Any, dict[str, Any]]
Source = BlobSource | UrlSource
Tell = Callable[[int, int], None]  # how many bytes of how many


class Worker:
    """The one engine of this worker, its device, and the requests under way."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._device: WebGPUDevice | None = None
        self._sources: Sequence[OpenFile] = ()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._generating = _RUNTIME
        self._turn = asyncio.Lock()

    def handle(self, message: Any) -> None:
        """Take one message; requests are served in order, a stop acts at once."""
        number, kind = int(message.id), str(message.kind)
        if kind == "stop":
            self._stop(number)
        elif kind == "load":
            self._start(number, self._load(number, message))
        elif kind == "list":
            self._start(number, list_models(message), in_turn=False)
        elif kind == "generate":
            self._start(number, self._generate(number, message.to_py()))
        else:
            post_error(number, RequestError("unknown message", found=kind))

    def _start(self, number: int, request: Request, in_turn: bool = True) -> None:
        task = asyncio.ensure_future(self._serve(number, request, in_turn))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._end(number, request))

    def _end(self, number: int, request: Request) -> None:
        """Forget a request; one that was taken back may not even have begun."""
        task = self._tasks.pop(number)
        if task.cancelled():
            request.close()
            post(number, "done", reason="stopped")

    def _stop(self, number: int) -> None:
        """End a request; a load is taken back, a reply ends after its token."""
        if number == self._generating and self.engine is not None:
            self.engine.stop()
        elif number in self._tasks:
            self._tasks[number].cancel()

    async def _serve(self, number: int, request: Request, in_turn: bool) -> None:
        """Serve one request when its turn comes; it ends in `done` or `error`."""
        try:
            async with self._turn if in_turn else contextlib.nullcontext():
                done = await request
        except Exception as error:
            post_error(number, error, kept=self.engine is not None)
        else:
            post(number, "done", **done)

    async def _load(self, number: int, message: Any) -> dict[str, Any]:
        """Load a model; the one before stays until the new file has proven sound."""
        options = message.options.to_py() if message.options else {}
        sources = await open_sources(
            message, lambda done, total: self._tell(number, "fetch", done, total)
        )
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
        self._tell(number, progress.stage, progress.done, progress.total)

    def _tell(self, number: int, stage: str, done: int, total: int) -> None:
        text = _STAGES.get(stage, stage)
        post(number, "progress", stage=stage, done=done, total=total, text=text)

    def _unload(self) -> None:
        """Free the model before, if there is one, to make room."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
            close_all(self._sources)
            self._sources = ()

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
        done: dict[str, Any] = {}
        try:
            # To the very end: until then the engine takes no other request.
            async for event in events:
                if isinstance(event, Finished):
                    done = finished(event)
                else:
                    post_event(number, event)
        finally:
            self._generating = _RUNTIME
        return done


async def open_sources(message: Any, tell: Tell) -> Sequence[OpenFile]:
    """Return the byte sources that a load message names."""
    if files := getattr(message, "files", None):
        return [BlobSource(file) for file in files]
    if urls := getattr(message, "urls", None):
        return [await open_url(str(url), tell) for url in urls]
    if folder := getattr(message, "folder", None):
        store = await Store.find(open_folder(folder))
        model = await store.resolve(str(message.model))
        return await store.open_all(model.weights)
    raise RequestError("nothing to load", expected="files, URLs or a folder's model")


async def list_models(message: Any) -> dict[str, Any]:
    """Return the models of the store in a folder, as the local server lists its own."""
    store = await Store.find(open_folder(message.folder))
    return {"store": store.describe(await store.entries())}


def open_folder(folder: Any) -> Directory:
    """Return a folder that a person chose: a handle, or files with their paths."""
    if handle := getattr(folder, "handle", None):
        return HandleDirectory(handle)
    paths = [str(path) for path in folder.paths]
    return MappedDirectory(Files(dict(zip(paths, folder.files, strict=True))))


class Files(Mapping[str, OpenFile]):
    """Chosen files by relative path; each is opened whenever it is asked for."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files

    def __getitem__(self, path: str) -> OpenFile:
        return BlobSource(self._files[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class HandleDirectory:
    """A folder of the browser's File System API: a FileSystemDirectoryHandle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def name(self) -> str:
        """Return the folder's own name; its path is hidden from pages."""
        return str(self._handle.name)

    async def entries(self) -> Mapping[str, Kind]:
        """Return the names in it."""
        found: dict[str, Kind] = {}
        listing = self._handle.entries()
        try:
            while not (item := await listing.next()).done:
                name, handle = item.value
                found[str(name)] = "file" if handle.kind == "file" else "directory"
        except JsException as error:
            raise self._unreadable(error) from error
        return found

    async def directory(self, name: str) -> HandleDirectory | None:
        """Return a folder in it, None if there is none of that name."""
        handle = await self._entry("getDirectoryHandle", name)
        return None if handle is None else HandleDirectory(handle)

    async def open(self, name: str) -> BlobSource | None:
        """Open a file in it, None if there is none of that name."""
        handle = await self._entry("getFileHandle", name)
        return None if handle is None else BlobSource(await handle.getFile())

    async def _entry(self, method: str, name: str) -> Any:
        check_component(name)
        try:
            return await getattr(self._handle, method)(name)
        except JsException as error:
            if error.name in _NOT_THERE:
                return None
            raise self._unreadable(error) from error

    def _unreadable(self, error: Any) -> SourceError:
        return SourceError(
            f"cannot read the folder {self.name}",
            found=str(error.message),
            remedy="Open the folder again.",
        )


async def open_url(url: str, tell: Tell) -> Source:
    """Fetch a small file whole, for a request per tensor takes longer; else by range.

    It also lets a server without ranges serve a small model.
    """
    abort = AbortController.new()
    options = to_js({"signal": abort.signal}, dict_converter=Object.fromEntries)
    try:
        response = await fetch(url, options)
        size = int(response.headers.get("Content-Length") or 0)
        if response.ok and 0 < size <= _WHOLE:
            parts = await read_parts(response, size, tell)
            return BlobSource(File.new(to_js(parts), url.rpartition("/")[2]))
    except JsException as error:
        raise SourceError(
            f"cannot read {url}",
            found=str(error),
            remedy="Check the network, then load the model again.",
        ) from error
    finally:
        abort.abort()
    return await UrlSource.open(url)


async def read_parts(response: Any, size: int, tell: Tell) -> list[Any]:
    """Return the body of a response in pieces, as JavaScript arrays."""
    reader = response.body.getReader()
    parts: list[Any] = []
    n_bytes = 0
    tell(0, size)
    while not (piece := await reader.read()).done:
        parts.append(piece.value)
        n_bytes += piece.value.length
        tell(n_bytes, size)
    return parts


def close_all(sources: Sequence[OpenFile]) -> None:
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
