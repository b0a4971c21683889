"""Serve `dist/` and the models on this machine on loopback, to this page only."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from tools.connections import BoundedHandler, BoundedServer
from tools.ranges import byte_range, is_one_range

if TYPE_CHECKING:
    from tools.model_store import ModelStore
    from tools.real_models import RealModels

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


def content_security_policy(connect: str) -> str:
    """Return the policy of a page or worker that may reach the sources in `connect`."""
    # Pyodide compiles WebAssembly and evaluates no text: 'wasm-unsafe-eval' alone.
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src {connect}",
            "worker-src 'self'",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


# A worker has the policy that it is served with. This one fetches the models whose
# address a person typed; page and engine reach nothing but where they came from.
DOWNLOADER = "/downloads/worker.js"
DOWNLOADER_POLICY = content_security_policy("https: http:")
HEADERS = {
    "Content-Security-Policy": content_security_policy("'self'"),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
}
STORES = ("/ollama/", "/pulled/")  # of models: each a list, and blobs by their names
MODELS = "models.json"
BLOBS = "blobs/"
FROM_PAGE = (None, "same-origin", "none")  # Sec-Fetch-Site; none: typed by a person


Refresh = Callable[[], object]


def no_more() -> None:
    """Leave the folder as it is."""


class PageServer(BoundedServer):
    """A server of one folder, and of a store of models, on loopback."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        refresh: Refresh = no_more,
        store: ModelStore | None = None,
        pulled: RealModels | None = None,
    ) -> None:
        """Bind to a port; 0 takes a free one. Raises OSError when it is taken.

        `refresh` brings the folder up to date; it is called before the page loads.
        Without a store no model of Ollama's is listed, without `pulled` no other.
        """
        self.folder = folder.resolve()
        self.refresh = refresh
        self.store = store
        self.pulled = pulled
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


