"""What the house tests look at: the project's files, modules and imports."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = {".cache", ".git", ".venv", "__pycache__", "dist", "node_modules"}


@cache
def tracked_files() -> list[Path]:
    """Return the files that git tracks or would; without git, all but what is made."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        reply = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        paths = (path for path in ROOT.rglob("*") if path.is_file())
        return [p for p in paths if IGNORED.isdisjoint(p.relative_to(ROOT).parts)]
    names = reply.stdout.decode().split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below folders of the project, sorted."""
    return sorted(path for f in folders for path in (ROOT / f).rglob("*.py"))


def module_name(path: Path) -> str:
    """Return a file's dotted module name."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parse(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a file imports, and whether importing the file loads it."""

    importer: str
    imported: str
    on_load: bool

    @property
    def top(self) -> str:
        """The imported module's first name."""
        return self.imported.partition(".")[0]


def imports(path: Path) -> list[Import]:
    """Return all imports of a file, those inside functions and blocks included."""
    return [
        Import(module_name(path), name, on_load)
        for node, on_load in _import_nodes(parse(path), True)
        for name in _names(path, node)
    ]


def _import_nodes(node: ast.AST, on_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, on_load
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        yield from _import_nodes(child, on_load and not function and not typing)


def _names(path: Path, node: ast.AST) -> list[str]:
    """Return the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
    base = node.module or ""
    if node.level:
        package = path.relative_to(ROOT).parent.parts
        kept = package[: len(package) - node.level + 1]
        base = ".".join([*kept, *([base] if base else [])])
    # `from package import module` imports the module, not a name of the package.
    folder = ROOT / base.replace(".", "/")
    return [
        f"{base}.{alias.name}" if _is_module(folder / alias.name) else base
        for alias in node.names
    ]


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def functions(path: Path) -> set[str]:
    """Return the names of the functions and methods of a module."""
    return {n.name for n in ast.walk(parse(path)) if isinstance(n, ast.FunctionDef)}
