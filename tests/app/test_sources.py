"""Tests of the byte sources: files that vanish or change, and the browser's sources."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pyodide_app.errors import SourceError
from pyodide_app.gguf.sources import ByteSource, BytesSource, FileSource
from tests.samples.gguf_bytes import build_gguf

DATA = bytes(range(256)) * 40
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(DATA)
    return file


@pytest.fixture(params=["file", "bytes"])
def source(request: pytest.FixtureRequest, path: Path) -> Iterator[ByteSource]:
    made = FileSource(path) if request.param == "file" else BytesSource(DATA, path.name)
    with closing(made):
        yield made


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 0), (0, 1), (7, 300), (0, len(DATA)), (len(DATA),) * 2]
)
def test_reads_exactly_the_range(source: ByteSource, begin: int, end: int) -> None:
    assert (source.name, source.size) == ("model.gguf", len(DATA))
    assert asyncio.run(source.read(begin, end)) == DATA[begin:end]


@pytest.mark.parametrize(
    ("begin", "end"), [(-1, 3), (5, 4), (0, len(DATA) + 1), (1 << 60, (1 << 60) + 1)]
)
def test_refuses_a_range_outside(source: ByteSource, begin: int, end: int) -> None:
    with pytest.raises(SourceError, match="found 10240 bytes in it"):
        asyncio.run(source.read(begin, end))


def test_fills_a_buffer_in_place(path: Path) -> None:
    buffer = bytearray(b"." * 12)
    with closing(FileSource(path)) as source:
        source.read_into(250, memoryview(buffer)[2:10])
    assert buffer == b".." + DATA[250:258] + b".."


def test_threads_may_read_at_once(path: Path) -> None:
    failures: list[int] = []

    def read_often(source: FileSource, begin: int) -> None:
        for _ in range(200):
            if source.read_sync(begin, begin + 50) != DATA[begin : begin + 50]:
                failures.append(begin)

    with closing(FileSource(path)) as source:
        threads = [
            threading.Thread(target=read_often, args=(source, 100 * i + i))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_reads_beyond_four_gibibytes(path: Path) -> None:
    os.truncate(path, 5 << 30)  # sparse: it takes no room
    with path.open("r+b") as file:
        file.seek((4 << 30) + 10)
        file.write(b"far away")
    with closing(FileSource(path)) as source:
        assert source.size == 5 << 30
        assert source.read_sync((4 << 30) + 10, (4 << 30) + 18) == b"far away"


def test_keeps_the_file_when_its_path_is_replaced_or_removed(path: Path) -> None:
    with closing(FileSource(path)) as source:
        other = path.with_name("other")
        other.write_bytes(b"other")
        other.replace(path)
        assert source.read_sync(0, 9) == DATA[:9]
        path.unlink()
        assert source.read_sync(1, 9) == DATA[1:9]


@pytest.mark.parametrize("size", [len(DATA) // 2, len(DATA) * 2])
def test_notices_a_file_whose_size_changes(path: Path, size: int) -> None:
    with closing(FileSource(path)) as source:
        os.truncate(path, size)
        with pytest.raises(SourceError, match=f"found {size} bytes; expected 10240"):
            source.read_sync(0, 4)


def test_notices_a_file_that_is_written_in_place(path: Path) -> None:
    with closing(FileSource(path)) as source:
        with path.open("r+b") as file:
            file.write(b"changed")
        os.utime(path, ns=(0, 1))  # whatever the clock's resolution
        with pytest.raises(SourceError, match="has changed while it was in use"):
            source.read_sync(0, 4)


def test_a_closed_file_is_a_typed_error(path: Path) -> None:
    source = FileSource(path)
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.read_sync(0, 1)


def test_names_why_a_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file") as caught:
        FileSource(tmp_path / "absent.gguf")
    assert caught.value.remedy == "Check the path."
    with pytest.raises(SourceError, match="found a directory; expected a file"):
        FileSource(tmp_path)
    with pytest.raises(SourceError, match="null byte"):
        FileSource("a\0b")


def test_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="no regular file"):
        FileSource(tmp_path / "pipe")


# ---- the browser's sources, in Pyodide on Node.js ------------------------------------

MODEL = build_gguf(
    {
        "general.architecture": "gemma4",
        "strings": ["s" * (i % 9) for i in range(90_000)],
    },
    [("w", (1 << 16,), "F32", bytes(range(256)) * 1024)],
)


class RangeServer(BaseHTTPRequestHandler):
    """Serves MODEL; the last part of the path says how it misbehaves."""

    protocol_version = "HTTP/1.1"
    n_requests = 0

    def do_GET(self) -> None:
        """Answer a range request."""
        case = self.path.split("?")[0].rpartition("/")[2]
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match
        begin, end = int(match[1]), int(match[2]) + 1
        first = end == 1
        if case == "absent":
            return self.answer(404, b"", {})
        if case == "no-ranges":
            return self.answer(200, MODEL, {})
        if case == "silent":
            return self.answer(206, MODEL[begin:end], {})
        size = len(MODEL)
        if not first and case == "shorter":
            end -= 1
        if not first and case == "grown":
            size += 1
        etag = '"two"' if not first and case == "changed" else '"one"'
        place = f"bytes {begin}-{end - 1}/{size}"
        headers = {"Content-Range": place, "ETag": etag}
        return self.answer(206, MODEL[begin:end], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up, as it may

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), RangeServer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


if shutil.which("node") and (ROOT / "web/node_modules/pyodide").exists():

    def test_blob_and_url_sources_in_pyodide(server: str, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(MODEL)
        here = Path(__file__).parent
        run = subprocess.run(
            ["node", here / "pyodide_sources.mjs", ROOT, tmp_path, server],
            capture_output=True,
            text=True,
            timeout=120,
        )
        # A failure quotes Pyodide's own one-line source: leave such lines out.
        lines = [
            line for line in (run.stdout + run.stderr).splitlines() if len(line) < 3000
        ]
        assert run.returncode == 0, "\n".join(lines)
        assert lines[-1] == "all checks passed"
