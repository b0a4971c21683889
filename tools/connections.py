"""A server of HTTP whose connections are bounded: in number, and in what they wait."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any

POLL = 0.1  # s: how soon a full server sees that it is to end


class BoundedServer(ThreadingHTTPServer):
    """A thread for each connection, for so many at once; the others wait their turn.

    A browser opens six to a server, some of them only in case. When all places are
    taken, the connection that has asked for nothing for longest is closed: a browser
    opens another when it needs one. Those that are being answered are never closed.
    """

    daemon_threads = True
    request_queue_size = 128  # with a short one, new connections wait a second
    max_connections = 128
    request_seconds = 30.0  # for a request to arrive whole, and between two
    # Without a byte being taken: a tab that sleeps for minutes loses its place.
    send_seconds = 300.0
    linger_seconds = 1.0  # for a client to take an answer that it did not wait for

    def __init__(self, *arguments: Any) -> None:
        """Bind as the base class does."""
        self._places = BoundedSemaphore(self.max_connections)
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        # Those that have asked for nothing yet, or no more; the longest first.
        self._waiting: dict[socket.socket, None] = {}
        self._leaving: socket.socket | None = None  # to make place for another
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, or raise OSError while there is no place for it."""
        if not self._places.acquire(blocking=False):
            self._free_a_place()
            if not self._places.acquire(timeout=POLL):
                raise BlockingIOError("all connections are being answered")
        try:
            connection, address = super().get_request()
        except BaseException:
            self._places.release()
            raise
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; it has been accepted, and this is called once."""
        with contextlib.suppress(OSError):
            self._linger(request)
        with self._lock:
            self._open.discard(request)
            self._waiting.pop(request, None)
        self.close_request(request)
        self._places.release()

    def server_close(self) -> None:
        """Close the server and all connections, also those being answered."""
        super().server_close()
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a fault of ours; that a connection broke is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def set_waiting(self, connection: socket.socket, waiting: bool) -> None:
        """Note whether a connection waits for a request, or is being answered."""
        with self._lock:
            self._waiting.pop(connection, None)
            if waiting:
                self._waiting[connection] = None

    def _free_a_place(self) -> None:
        with self._lock:
            if self._leaving not in self._open and self._waiting:
                self._leaving = next(iter(self._waiting))
                del self._waiting[self._leaving]
                _cut(self._leaving)  # its thread reads the end, and closes it

    def _linger(self, connection: socket.socket) -> None:
        """Read what the client still sends: closed with that unread, it is reset.

        It would then lose the answer, such as that its request is too long.
        """
        connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + self.linger_seconds
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return


def _cut(connection: socket.socket) -> None:
    """End a connection that another thread reads from or writes to."""
    with contextlib.suppress(OSError):  # it has broken by itself
        connection.shutdown(socket.SHUT_RDWR)


class BoundedHandler(BaseHTTPRequestHandler):
    """A handler for which a request must arrive in time, and an answer be taken."""

    server: BoundedServer

    def setup(self) -> None:
        """Read requests through a clock."""
        super().setup()
        self.rfile.close()
        self._arriving = _Arriving(self.connection)
        self.rfile = io.BufferedReader(self._arriving)

    def handle_one_request(self) -> None:
        """Wait for a request, and answer it."""
        self._arriving.until = time.monotonic() + self.server.request_seconds
        self.server.set_waiting(self.connection, True)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Parse the request; what is sent from now on waits for the client."""
        parsed = super().parse_request()
        self.server.set_waiting(self.connection, False)
        self.connection.settimeout(self.server.send_seconds)
        return parsed


class _Arriving(io.RawIOBase):
    """What a connection receives until some time, however slowly it arrives."""

    until = 0.0

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive some bytes, none at the end. Raises TimeoutError."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not arrive in time")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
