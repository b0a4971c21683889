"""What the documents promise, held against the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.house.tree import ROOT, parse, python_files

VERBS = [
    "chat",
    "generate",
    "inspect",
    "list",
    "logits",
    "parse",
    "pull",
    "render",
    "tokenize",
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOLDERS = ("pyodide_app", "oracle", "tools", "tests", "bench", "demo", "web/build")
MODULES = [ROOT / "build.py", *(p for p in python_files(*FOLDERS) if p.stat().st_size)]

VARIABLE = re.compile(r"\bLAPIDARY_[A-Z]+\b")


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "pyodide_app", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def help_of(*arguments: str) -> str:
    """Return what the command line prints with --help."""
    reply = command_line(*arguments, "--help")
    assert reply.returncode == 0, reply.stderr
    return reply.stdout


def test_readme_documents_every_verb_there_is():
    reply = command_line("no-such-verb")
    assert reply.returncode == 2
    choices = reply.stderr.partition("choose from")[2]
    assert sorted(re.findall(r"\w+", choices)) == VERBS, reply.stderr
    assert [verb for verb in VERBS if f"lapidary {verb}" not in README] == []


@pytest.mark.parametrize("verb", VERBS)
def test_readme_documents_only_options_there_are(verb):
    lines = [line for line in README.splitlines() if f"lapidary {verb} " in line]
    known = help_of(verb)
    options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(lines))
    assert [option for option in options if option not in known] == []


def test_readme_shows_how_to_start_at_once():
    lines = README.splitlines()
    assert next(i for i, line in enumerate(lines, 1) if line.startswith("```")) < 20


def test_links_between_documents_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
        assert [name for name in targets if not (ROOT / name).exists()] == [], document


def test_documented_variables_are_those_there_are():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = python_files("pyodide_app", "tools", "tests", "bench", "demo")
    code = [path.read_text(encoding="utf-8") for path in files]
    there_are = {name for text in code for name in VARIABLE.findall(text)}
    assert set(VARIABLE.findall(text)) == there_are


def test_changelog_names_the_version():
    from pyodide_app import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_module_says_what_it_is(path):
    docstring = ast.get_docstring(parse(path))
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].endswith("."), docstring.splitlines()[0]
