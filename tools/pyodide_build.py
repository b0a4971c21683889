"""Have `pyodide-build`, which the tests ask whether the bundle's lock file is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import environment
from tools.alone import alone
from tools.environment import CACHE

# pkginfo reads wheels for it, and is not among what it asks for.
PACKAGES = ("pyodide-build==0.39.2", "pyodide-lock==0.2.1", "pkginfo==2.0")
OLDEST = (3, 12)
FOLDER = CACHE / "pyodide-build"
MISSING = (
    "No Python 3.12 or newer is found, which pyodide-build needs: the lock file of the "
    "bundle is not compared with the one that it writes"
)
PRINT_VERSION = "import sys; print(*sys.version_info[:2])"


def ensure_pyodide_build() -> Path | None:
    """Return the command `pyodide`, installed if need be; None where no Python can."""
    python = next(_pythons(), None)
    if python is None:
        print(MISSING, flush=True)
        return None
    key = environment.digest(" ".join(PACKAGES).encode(), str(FOLDER).encode())
    with alone(CACHE):
        if not environment.is_done(FOLDER, key, dev=True):
            environment.make_venv(FOLDER, python)
            print("Installing pyodide-build", flush=True)
            environment.pip_install(FOLDER, "install", *PACKAGES)
            environment.set_done(FOLDER, key, dev=True)
    return FOLDER / environment.BIN.name / "pyodide"


def _pythons() -> Iterator[Path]:
    """Yield the Pythons that are new enough: this one, on the path, of pyenv."""
    named = (shutil.which(f"python3.{minor}") for minor in range(12, 20))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    paths = [sys.executable, *named, *sorted(pyenv.glob("3.*/bin/python"))]
    return (Path(path) for path in paths if path and _is_new_enough(path))


def _is_new_enough(python: str | Path) -> bool:
    """Ask a Python; what pyenv puts on the path is not always one."""
    command = [python, "-c", PRINT_VERSION]
    reply = subprocess.run(command, capture_output=True, text=True)
    words = reply.stdout.split()
    return reply.returncode == 0 and tuple(map(int, words)) >= OLDEST
