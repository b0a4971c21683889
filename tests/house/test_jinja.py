"""What runs templates on the page: pinned, held to its digests, pure Python."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tools import environment, jinja
from tools.environment import SetupError


def test_page_has_the_versions_of_the_command_line():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, second = jinja.PACKAGES
    assert f"{first.name}=={first.version}" in project["dependencies"]
    assert second.version == importlib.metadata.version(second.name)


def test_only_python_is_taken_with_its_licence():
    jinja.ensure_jinja()
    for package in jinja.PACKAGES:
        names = jinja.sources(package)
        assert f"{package.name}/__init__.py" in names
        suffixes = {Path(name).suffix for name in names if ".dist-info" not in name}
        assert suffixes == {".py"}
        assert b"Redistribution" in jinja.licence(package)
    assert "markupsafe/_native.py" in names


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def fetch(what: str, command: list[str]) -> None:
        (folder,) = (c.partition("=")[2] for c in command if c.startswith("--dest="))
        for package in jinja.PACKAGES:
            Path(folder, package.file).write_bytes(b"another")

    monkeypatch.setattr(jinja, "FOLDER", tmp_path / "jinja")
    monkeypatch.setattr(environment, "fetch", fetch)
    with pytest.raises(SetupError, match=r"pip gave no jinja2-3.*SHA-256 85ece4"):
        jinja.ensure_jinja()
    assert list((tmp_path / "jinja").iterdir()) == []
