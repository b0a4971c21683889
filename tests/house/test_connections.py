"""The local server's connections: slow, stuck, broken, and too many of them."""

from __future__ import annotations

import errno
import http.client
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tools import server

PATIENCE = 60  # s: for what happens at once on an idle machine
# Far more than sockets buffer: nobody is done sending it before it is read.
BIG = 64 << 20
PAGE = b"<!doctype html>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(PAGE)
    (tmp_path / "big.gguf").touch()
    os.truncate(tmp_path / "big.gguf", BIG)
    return tmp_path


def until(holds: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def serving(folder: Path, **limits: float) -> Iterator[server.PageServer]:
    """Serve with other limits than the usual ones."""
    kind = type("Limited", (server.PageServer,), limits)
    with kind(folder) as page:
        threading.Thread(target=page.serve_forever, args=[0.01], daemon=True).start()
        yield page
        page.shutdown()
    until(lambda: not page._open)  # all threads have ended


def connect(page: server.PageServer) -> socket.socket:
    return socket.create_connection((server.HOST, page.server_port), PATIENCE)


def request(page: server.PageServer, path: str = "/", method: str = "GET") -> bytes:
    host = f"{server.HOST}:{page.server_port}"
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def answer(client: socket.socket) -> http.client.HTTPResponse:
    """Return the answer, its body unread."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response


def ask(page: server.PageServer, path: str = "/") -> bytes:
    """Return the body that a new connection gets."""
    with connect(page) as client:
        client.sendall(request(page, path))
        return answer(client).read()


def is_ended(client: socket.socket) -> bool:
    """Wait for the end of a connection of which nothing is to come."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


# -- many ----------------------------------------------------------------------------


def test_lets_fifty_connect_before_it_accepts_one(folder):
    with ExitStack() as clients, server.PageServer(folder) as page:
        for _ in range(50):  # one that must wait fails: nothing is accepted here
            clients.enter_context(connect(page))


def test_answers_beside_a_hundred_that_ask_for_nothing(folder):
    with serving(folder) as page, ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(connect(page)).sendall(b"GET / HT")
        assert ask(page) == PAGE


def test_closes_what_has_asked_for_nothing_for_longest_when_it_is_full(folder):
    def is_last_to_wait(client: socket.socket) -> bool:
        waiting = list(page._waiting)
        return bool(waiting) and waiting[-1].getpeername() == client.getsockname()

    with serving(folder, max_connections=3) as page, ExitStack() as clients:
        first, second, third = (clients.enter_context(connect(page)) for _ in range(3))
        until(lambda: len(page._waiting) == 3)
        for client in (second, third, first):
            client.sendall(request(page))
            assert answer(client).read() == PAGE
            until(partial(is_last_to_wait, client))
        assert ask(page) == PAGE
        assert is_ended(second)
        for client in (third, first):  # one place was enough
            client.sendall(request(page))
            assert answer(client).read() == PAGE


def test_lets_others_wait_while_all_are_being_answered(folder):
    with serving(folder, max_connections=2) as page, ExitStack() as clients:
        busy = [clients.enter_context(connect(page)) for _ in range(2)]
        for client in busy:
            client.sendall(request(page, "/big.gguf"))
        answers = [answer(client) for client in busy]
        late = clients.enter_context(connect(page))
        late.sendall(request(page))
        assert select.select([late], [], [], 0.2)[0] == []
        assert len(answers[0].read()) == BIG
        assert answer(late).read() == PAGE
        assert len(answers[1].read()) == BIG


# -- slow ----------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_ends_a_connection_whose_request_does_not_arrive(folder, begun):
    with serving(folder, request_seconds=0.2) as page, connect(page) as client:
        client.sendall(begun)
        assert is_ended(client)


def test_ends_a_connection_whose_request_arrives_by_the_byte(folder):
    with serving(folder, request_seconds=0.2) as page, connect(page) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        client.settimeout(0.02)
        with pytest.raises((ConnectionError, EOFError)):
            for _ in range(PATIENCE * 50):
                client.sendall(b"x")
                try:
                    if not client.recv(1):
                        raise EOFError
                except TimeoutError:
                    pass


def test_does_not_wait_for_a_body(folder):
    with serving(folder) as page, connect(page) as client:
        head = request(page, "/", "POST").removesuffix(b"\r\n")
        client.sendall(head + b"Content-Length: 10\r\n\r\n")
        assert answer(client).status == 501


def test_gives_up_a_client_that_takes_nothing(folder):
    limits = {"max_connections": 1, "send_seconds": 0.2, "linger_seconds": 0.2}
    with serving(folder, **limits) as page, connect(page) as stuck:
        stuck.sendall(request(page, "/big.gguf"))
        response = answer(stuck)
        assert ask(page) == PAGE  # there is one place
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


# -- odd and broken ------------------------------------------------------------------

TOO_LONG = {
    "path": (b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 300_000), 414),
    "header": (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * 300_000), 431),
    "headers": (b"GET / HTTP/1.1\r\n%s\r\n" % (b"X: y\r\n" * 50_000), 431),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_says_that_a_request_is_too_long(folder, name):
    text, status = TOO_LONG[name]
    with serving(folder) as page, connect(page) as client:
        client.sendall(text)
        assert answer(client).status == status


