"""The types of the page's JavaScript: all of it is checked, and nothing opts out."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.house.tree import ROOT, tracked_files
from tools.environment import WEB, node
from tools.type_check import COMPILER, CONFIGURATIONS

SCRIPTS = [
    path for path in tracked_files() if path.suffix == ".js" and WEB in path.parents
]
OPT_OUT = re.compile(r"@ts-(?:nocheck|ignore|expect-error)|\{\*\}|\{[^}\n]*\bany\b")
# Of marked's overloads one signature has to do.
ANY = {"web/chat/grammar.js": 2}


def checked(configuration: str) -> set[str]:
    """Return the scripts of the page that a configuration reaches."""
    command = [node(), COMPILER, "-p", WEB / configuration, "--listFilesOnly"]
    reply = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=True)
    return set(reply.stdout.splitlines())


def test_every_script_is_checked():
    reached = set().union(*(checked(name) for name in CONFIGURATIONS))
    assert SCRIPTS
    assert [path.as_posix() for path in SCRIPTS if path.as_posix() not in reached] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_script_opts_out(path):
    found = OPT_OUT.findall(path.read_text(encoding="utf-8"))
    assert len(found) == ANY.get(path.relative_to(ROOT).as_posix(), 0), found


def test_a_wrong_type_is_found(tmp_path):
    script = tmp_path / "wrong.js"
    script.write_text("/** @type {number} */\nexport const n = 'one';\n")
    options = ["--checkJs", "--noEmit", "--strict", "--ignoreConfig"]
    command = [node(), COMPILER, *options, script]
    reply = subprocess.run(command, capture_output=True, text=True)
    assert reply.returncode != 0
    assert "is not assignable to type 'number'" in reply.stdout