class PageHandler(BoundedHandler):
    """Answer GET and HEAD for files of the folder and blobs of the store.

    Any of them is sent whole, or one range of it.
    """

    protocol_version = "HTTP/1.1"
    # A small range would wait 40 ms for the acknowledgement of its own headers.
    disable_nagle_algorithm = True
    server: PageServer
    tag = ""  # the entity tag of the file in hand
    cache = "no-cache"
    is_begun = False  # the answer: a fault can no longer become a status

    def do_GET(self) -> None:  # noqa: N802, as http.server calls it
        """Send a file, or the range asked for."""
        self.answer(with_body=True)

    def do_HEAD(self) -> None:  # noqa: N802
        """Send a file's headers."""
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        """Answer one request; faults become a status without a body."""
        self.tag, self.cache, self.is_begun = "", "no-cache", False
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # nobody reads the body that would follow
        if not self.comes_from_page():
            return self.refuse(HTTPStatus.FORBIDDEN)
        try:
            for prefix in STORES:
                if self.path.startswith(prefix):
                    return self.answer_store(prefix, with_body)
            path = self.find_file()
            if path is None:
                return self.refuse(HTTPStatus.NOT_FOUND)
            self.send_path(path, TYPES[path.suffix], with_body)
        except (ConnectionError, TimeoutError):  # the page wants no more
            self.close_connection = True
        except OSError as error:  # of the disk
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Say that something cannot be read: by a status, or a cut where it is late."""
        print(f"{self.path!a}: {error.strerror or error}", file=sys.stderr)
        self.close_connection = True
        if not self.is_begun:
            self.tag = ""
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def answer_store(self, prefix: str, with_body: bool) -> None:
        """Send the list of models or a blob; every other path is unknown."""
        self.cache = "no-store"  # a second copy of gigabytes helps nobody
        server, below = self.server, self.path.removeprefix(prefix)
        store = server.store if prefix == STORES[0] else server.pulled
        # Without this a page of another port, the same site, could measure answers.
        if self.headers.get("Sec-Fetch-Site") not in FROM_PAGE:
            return self.refuse(HTTPStatus.FORBIDDEN)
        if below == MODELS and store is not None:
            return self.send_json(store.models(), with_body)
        if below == MODELS:  # the bundle's own says that there is none
            path, kind = self.find_file(), TYPES[".json"]
        else:
            name = below.removeprefix(BLOBS)
            path = store.find(name) if store and name != below else None
            kind = "application/octet-stream"
        if path is None:
            return self.refuse(HTTPStatus.NOT_FOUND)
        self.send_path(path, kind, with_body)

    def comes_from_page(self) -> bool:
        """Tell whether the request is from our page, against DNS rebinding."""
        hosts = self.headers.get_all("Host", [])
        origins = self.headers.get_all("Origin", [])
        return (
            len(hosts) == 1
            and hosts[0] in self.server.hosts
            and all(origin in self.server.origins for origin in origins)
        )

    def find_file(self) -> Path | None:
        """Return the file asked for; None if it is not there or not in the folder."""
        try:
            name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        except ValueError:  # such as http://[
            return None
        if name == "index.html":
            self.server.refresh()
        try:
            path = (self.server.folder / name).resolve()
            inside = path.is_relative_to(self.server.folder) and path.is_file()
        except (OSError, ValueError):
            return None
        return path if inside and path.suffix in TYPES else None

    def send_json(self, content: object, with_body: bool) -> None:
        """Send a value as JSON."""
        body = json.dumps(content, allow_nan=False).encode("ascii")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES[".json"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def send_path(self, path: Path, kind: str, with_body: bool) -> None:
        """Send a file, or the range asked for, unless the browser has it."""
        try:
            file = path.open("rb")
        except OSError:
            return self.refuse(HTTPStatus.NOT_FOUND)
        with file:
            status = os.fstat(file.fileno())
            self.tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            if self.headers.get("If-None-Match") == self.tag:
                return self.refuse(HTTPStatus.NOT_MODIFIED)
            self.send_file(file, status.st_size, kind, with_body)

    def send_file(self, file: BinaryIO, size: int, kind: str, with_body: bool) -> None:
        """Send the headers and, if asked, the bytes."""
        # A range of a file that has changed since would not fit what the page has.
        fits = self.headers.get("If-Range", self.tag) == self.tag
        header = self.headers.get("Range", "") if fits else ""
        wanted = byte_range(header, size)
        blobs = tuple(prefix + BLOBS for prefix in STORES)
        is_wrong = self.path.startswith(blobs) and not is_one_range(header)
        if is_wrong or (wanted is not None and not wanted):
            return self.refuse(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                {"Content-Range": f"bytes */{size}"},
            )
        begin, end = (wanted.start, wanted.stop) if wanted else (0, size)
        status = HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(end - begin))
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.end_headers()
        if with_body and begin < end:
            # The kernel copies where it can, else small chunks pass through.
            n_sent = self.connection.sendfile(file, begin, end - begin)
            if n_sent < end - begin:  # the file has shrunk: only a cut tells the page
                self.close_connection = True

    def refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        """Answer with a status and no body."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def end_headers(self) -> None:
        """Add the headers that every answer carries."""
        self.is_begun = True
        for name, value in {**HEADERS, **self.exceptions()}.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", self.cache)
        if self.tag:
            self.send_header("ETag", self.tag)
        super().end_headers()

    def exceptions(self) -> dict[str, str]:
        """Return the headers that differ for the file asked for."""
        # A request that is refused before it is parsed has no path.
        if getattr(self, "path", None) != DOWNLOADER:
            return {}
        return {"Content-Security-Policy": DOWNLOADER_POLICY}

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal quiet: the browser's own tools show requests."""


def open_server(
    folder: Path,
    port: int | None,
    refresh: Refresh = no_more,
    store: ModelStore | None = None,
    pulled: RealModels | None = None,
) -> PageServer:
    """Open a server on the port, or on the first free one from the default on."""
    if port is not None:
        return PageServer(folder, port, refresh, store, pulled)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + N_PORTS_TRIED):
        with contextlib.suppress(OSError):
            return PageServer(folder, candidate, refresh, store, pulled)
    return PageServer(folder, 0, refresh, store, pulled)
