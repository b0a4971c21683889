"""SHA-256 in pieces: the digest, what is told meanwhile, and how it can be ended."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from pyodide_app.errors import FileFormatError, RequestError, SourceError
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.ollama.digest import CHUNK_BYTES, sha256, verify, verify_blobs

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 5]


class SlowSource(BytesSource):
    """Lets others run while it is read, and remembers what was asked for."""

    asked = 0

    async def read(self, begin: int, end: int) -> bytes:
        assert end - begin <= CHUNK_BYTES
        self.asked = max(self.asked, end)
        await asyncio.sleep(0)
        return self.read_sync(begin, end)


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_is_that_of_the_whole(size: int) -> None:
    told: list[tuple[int, int]] = []
    source = SlowSource(content(size))
    found = asyncio.run(sha256(source, lambda *share: told.append(share)))
    assert found == hashlib.sha256(content(size)).hexdigest()
    assert [total for _, total in told] == [size] * -(-size // CHUNK_BYTES)
    assert not told or told[-1] == (size, size)


def test_can_be_taken_back_between_two_pieces() -> None:
    source = SlowSource(content(9 * CHUNK_BYTES))

    async def cancel_soon() -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(sha256(source, lambda *_: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_soon())
    assert 0 < source.asked < 9 * CHUNK_BYTES


def test_a_source_that_fails_is_told() -> None:
    class Shrunk(SlowSource):
        async def read(self, begin: int, end: int) -> bytes:
            if begin:
                raise SourceError("gone")
            return await super().read(begin, end)

    with pytest.raises(SourceError, match="gone"):
        asyncio.run(sha256(Shrunk(content(3 * CHUNK_BYTES))))


def test_damage_is_told_with_both_digests_and_a_way_out() -> None:
    good = hashlib.sha256(b"good").hexdigest()
    asyncio.run(verify(BytesSource(b"good", f"sha256-{good}"), good))
    bad = BytesSource(b"goof", f"sha256-{good}")
    with pytest.raises(FileFormatError, match=f"the blob sha256-{good}") as caught:
        asyncio.run(verify(bad, good))
    assert hashlib.sha256(b"goof").hexdigest() in caught.value.found
    assert good in caught.value.expected and "Ollama" in caught.value.remedy


def blob(data: bytes) -> BytesSource:
    return BytesSource(data, f"sha256-{hashlib.sha256(data).hexdigest()}")


def test_blobs_are_held_to_their_names_one_after_the_other() -> None:
    told: list[tuple[int, int]] = []
    sources = [blob(content(CHUNK_BYTES + 1)), blob(b"more")]
    n_bytes = asyncio.run(verify_blobs(sources, tell=lambda *share: told.append(share)))
    total = CHUNK_BYTES + 5
    assert n_bytes == total
    assert told == [(n, total) for n in (CHUNK_BYTES, CHUNK_BYTES + 1, total)]


def test_a_file_whose_name_is_no_digest_is_refused() -> None:
    with pytest.raises(RequestError, match=r"model\.gguf cannot be checked"):
        asyncio.run(verify_blobs([blob(b"good"), BytesSource(b"x", "model.gguf")]))
    damaged = BytesSource(b"goof", blob(b"good").name)
    with pytest.raises(FileFormatError, match="ollama pull tiny"):
        asyncio.run(verify_blobs([blob(b"more"), damaged], "tiny"))
