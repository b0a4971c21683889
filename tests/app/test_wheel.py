"""The project as `pip install` takes it: what is in the package, and that it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import Parser
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from pyodide_app import __version__
from pyodide_app.cli import session
from pyodide_app.text.chat import templated
from tests.house.tree import ROOT
from tools import bundle

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
# The registry is not asked: what builds the package is in .venv already.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
PIP = (sys.executable, "-m", "pip", "--quiet")
BUILD = """
import sys
from setuptools import build_meta
build_meta.build_sdist(sys.argv[1])
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment of its own that holds the project, and nothing else."""

    folder: Path

    @property
    def packages(self) -> Path:
        return next(self.folder.rglob("site-packages"))

    @property
    def metadata(self) -> Distribution:
        (found,) = distributions(path=[str(self.packages)], name="lapidary")
        return found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command from a folder, and in a home, that hold nothing."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        named = {n: v for n, v in os.environ.items() if n.startswith(("VK_", "XDG_R"))}
        environment = {**named, "HOME": str(home), "PATH": os.defpath}
        command = [self.folder / SCRIPTS / "lapidary", *arguments]
        return subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True
        )


def run(command: Sequence[str | Path]) -> None:
    """Run a command in the checkout; show what it said when it fails."""
    # On PYTHONPATH, the checkout would pass for the project, installed.
    inherited = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    environment = inherited | OFFLINE
    reply = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert reply.returncode == 0, reply.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the project from its source distribution, as `pip install .` would."""
    folder = tmp_path_factory.mktemp("with space and ü")
    run([sys.executable, "-c", BUILD, folder])
    (archive,) = folder.glob("lapidary-*.tar.gz")
    flags = ["--no-build-isolation", "--no-deps", "--wheel-dir", folder]
    run([*PIP, "wheel", *flags, archive])
    venv.create(folder / "venv")
    made = Installed(folder / "venv")
    python = folder / "venv" / SCRIPTS / "python"
    (wheel,) = folder.glob("lapidary-*.whl")
    run([*PIP, "--python", python, "install", "--no-deps", wheel])
    # wgpu is that of the tests; the project's own editable install stays unseen, for
    # a .pth is not read in a folder that another .pth adds.
    (made.packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
    return made


def test_package_holds_what_the_driver_reads_and_nothing_else(
    installed: Installed,
) -> None:
    files = {path.as_posix() for path in installed.metadata.files or ()}
    held = {name for name in files if name.startswith("pyodide_app/")}
    held = {name for name in held if "__pycache__" not in name}
    native = {f"pyodide_app/demo/{n}" for n in ("lapidary-demo.gguf", "CARD.md")}
    native |= bundle.NOT_IN_A_BROWSER | {"pyodide_app/py.typed"}
    assert held == set(bundle.driver_files()) | native
    sources = {name: name for name in held} | {
        name: name.removeprefix("pyodide_app/")
        for name in held
        if name.startswith(("pyodide_app/shaders/", "pyodide_app/demo/"))
    }
    for name, source in sources.items():
        assert (installed.packages / name).read_bytes() == (ROOT / source).read_bytes()
    besides = {name.split("/")[0] for name in files} - {"pyodide_app", ".."}
    assert besides == {f"lapidary-{__version__}.dist-info"}


def test_metadata_says_what_it_is_and_what_it_needs(installed: Installed) -> None:
    metadata = Parser().parsestr(installed.metadata.read_text("METADATA") or "")
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    needed = [n for n in metadata.get_all("Requires-Dist", []) if "extra" not in n]
    assert needed == PROJECT["dependencies"]
    for package, module in zip(needed, (templated, session), strict=True):
        assert f"'{package}'" in Path(module.__file__).read_text(encoding="utf-8")
    licence = installed.metadata.read_text("licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_command_replies_from_anywhere_with_the_model_that_comes_with_it(
    installed: Installed,
) -> None:
    reply = installed.run("generate", "-p", "What is 2 + 3?", "-n", "8", "--greedy")
    assert reply.returncode == 0, reply.stderr
    assert re.search(r"\b5\b", reply.stdout)
