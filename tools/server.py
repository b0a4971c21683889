"""Serve `dist/` on loopback, to this page only."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
DEFAULT_PORT = 8421
N_PORTS_TRIED = 20

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gguf": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".wgsl": "text/wgsl; charset=utf-8",
    ".whl": "application/zip",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}

# Pyodide compiles WebAssembly and evaluates no text, hence 'wasm-unsafe-eval' alone.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Accept-Ranges": "bytes",
}


Refresh = Callable[[], object]


def no_more() -> None:
    """Leave the folder as it is."""


class PageServer(ThreadingHTTPServer):
    """A server of one folder on loopback."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0, refresh: Refresh = no_more) -> None:
        """Bind to a port; 0 takes a free one. Raises OSError when it is taken.

        `refresh` brings the folder up to date; it is called before the page loads.
        """
        self.folder = folder.resolve()
        self.refresh = refresh
        super().__init__((HOST, port), PageHandler)
        names = (HOST, "localhost")
        self.hosts = {f"{name}:{self.server_port}" for name in names}
        self.origins = {f"http://{host}" for host in self.hosts}

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind without the base class's look-up of the machine's name."""
        # SO_REUSEADDR lets two servers share a port on Windows.
        self.allow_reuse_address = hasattr(socket, "AF_UNIX")
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]


class PageHandler(BaseHTTPRequestHandler):
    """Answer GET and HEAD for files of the folder, whole or one range of one."""

    protocol_version = "HTTP/1.1"
    server: PageServer
    tag = ""  # the entity tag of the file in hand

    def do_GET(self) -> None:
        """Send a file, or the range asked for."""
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send a file's headers."""
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        """Answer one request; faults become a status without a body."""
        self.tag = ""
        if not self.comes_from_page():
            return self.refuse(HTTPStatus.FORBIDDEN)
        path = self.find_file()
        if path is None:
            return self.refuse(HTTPStatus.NOT_FOUND)
        status = path.stat()
        self.tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if self.headers.get("If-None-Match") == self.tag:
            return self.refuse(HTTPStatus.NOT_MODIFIED)
        with contextlib.suppress(ConnectionError), path.open("rb") as file:
            self.send_file(file, status.st_size, TYPES[path.suffix], with_body)

    def comes_from_page(self) -> bool:
        """Tell whether the request is from our page, against DNS rebinding."""
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in self.server.hosts and (
            origin is None or origin in self.server.origins
        )

    def find_file(self) -> Path | None:
        """Return the file asked for; None if it is not there or not in the folder."""
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if name == "index.html":
            self.server.refresh()
        try:
            path = (self.server.folder / name).resolve()
            inside = path.is_relative_to(self.server.folder) and path.is_file()
        except (OSError, ValueError):
            return None
        return path if inside and path.suffix in TYPES else None

    def send_file(self, file: BinaryIO, size: int, kind: str, with_body: bool) -> None:
        """Send the headers and, if asked, the bytes."""
        wanted = byte_range(self.headers.get("Range", ""), size)
        if wanted is not None and not wanted:
            return self.refuse(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                {"Content-Range": f"bytes */{size}"},
            )
        whole = wanted is None
        sent = range(size) if wanted is None else wanted
        self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(sent)))
        if wanted is not None:
            span = f"{wanted.start}-{wanted.stop - 1}"
            self.send_header("Content-Range", f"bytes {span}/{size}")
        self.end_headers()
        if with_body:
            copy_range(file, self.wfile, sent)

    def refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        """Answer with a status and no body."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def end_headers(self) -> None:
        """Add the headers that every answer carries."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.tag:
            self.send_header("ETag", self.tag)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal quiet: the browser's own tools show requests."""


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes that a Range header asks for: an empty range if there are none.

    None stands for the whole file: there is no header, or it is one to be ignored
    (several ranges, another unit, an end before the beginning).
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    first, last = match.groups() if match else ("", "")
    if first and last and int(last) < int(first):
        return None
    if first:
        return range(int(first), min(size, int(last) + 1) if last else size)
    return range(max(0, size - int(last)), size) if last else None


def copy_range(file: BinaryIO, target: BufferedIOBase, wanted: range) -> None:
    """Copy a range of a file in chunks."""
    file.seek(wanted.start)
    left = len(wanted)
    while left and (chunk := file.read(min(left, 1 << 20))):
        target.write(chunk)
        left -= len(chunk)


def open_server(
    folder: Path, port: int | None, refresh: Refresh = no_more
) -> PageServer:
    """Open a server on the port, or on the first free one from the default on."""
    if port is not None:
        return PageServer(folder, port, refresh)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + N_PORTS_TRIED):
        with contextlib.suppress(OSError):
            return PageServer(folder, candidate, refresh)
    return PageServer(folder, refresh=refresh)
