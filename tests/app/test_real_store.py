"""A store of all five models at full header size, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyodide_app.__main__ import main
from tests.app.test_realshape import BILLIONS, EXPECTED, check_types
from tests.samples import real_store
from tests.samples.ollama_store import blob_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the store."""
    return real_store.write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def chosen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ollama's own variable name the store."""
    monkeypatch.setenv("OLLAMA_MODELS", str(root))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON object that the command line prints."""
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_all_five_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = {model["name"]: model for model in run(capsys, "list")["models"]}
    assert set(models) == set(real_store.TAGS)
    for tag, model in models.items():
        assert model["problem"] is None
        assert model["size"] == blob_of(root, tag).stat().st_size
        assert model["parameters"] == f"{BILLIONS[real_store.TAGS[tag]]}B"
        assert model["sampling"] == real_store.PARAMS
    assert sum(model["size"] for model in models.values()) > 55e9


@pytest.mark.parametrize("tag", real_store.TAGS)
def test_each_opens_by_its_name(tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(capsys, "inspect", tag)
    expected = EXPECTED[real_store.TAGS[tag]]
    assert summary["n_tensors"] == expected.n_tensors
    assert summary["n_parameters"] == expected.n_parameters
    check_types(summary["types"], expected.types("Q4_K_M", ollama=True))


def test_command_line_writes_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert real_store.main([str(tmp_path), "--type", "Q8_0"]) == 0
    said = capsys.readouterr().out
    on_disk = 512 * sum(
        path.stat().st_blocks for path in (tmp_path / "blobs").iterdir()
    )
    assert on_disk < 90e6  # five headers of 15 MB
    assert f"of which {on_disk:,} on the disk" in said
    assert blob_of(tmp_path, "gemma4:31b").stat().st_size > 2**34
