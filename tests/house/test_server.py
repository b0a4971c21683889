"""The local server: what it answers, and what it refuses."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest

from tools import server

CONTENT = bytes(range(256)) * 8192  # 2 MiB: more than one chunk
SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[server.PageServer]:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("secret")
    folder = outside / "dist"
    (folder / "folder").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    for name in ("engine", "downloads"):
        (folder / name).mkdir()
        (folder / name / "worker.js").write_text("// a worker")
    (folder / "model.gguf").write_bytes(CONTENT)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "key.pem").write_text("not a kind of file that a page has")
    for suffix in server.TYPES:
        (folder / f"kind{suffix}").write_text("x")
    opened = server.open_server(folder, 0)
    threading.Thread(target=opened.serve_forever, daemon=True).start()
    yield opened
    opened.shutdown()
    opened.server_close()


def ask(page, path, method="GET", **headers):
    """Return the response and its body."""
    connection = http.client.HTTPConnection(server.HOST, page.server_port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=names)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_sends_the_page_with_its_protections(page):
    response, body = ask(page, "/")
    assert (response.status, body) == (200, b"<!doctype html>")
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    policy = response.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    assert response.getheader("Cross-Origin-Opener-Policy") == "same-origin"
    assert response.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
    assert response.getheader("Cache-Control") == "no-cache"


def test_lets_the_download_worker_alone_reach_other_origins(page):
    policies = {
        path: ask(page, path)[0].headers.get_all("Content-Security-Policy")
        for path in ("/", "/engine/worker.js", "/downloads/worker.js")
    }
    free = policies.pop("/downloads/worker.js")
    own = "connect-src 'self'"
    assert all(len(p) == 1 and f"; {own};" in p[0] for p in policies.values())
    assert free == [policies["/"][0].replace(own, "connect-src https: http:")]


@pytest.mark.parametrize("suffix", sorted(server.TYPES))
def test_names_the_type_of_each_kind_of_file(page, suffix):
    response, body = ask(page, f"/kind{suffix}")
    assert (response.status, body) == (200, b"x")
    assert response.getheader("Content-Type") == server.TYPES[suffix]


@pytest.mark.parametrize("suffix", [".js", ".mjs"])
def test_modules_have_the_type_that_browsers_ask_for(suffix):
    assert server.TYPES[suffix].startswith("text/javascript")


REFUSED = {
    "dot segments": ("/../secret.txt", {}, 404),
    "encoded dot segments": ("/%2e%2e/secret.txt", {}, 404),
    "encoded slash": ("/..%2fsecret.txt", {}, 404),
    "backslashes": ("/..\\secret.txt", {}, 404),
    "absolute path": ("//etc/hosts.txt", {}, 404),
    "NUL": ("/index.html%00.txt", {}, 404),
    "name too long": ("/" + "x" * 5000 + ".txt", {}, 404),
    "link out of the folder": ("/link.txt", {}, 404),
    "folder": ("/folder", {}, 404),
    "absent": ("/absent.js", {}, 404),
    "kind of file that no page has": ("/key.pem", {}, 404),
    "other host": ("/", {"Host": "example.org"}, 403),
    "other host, our port": ("/", {"Host": "example.org:{port}"}, 403),
    "our host, other port": ("/", {"Host": "localhost:1"}, 403),
    "other origin": ("/", {"Origin": "http://example.org"}, 403),
    "opaque origin": ("/", {"Origin": "null"}, 403),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(page, name):
    path, headers, status = REFUSED[name]
    headers = {k: v.format(port=page.server_port) for k, v in headers.items()}
    response, body = ask(page, path, **headers)
    assert (response.status, body) == (status, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_reads_only(page, method):
    assert ask(page, "/", method)[0].status == 501


@pytest.mark.parametrize("host", [server.HOST, "localhost"])
def test_answers_to_its_own_names(page, host):
    address = f"{host}:{page.server_port}"
    response, _ = ask(page, "/", Host=address, Origin=f"http://{address}")
    assert response.status == 200


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=5-9": (5, 10),
    "bytes=0-": (0, SIZE),
    f"bytes={SIZE - 1}-": (SIZE - 1, SIZE),
    f"bytes=10-{SIZE * 9}": (10, SIZE),
    "bytes=-3": (SIZE - 3, SIZE),
    f"bytes=-{SIZE * 9}": (0, SIZE),
}


@pytest.mark.parametrize("header", RANGES)
def test_sends_a_range(page, header):
    begin, end = RANGES[header]
    response, body = ask(page, "/model.gguf", Range=header)
    assert response.status == 206
    assert body == CONTENT[begin:end]
    assert response.getheader("Content-Range") == f"bytes {begin}-{end - 1}/{SIZE}"


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", "bytes=-0", f"bytes={1 << 80}-"])
def test_says_when_no_byte_is_in_the_range(page, header):
    response, body = ask(page, "/model.gguf", Range=header)
    assert (response.status, body) == (416, b"")
    assert response.getheader("Content-Range") == f"bytes */{SIZE}"


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "lines=0-1", "bytes=9-5", "x"])
def test_ignores_a_range_that_it_does_not_know(page, header):
    response, body = ask(page, "/model.gguf", Range=header)
    assert (response.status, body) == (200, CONTENT)


def test_sends_an_empty_file(page):
    assert ask(page, "/empty.txt")[1] == b""
    assert ask(page, "/empty.txt", Range="bytes=0-0")[0].status == 416


def test_head_sends_the_size_alone(page):
    response, body = ask(page, "/model.gguf", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == str(SIZE)


def test_does_not_send_again_what_the_browser_has(page):
    tag = ask(page, "/model.gguf")[0].getheader("ETag")
    response, body = ask(page, "/model.gguf", If_None_Match=tag)
    assert (response.status, body) == (304, b"")


def test_brings_the_folder_up_to_date_when_the_page_is_loaded(page, monkeypatch):
    calls = []
    monkeypatch.setattr(page, "refresh", lambda: calls.append("page"))
    ask(page, "/model.gguf")
    assert not calls
    ask(page, "/")
    assert calls == ["page"]


def test_takes_another_port_when_the_default_is_taken(page, monkeypatch):
    monkeypatch.setattr(server, "DEFAULT_PORT", page.server_port)
    with server.open_server(page.folder, None) as other:
        assert other.server_port != page.server_port


def test_does_not_move_from_a_port_that_was_asked_for(page):
    with pytest.raises(OSError, match=r"[Aa]ddress|[Pp]ort"):
        server.open_server(page.folder, page.server_port)
