"""How much memory a machine has left, as far as it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyodide_app.gpu import host_memory

MEMORY = "MemTotal:       16000000 kB\nMemAvailable:    9000000 kB\n"


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the files of another machine be read, of which none is there."""
    monkeypatch.setattr(host_memory, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_GROUP", tmp_path / "memory.max")
    return tmp_path


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (None, 9_216_000_000),
        ("max\n", 9_216_000_000),
        ("4294967296\n", 4_294_967_296),
        ("99999999999\n", 9_216_000_000),
    ],
)
def test_is_what_is_available_within_the_group(
    says: Path, group: str | None, expected: int
) -> None:
    (says / "meminfo").write_text(MEMORY)
    if group:
        (says / "memory.max").write_text(group)
    assert host_memory.available_memory() == expected


def test_is_all_memory_where_nothing_better_is_said(says: Path) -> None:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    assert host_memory.available_memory() == pages * size
    (says / "meminfo").write_text("nothing of use\nMemAvailable:\n")
    assert host_memory.available_memory() == pages * size


def test_is_unknown_where_nobody_says(
    says: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert host_memory.available_memory() is None


def test_this_machine_has_some() -> None:
    found = host_memory.available_memory()
    assert found is None or found > 1 << 24
