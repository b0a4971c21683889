"""Byte sources of the browser: a Blob (a chosen or dropped file) and a URL.

`reader` is for stream.js, which moves weights from there to the GPU: a JavaScript
function `(begin, end)` that promises an ArrayBuffer, so that the bytes never enter the
WebAssembly heap. A promise that fails carries no Python exception through JavaScript:
`source_error` turns what arrives in Python into the typed error.
"""

from __future__ import annotations

import re
from typing import Any

from js import AbortController, Object, fetch
from pyodide.ffi import JsException, create_proxy, to_js

from pyodide_app.errors import SourceError
from pyodide_app.gguf.sources import check_range
from pyodide_app.gguf.strings import printable

CHOOSE_AGAIN = "Choose the file again."


class BlobSource:
    """A JavaScript Blob or File; the browser refuses a file that has changed."""

    def __init__(self, blob: Any) -> None:
        """Wrap the Blob."""
        self.blob = blob
        self.name = printable(str(getattr(blob, "name", None) or "blob"))
        self.size = int(blob.size)
        self.reader = create_proxy(self._array_buffer)

    def _array_buffer(self, begin: int, end: int) -> Any:
        return self.blob.slice(begin, end).arrayBuffer()

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range."""
        check_range(self.name, self.size, begin, end)
        try:
            buffer = await self._array_buffer(begin, end)
        except JsException as error:
            raise self.source_error(error) from error
        return _to_bytes(self.name, buffer, end - begin)

    def source_error(self, error: Any) -> SourceError:
        """Return the typed error for a failure of `reader`."""
        return _failure(self.name, error, CHOOSE_AGAIN)

    def close(self) -> None:
        """Give the JavaScript function back; `reader` must not be called any more."""
        self.reader.destroy()


class UrlSource:
    """A file on a server that answers range requests."""

    def __init__(self, url: str, size: int, etag: str) -> None:
        """Wrap a URL of known size; `UrlSource.open` asks the server for it."""
        self.url = url
        self.name = url.split("?")[0].split("#")[0].rstrip("/").rpartition("/")[2]
        self.size = size
        self._etag = etag
        self._refusal: SourceError | None = None
        self.reader = create_proxy(self._array_buffer)

    @classmethod
    async def open(cls, url: str) -> UrlSource:
        """Ask for the first byte, and learn the size from the answer.

        Raises: SourceError when there is no such file or the server sends no ranges.
        """
        abort = AbortController.new()
        try:
            response = await fetch(url, _range_options(0, 1, abort.signal))
        except JsException as error:
            raise _failure(url, error, "Check the address and the network.") from error
        content_range = str(response.headers.get("Content-Range") or "")
        match = re.fullmatch(r"bytes 0-0/(\d+)", content_range)
        status = int(response.status)
        abort.abort()  # a server that ignores ranges is sending the whole file
        if status != 206 or match is None:
            raise _wrong_answer(url, status, content_range)
        return cls(url, int(match[1]), str(response.headers.get("ETag") or ""))

    def _array_buffer(self, begin: int, end: int) -> Any:
        """Promise the range; it is refused when the answer is another one."""

        def check(response: Any) -> Any:
            content_range = str(response.headers.get("Content-Range") or "")
            expected = f"bytes {begin}-{end - 1}/{self.size}"
            etag = str(response.headers.get("ETag") or "")
            if int(response.status) != 206 or content_range != expected:
                status = int(response.status)
                self._refusal = _wrong_answer(self.url, status, content_range)
                raise self._refusal
            if etag != self._etag:
                self._refusal = _changed(self.url)
                raise self._refusal
            return response.arrayBuffer()

        return fetch(self.url, _range_options(begin, end)).then(check)

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range."""
        check_range(self.name, self.size, begin, end)
        if begin == end:
            return b""  # there is no such range in HTTP
        try:
            buffer = await self._array_buffer(begin, end)
        except JsException as error:
            raise self.source_error(error) from error
        return _to_bytes(self.name, buffer, end - begin)

    def source_error(self, error: Any) -> SourceError:
        """Return the typed error for a failure of `reader`."""
        return self._refusal or _failure(self.url, error, "Check the network.")

    def close(self) -> None:
        """Give the JavaScript function back; `reader` must not be called any more."""
        self.reader.destroy()


def _range_options(begin: int, end: int, signal: Any = None) -> Any:
    options: dict[str, Any] = {
        "headers": {"Range": f"bytes={begin}-{end - 1}"},
        # A copy of gigabytes in the browser's HTTP cache helps nobody.
        "cache": "no-store",
    }
    if signal is not None:
        options["signal"] = signal
    return to_js(options, dict_converter=Object.fromEntries)


def _to_bytes(name: str, buffer: Any, n_bytes: int) -> bytes:
    data: bytes = buffer.to_bytes()
    if len(data) != n_bytes:
        raise SourceError(
            f"cannot read {name}",
            found=f"{len(data)} bytes",
            expected=f"{n_bytes} bytes",
            remedy=CHOOSE_AGAIN,
        )
    return data


def _failure(name: str, error: Any, remedy: str) -> SourceError:
    return SourceError(f"cannot read {name}", found=str(error), remedy=remedy)


def _changed(url: str) -> SourceError:
    return SourceError(
        f"{url} has changed on the server while it was in use",
        remedy="Load the model again.",
    )


def _wrong_answer(url: str, status: int, content_range: str) -> SourceError:
    found = f"HTTP status {status}"
    if status == 206:
        found += f" with the range {content_range or '(hidden from this page)'}"
    remedy = "Check the address."
    if status in (200, 206):
        remedy = "Use a server that answers range requests, or download the file."
    return SourceError(
        f"cannot read {url} by range",
        found=found,
        expected="status 206 with the range that was asked for",
        remedy=remedy,
    )
