"""Checks of the browser's byte sources, run inside Pyodide by pyodide_sources.mjs."""

from __future__ import annotations

import sys
from typing import Any

sys.path.insert(0, "/lapidary")

from pyodide.ffi import JsException

from pyodide_app.browser.blobs import BlobSource, UrlSource
from pyodide_app.errors import SourceError
from pyodide_app.gguf.reader import read_gguf


async def fails(work: Any, fragment: str) -> None:
    """Check that a coroutine raises a SourceError that says `fragment`."""
    try:
        await work
    except SourceError as error:
        assert fragment in str(error), str(error)
        assert error.remedy
    else:
        raise AssertionError(f"no error for: {fragment}")


async def check_reading(source: Any, read_length: Any) -> None:
    """Check a whole header, a range, a range outside, and the reader for stream.js."""
    file = await read_gguf([source])
    assert file.architecture == "gemma4"
    strings = file.metadata.get_strings("strings").to_list()
    assert strings == ["s" * (i % 9) for i in range(90_000)]
    tensor = file.tensors["w"]
    data = await source.read(tensor.offset + 100, tensor.offset + 400)
    assert data == (bytes(range(256)) * 3)[100:400]
    assert await source.read(5, 5) == b""
    await fails(source.read(0, source.size + 1), "cannot read bytes 0 to")
    assert await read_length(source.reader, 10, 1000) == 990
    # Far larger than any message: the bytes themselves stay in JavaScript.
    assert await read_length(source.reader, 0, source.size) == source.size
    source.close()


async def check_refusals(server: str, read_length: Any) -> None:
    """Check what servers may do wrong, when opening and later."""
    await fails(UrlSource.open(f"{server}/absent"), "HTTP status 404")
    await fails(UrlSource.open(f"{server}/no-ranges"), "HTTP status 200")
    await fails(UrlSource.open(f"{server}/silent"), "hidden from this page")
    await fails(UrlSource.open("http://127.0.0.1:1/x"), "cannot read http://127.0.0.1")
    for case, fragment in (
        ("shorter", "with the range bytes 5-43/"),
        ("grown", "with the range bytes 5-44/"),
        ("changed", "has changed on the server"),
    ):
        source = await UrlSource.open(f"{server}/{case}")
        await fails(source.read(5, 45), fragment)
        try:
            await read_length(source.reader, 5, 45)
        except JsException as error:
            assert fragment in str(source.source_error(error))
        else:
            raise AssertionError(f"reader, {case}: no error")


async def main(blob: Any, server: str, read_length: Any) -> None:
    """Run all checks; `read_length` uses a reader as stream.js does."""
    blob_source = BlobSource(blob)
    assert blob_source.name == "blob"
    url_source = await UrlSource.open(f"{server}/models/model.gguf?key=1#part")
    assert url_source.name == "model.gguf"
    assert url_source.size == blob_source.size
    await check_reading(blob_source, read_length)
    await check_reading(url_source, read_length)
    await check_refusals(server, read_length)
    print("all checks passed")