@pytest.mark.parametrize("target", ["http://[", "http://[::1", "//[", "http://x/\\"])
def test_knows_no_file_of_an_address_that_is_none(folder, target):
    with serving(folder) as page, connect(page) as client:
        client.sendall(request(page, target))
        assert answer(client).status == 404


def test_answers_a_client_that_has_ended_its_side(folder):
    with serving(folder) as page, connect(page) as client:
        client.sendall(request(page, "/big.gguf"))
        client.shutdown(socket.SHUT_WR)
        assert len(answer(client).read()) == BIG
        assert is_ended(client)


def test_is_silent_of_connections_that_break(folder, capsys):
    with serving(folder, max_connections=1) as page:
        for text in (b"", b"GET / HT", request(page, "/big.gguf")):
            with connect(page) as client:
                client.sendall(text)
                reset = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert ask(page) == PAGE
    assert capsys.readouterr().err == ""


def test_cuts_what_has_shrunk_while_it_was_sent(folder):
    with serving(folder) as page, connect(page) as client:
        client.sendall(request(page, "/big.gguf"))
        response = answer(client)
        os.truncate(folder / "big.gguf", 1 << 20)
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_says_that_the_disk_fails(folder, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with serving(folder) as page, monkeypatch.context() as patch:
        patch.setattr(page, "refresh", fail)
        with connect(page) as client:
            client.sendall(request(page))
            assert answer(client).status == 500
        patch.setattr(socket.socket, "sendfile", fail)
        with pytest.raises(http.client.IncompleteRead):
            ask(page, "/big.gguf")
    said = capsys.readouterr().err.splitlines()
    assert said == ["'/': Input/output error", "'/big.gguf': Input/output error"]


# -- the end -------------------------------------------------------------------------


def test_closes_all_connections_when_it_is_closed(folder):
    with ExitStack() as clients:
        with serving(folder) as page:
            idle, half, busy = (clients.enter_context(connect(page)) for _ in range(3))
            half.sendall(b"GET /")
            busy.sendall(request(page, "/big.gguf"))
            response = answer(busy)
            idle.sendall(request(page))
            assert answer(idle).read() == PAGE
        assert is_ended(idle) and is_ended(half)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


SERVE = """
import signal, sys, build
# As from a terminal; what a shell runs in the background ignores Ctrl-C from birth.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
build.bundle = lambda: Path(sys.argv[1])
options = ["--no-browser", "--no-ollama", "--no-real", "--port", "0"]
sys.exit(build.main(["serve", *options]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
def test_ctrl_c_ends_it_beside_open_connections(folder):
    command = [sys.executable, "-c", SERVE, folder]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True) as child:
        assert child.stdout and child.stderr
        port = int(child.stdout.readline().split("/ ")[0].rpartition(":")[2])
        with ExitStack() as clients:
            whole = f"GET /big.gguf HTTP/1.1\r\nHost: {server.HOST}:{port}\r\n\r\n"
            for text in ("", "GET /", whole):
                client = socket.create_connection((server.HOST, port), PATIENCE)
                clients.enter_context(client).sendall(text.encode())
            assert client.recv(1)
            child.send_signal(signal.SIGINT)
            assert child.wait(PATIENCE) == 0
        assert child.stderr.read() == ""
