"""Where Ollama's store is, on every system."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.gguf.directories import MappedDirectory, PathDirectory
from pyodide_app.ollama.native import candidates, open_store
from pyodide_app.ollama.store import Store
from tests.app.ollama_reading import (
    GGUF,
    wait,
)
from tests.samples.ollama_store import (
    chosen,
    make_store,
)


def test_the_folder_is_the_one_that_ollama_uses() -> None:
    home = {"HOME": "/h"}
    assert candidates(home, "darwin") == ["/h/.ollama/models"]
    assert candidates(home, "linux")[0] == "/h/.ollama/models"
    for service in ("/usr/share/ollama/.ollama/models", "/var/lib/ollama"):
        assert service in candidates(home, "linux")
    assert candidates({}, "darwin") == []
    named = {"HOME": "/h", "OLLAMA_MODELS": ' "/big disk/models" '}
    assert candidates(named, "linux") == ["/big disk/models"]
    assert candidates({"HOME": "/h", "OLLAMA_MODELS": '""'}, "darwin") == [
        "/h/.ollama/models"
    ]
    windows = candidates({"HOME": "/x", "USERPROFILE": "/u"}, "win32")
    assert windows == [os.path.join("/u", ".ollama", "models")]


def test_the_environment_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_store(tmp_path / "models", {"m:t": GGUF})
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    assert wait(open_store()).root.name == str(root)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "absent"))
    with pytest.raises(errors.SourceError, match="absent") as caught:
        wait(open_store())
    assert "OLLAMA_MODELS" in caught.value.remedy


def test_of_several_stores_the_first_with_a_model_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, full, late = (str(tmp_path / name) for name in ("empty", "full", "late"))
    os.makedirs(f"{empty}/manifests")
    make_store(Path(full), {"m:t": GGUF})
    make_store(Path(late), {"other:t": GGUF})
    folders = ["/absent", empty, full, late]
    monkeypatch.setattr("pyodide_app.ollama.native.candidates", lambda *_: folders)
    store = wait(open_store())
    assert store.root.name == full and store.others == (empty, late)
    with pytest.raises(errors.RequestError) as caught:
        wait(store.resolve("other:t"))
    assert late in caught.value.remedy and "OLLAMA_MODELS" in caught.value.remedy
    shutil.rmtree(full)
    shutil.rmtree(late)
    assert wait(open_store()).root.name == empty


def deny(path: str) -> list[str]:
    raise PermissionError(13, "Permission denied", path)


def test_what_nobody_may_look_into_is_no_sign_of_a_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr("os.listdir", deny)
    seen = {"/", "/root", "/var", "/var/lib", "/usr", "/usr/share"}
    monkeypatch.setattr("os.path.exists", lambda path: str(path) in seen)
    with pytest.raises(errors.SourceError, match="there is no Ollama store"):
        wait(open_store())
    seen.add("/usr/share/ollama")
    with pytest.raises(errors.SourceError, match="no right to read it") as caught:
        wait(open_store())
    assert "/usr/share/ollama/.ollama/models" in caught.value.what


def test_a_store_of_the_service_that_must_not_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", "/srv/models")
    monkeypatch.setattr("os.listdir", deny)
    with pytest.raises(errors.SourceError, match="no right to read it") as caught:
        wait(open_store())
    assert "/srv/models" in caught.value.what and "group" in caught.value.remedy


def test_the_store_is_found_in_the_folder_above_it(tmp_path: Path) -> None:
    root = make_store(tmp_path / "u" / ".ollama" / "models", {"m:t": GGUF})
    for folder in (root, root.parent, root.parents[1]):
        for directory in (PathDirectory(folder), chosen(folder)):
            store = wait(Store.find(directory))
            assert [r.name for r in wait(store.references())] == ["m:t"]


def test_a_folder_that_is_no_store_is_explained(tmp_path: Path) -> None:
    root = make_store(tmp_path / "models", {"m:t": GGUF})
    with pytest.raises(errors.SourceError, match="folder above"):
        wait(Store.find(PathDirectory(root / "blobs")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.SourceError, match="no folder manifests"):
        wait(Store.find(PathDirectory(tmp_path / "empty")))
    with pytest.raises(errors.SourceError, match="absent"):
        wait(open_store(str(tmp_path / "absent")))
    assert wait(Store(MappedDirectory({})).entries()) == []
