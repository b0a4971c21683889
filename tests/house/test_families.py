"""A family is a file in each of its places: its name stands nowhere else."""

from __future__ import annotations

import ast
import re

from pyodide_app.models import FAMILIES
from tests.house.tree import ROOT, parse, python_files

# Where an architecture may be named besides its own files: lists, and the names that
# the file format gives to tokenizers, of which some are those of architectures.
LISTS = {
    "oracle/families.py",
    "pyodide_app/text/tokenizer/choose.py",
    "pyodide_app/text/tokenizer/pretokenize.py",
}
HOMES = ("pyodide_app/models", "pyodide_app/text/chat", "oracle")


def strings(tree: ast.Module) -> list[tuple[int, str]]:
    """Return the strings of a module, with their lines."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_an_architecture_is_named_in_its_own_files_alone() -> None:
    found = []
    for path in python_files("pyodide_app", "oracle", "bench", "tools"):
        name = path.relative_to(ROOT).as_posix()
        for line, text in strings(parse(path)):
            is_home = path.parent.relative_to(ROOT).as_posix() in HOMES
            is_own = is_home and path.stem.startswith(text or "-")
            if text in FAMILIES and not is_own and name not in LISTS:
                found.append(f"{name}:{line}: {text}")
    assert not found


def test_every_family_has_its_files() -> None:
    for name, family in FAMILIES.items():
        assert family.architecture == name and re.fullmatch(r"[a-z0-9]+", name)
        assert (ROOT / f"pyodide_app/models/{name}.py").is_file()
        assert (ROOT / f"oracle/{name}.py").is_file()
