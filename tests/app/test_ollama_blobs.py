"""Ollama's blobs: missing, damaged, unfinished, linked, out of the folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.gguf.directories import MappedDirectory, PathDirectory
from pyodide_app.ollama.native import open_store
from pyodide_app.ollama.store import Store
from tests.app.ollama_reading import (
    GGUF,
    VISION,
    entries,
    read_all,
    resolve,
    wait,
)
from tests.samples.ollama_store import (
    add_blob,
    add_model,
    blob_of,
    make_store,
    manifest_path,
    write_manifest,
)


def test_a_missing_blob_says_what_to_do(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob_of(root, "m:t").unlink()
    problem = entries(root)["m:t"].problem
    assert isinstance(problem, errors.SourceError)
    assert "no such file" in problem.found and str(len(GGUF)) in problem.expected
    assert "Pull" in problem.remedy


def test_an_unfinished_download_is_recognised(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob = blob_of(root, "m:t")
    blob.rename(blob.with_name(f"{blob.name}-partial"))
    blob.with_name(f"{blob.name}-partial-0").write_bytes(b"{}")
    problem = entries(root)["m:t"].problem
    assert problem is not None and problem.found == "an unfinished download"


@pytest.mark.parametrize("size", [0, len(GGUF) - 1, len(GGUF) + 1])
def test_a_blob_of_another_size_is_damaged(tmp_path: Path, size: int) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    os.truncate(blob_of(root, "m:t"), size)
    problem = entries(root)["m:t"].problem
    assert isinstance(problem, errors.FileFormatError)
    assert problem.found == f"{size} bytes"
    assert problem.expected == f"{len(GGUF)} bytes"


def test_text_needs_no_projector_and_a_missing_one_is_noted(tmp_path: Path) -> None:
    add_model(tmp_path, "m:t", [("model", GGUF), ("projector", VISION)])
    blob_of(tmp_path, "m:t", "projector").unlink()
    entry = entries(tmp_path)["m:t"]
    assert entry.problem is None and entry.model is not None
    assert entry.model.projectors == ()
    (note,) = entry.model.notes
    assert "projector" in note and "no such file" in note


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfBe brief", b"Be \xff brief"])
def test_a_system_prompt_in_another_encoding_is_read(
    tmp_path: Path, text: bytes
) -> None:
    make_store(tmp_path, {"m:t": GGUF}, extra=[("system", text)])
    model = resolve(tmp_path, "m:t")
    assert model.system in ("Be brief", "Be \ufffd brief")
    assert len(model.notes) == model.system.count("\ufffd")


def test_a_mark_of_byte_order_before_json_is_passed_over(tmp_path: Path) -> None:
    make_store(tmp_path, {"m:t": GGUF}, extra=[("params", b'\xef\xbb\xbf{"seed": 7}')])
    assert resolve(tmp_path, "m:t").options.sampling == {"seed": 7}


@pytest.mark.parametrize("depth", [65, 900, 3_000, 1_000_000])
@pytest.mark.parametrize("kind", ["params", "messages", "manifest", "config"])
def test_json_that_is_nested_too_deep_is_damaged(
    tmp_path: Path, kind: str, depth: int
) -> None:
    deep = '{"a":' * (depth % 2) + "[" * depth + "]" * depth + "}" * (depth % 2)
    if kind == "manifest":
        write_manifest(tmp_path, "m:t", f'{{"layers": {deep}}}'.encode())
    else:
        path = make_store(tmp_path, {"m:t": GGUF}, extra=[(kind, deep.encode())])
        if kind == "config":
            content = json.loads(manifest_path(path, "m:t").read_bytes())
            content["config"] |= add_blob(tmp_path, deep.encode())
            write_manifest(tmp_path, "m:t", content)
    with pytest.raises(errors.FileFormatError, match="more than 64 levels"):
        resolve(tmp_path, "m:t")


def test_brackets_in_a_text_are_no_levels(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": '[{"\\' * 500}]
    make_store(tmp_path, {"m:t": GGUF}, messages=messages)
    assert list(resolve(tmp_path, "m:t").messages) == messages


@pytest.mark.parametrize("kind", ["params", "system"])
def test_every_blob_that_is_used_must_be_there(tmp_path: Path, kind: str) -> None:
    add_model(tmp_path, "m:t", [("model", GGUF)], params={}, system="x")
    blob_of(tmp_path, "m:t", kind).unlink()
    assert isinstance(entries(tmp_path)["m:t"].problem, errors.SourceError)


def test_a_folder_or_a_pipe_is_no_blob(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob = blob_of(root, "m:t")
    blob.unlink()
    blob.mkdir()
    assert isinstance(entries(root)["m:t"].problem, errors.SourceError)
    if hasattr(os, "mkfifo"):
        blob.rmdir()
        os.mkfifo(blob)
        assert isinstance(entries(root)["m:t"].problem, errors.SourceError)


def test_blobs_of_very_old_stores_are_found(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    for blob in list((root / "blobs").iterdir()):
        blob.rename(blob.with_name(blob.name.replace("-", ":")))
    model = resolve(root, "m:t")
    assert wait(read_all(Store(PathDirectory(root)), model)) == GGUF


def test_a_damaged_byte_is_found_by_the_digest_alone(tmp_path: Path) -> None:
    big = GGUF + bytes(9 << 20)
    root = make_store(tmp_path, {"m:t": big})
    store, told = Store(PathDirectory(root)), []
    model = wait(store.resolve("m:t"))
    wait(store.verify(model.weights[0], tell=lambda *share: told.append(share)))
    assert told[-1] == (len(big), len(big)) and len(told) == 3
    with blob_of(root, "m:t").open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"\1")
    assert entries(root)["m:t"].problem is None
    with pytest.raises(errors.FileFormatError) as caught:
        wait(store.verify(model.weights[0], "m:t"))
    damaged = hashlib.sha256(GGUF + bytes((5 << 20) - len(GGUF)) + b"\1")
    damaged.update(bytes(len(big) - (5 << 20) - 1))
    error, blob = caught.value, model.weights[0]
    assert error.what == f"the blob {blob.blob} is damaged"
    assert error.found == f"SHA-256 {damaged.hexdigest()}"
    assert blob.digest in error.expected
    assert error.remedy == "Delete this file, then run: ollama pull m:t"


def test_links_are_followed_unless_the_folder_is_confined(tmp_path: Path) -> None:
    root = make_store(tmp_path / "models", {"in:t": GGUF, "out:t": GGUF + b"\0"})
    outside = tmp_path / "elsewhere"
    blob_of(root, "out:t").rename(outside)
    blob_of(root, "out:t").symlink_to(outside)
    inside = root / "moved"
    blob_of(root, "in:t").rename(inside)
    blob_of(root, "in:t").symlink_to(inside)
    assert [entry.problem for entry in entries(root).values()] == [None, None]
    (tmp_path / "link").symlink_to(root)
    for folder in (root, tmp_path / "link"):
        store = wait(open_store(str(folder), confined=True))
        within, without = wait(store.entries())
        assert within.problem is None
        assert "a link that leads out" in str(without.problem)


def test_a_manifest_or_a_folder_that_leads_out_is_not_read(tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", {"secret:t": GGUF, "me/m:t": GGUF})
    root = make_store(tmp_path / "models", {"own:t": GGUF})
    link = manifest_path(root, "linked:t")
    link.parent.mkdir(parents=True)
    link.symlink_to(manifest_path(other, "secret:t"))
    folder = manifest_path(root, "me/m:t").parents[1]
    folder.symlink_to(manifest_path(other, "me/m:t").parents[1])
    store = wait(open_store(str(root), confined=True))
    found = {e.reference.name: e.problem for e in wait(store.entries())}
    assert found.keys() == {"own:t", "linked:t"}
    assert found["own:t"] is None
    assert "a link that leads out" in str(found["linked:t"])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\x", "\0"])
def test_a_folder_takes_plain_names_alone(tmp_path: Path, name: str) -> None:
    for folder in (PathDirectory(tmp_path), MappedDirectory({})):
        with pytest.raises(errors.SourceError):
            wait(folder.open(name))
        with pytest.raises(errors.SourceError):
            wait(folder.directory(name))
