"""Where the page's models lie: chosen files, addresses, and folders that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from js import AbortController, File, Object, fetch
from pyodide.ffi import JsException, to_js

from pyodide_app.browser.blobs import BlobSource, UrlSource
from pyodide_app.errors import RequestError, SourceError
from pyodide_app.gguf.directories import (
    Directory,
    Kind,
    MappedDirectory,
    OpenFile,
    check_component,
)
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.store import Store

_WHOLE = 32 << 20  # bytes; a file up to this size is fetched in one piece
_NOT_THERE = ("NotFoundError", "TypeMismatchError")  # of entries of a folder

Source = BlobSource | UrlSource
Tell = Callable[[int, int], None]  # how many bytes of how many


def names_source(message: Any) -> bool:
    """Say whether a message names a model."""
    return any(getattr(message, name, None) for name in ("files", "urls", "folder"))


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
    return {"store": store.describe(await store.entries(FAMILIES))}


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
