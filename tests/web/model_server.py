"""A server of models on another origin, which fails as a test asks it to."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1 << 16
# What is slow takes minutes for a megabyte: longer than any test looks at it.
TRICKLE, TRICKLE_SECONDS = 256, 0.05


@dataclass(slots=True)
class Faults:
    """How the server behaves; the defaults are what a good one does."""

    drops: list[int] = field(default_factory=list)  # body bytes of the next answers
    slow_after: int | None = None  # body bytes after which the rest only trickles
    sized: bool = True  # whether the length is said beforehand
    ranges: bool = True
    cors: bool = True
    status: int = 0  # of every answer, in place of the right one
    passing: list[int] = field(default_factory=list)  # likewise, of the next answers
    etag: str = '"first"'
    modified: str = "Wed, 01 Jan 2025 00:00:00 GMT"
    content_range: str = ""  # in place of the right one
    exposed: str = "Content-Range, ETag"


class ModelServer(ThreadingHTTPServer):
    """Serves files from memory, and keeps what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults = Faults()
        self.log: list[tuple[str, str, str]] = []  # method, path, Range
        self.may_break = threading.Semaphore(0)  # for each connection that breaks off

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def ranges(self) -> list[str]:
        """Return the Range of each GET so far; empty where it asked for all."""
        return [range for method, _, range in self.log if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD as the faults say."""

    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_OPTIONS(self) -> None:
        """Allow what another origin's page asks for; kept in the log."""
        self.note()
        self.reply(204, b"", {"Access-Control-Allow-Headers": "Range"})

    def handle(self) -> None:
        """Serve a connection; a browser that has enough of one just drops it."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        """Send the headers."""
        self.answer(with_body=False)

    def do_GET(self) -> None:
        """Send the file, or the range asked for."""
        self.answer(with_body=True)

    def note(self) -> None:
        """Keep the request."""
        asked = self.headers.get("Range", "")
        self.server.log.append((self.command, self.path, asked))

    def answer(self, *, with_body: bool) -> None:
        """Send what was asked for, less what the faults take away."""
        self.note()
        faults = self.server.faults
        content = self.server.files.get(self.path.partition("?")[0].lstrip("/"))
        status = faults.passing.pop(0) if faults.passing else faults.status
        if status or content is None:
            return self.reply(status or 404, b"")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(match[1]) if match and faults.ranges else None
        headers = {"ETag": faults.etag, "Last-Modified": faults.modified}
        if begin is not None and begin >= len(content):
            return self.reply(416, b"", headers)
        if begin is not None:
            right = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            headers["Content-Range"] = faults.content_range or right
        status = 200 if begin is None else 206
        self.reply(status, content[begin or 0 :], headers, with_body=with_body)

    def reply(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        with_body: bool = True,
    ) -> None:
        """Send an answer with what lets other origins read it."""
        faults = self.server.faults
        self.send_response(status)
        if faults.sized or not body:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        if faults.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Expose-Headers", faults.exposed)
        for name, value in (headers or {}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if with_body and body:
            with contextlib.suppress(ConnectionError):
                self.send_body(body)

    def send_body(self, body: bytes) -> None:
        """Send it piece by piece; where it is to break off, so does the connection."""
        faults = self.server.faults
        end = faults.drops.pop(0) if faults.drops else len(body)
        at = 0
        while at < min(end, len(body)):
            is_slow = faults.slow_after is not None and at >= faults.slow_after
            piece = body[at : min(at + (TRICKLE if is_slow else CHUNK), end)]
            self.wfile.write(piece)
            self.wfile.flush()
            at += len(piece)
            time.sleep(TRICKLE_SECONDS if is_slow else 0)
        if 0 < end < len(body):
            # What a browser has not read yet is lost with the connection.
            self.server.may_break.acquire(timeout=60)
        if end < len(body) or not faults.sized:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal quiet."""


@contextlib.contextmanager
def serving() -> Iterator[ModelServer]:
    """Run a server as long as the context lasts."""
    server = ModelServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
