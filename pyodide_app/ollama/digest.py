"""SHA-256 of whole files, in pieces: whether a file holds what its name says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from pyodide_app.errors import FileFormatError, RequestError
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.ollama.manifest import parse_digest

CHUNK_BYTES = 4 << 20  # that are read and hashed at a time

Tell = Callable[[int, int], None]
"""Is told the bytes done, and in all."""


async def sha256(source: ByteSource, tell: Tell = lambda *_: None) -> str:
    """Return the SHA-256 of a source as hexadecimal digits.

    The next piece is read while one is hashed. Cancelling the task ends it.
    """
    digest = hashlib.sha256()
    edges = [*range(0, source.size, CHUNK_BYTES), source.size]
    ahead = _read(source, edges, 0)
    try:
        for i, end in enumerate(edges[1:], 1):
            data = await ahead
            ahead = _read(source, edges, i)
            digest.update(data)
            tell(end, source.size)
    finally:
        ahead.cancel()
    return digest.hexdigest()


def _read(source: ByteSource, edges: list[int], i: int) -> asyncio.Future[bytes]:
    """Begin to read the piece number i; there is nothing after the last."""
    begin, end = edges[i], edges[min(i + 1, len(edges) - 1)]
    return asyncio.ensure_future(source.read(begin, end))


async def verify(
    source: ByteSource, digest: str, name: str = "", tell: Tell = lambda *_: None
) -> None:
    """Hold a blob of Ollama's to its digest; `name` is a model that it belongs to.

    Raises: FileFormatError when its bytes are not those that the digest names.
    """
    found = await sha256(source, tell)
    if found == digest:
        return
    raise FileFormatError(
        f"the blob {source.name} is damaged",
        found=f"SHA-256 {found}",
        expected=f"SHA-256 {digest}, as its name says",
        # Ollama takes a blob that is there for a good one.
        remedy="Delete this file, then "
        + (f"run: ollama pull {name}" if name else "pull the model again with Ollama."),
    )


async def verify_blobs(
    sources: Sequence[ByteSource], name: str = "", tell: Tell = lambda *_: None
) -> int:
    """Hold blobs to the digests that are their names; returns the bytes of all.

    Raises: RequestError for another name, before anything is read of that file, and
    what `verify` raises.
    """
    total, before = sum(source.size for source in sources), 0

    def tell_all(done: int, _: int) -> None:
        tell(before + done, total)

    for source in sources:
        if not (digest := parse_digest(source.name)):
            raise RequestError(
                f"the file {source.name} cannot be checked",
                found="a name without a digest",
                expected="the name of a blob: sha256-…",
            )
        await verify(source, digest, name, tell_all)
        before += source.size
    return total
