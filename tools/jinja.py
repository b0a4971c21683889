"""jinja2 for the page: fetched with pip, held to digests, and what of it is Python.

The page loads it for a model whose chat template nobody knows, and only then. Of
MarkupSafe any wheel will do: what is compiled in it has a twin in Python.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools import environment
from tools.environment import CACHE, SetupError

FOLDER = CACHE / "jinja"
# One that exists, whatever machine this is.
_TAGS = ("--platform=manylinux2014_x86_64", "--python-version=3.11")
_LEFT_OUT = ("_speedups", "py.typed", "/RECORD", "/WHEEL")


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the registry: one file of it, and what it needs."""

    name: str
    version: str
    file: str
    sha256: str
    needs: tuple[str, ...] = ()

    @property
    def info(self) -> str:
        """Return the folder of its metadata."""
        return f"{self.name}-{self.version}.dist-info"


PACKAGES = (
    Package(
        "jinja2",
        "3.1.6",
        "jinja2-3.1.6-py3-none-any.whl",
        "85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67",
        ("markupsafe",),
    ),
    Package(
        "markupsafe",
        "3.0.4",
        "markupsafe-3.0.4-cp311-cp311-"
        "manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
        "6da83a088f8ef93b2d483a8232a4dbf4d69d3d8496b568a03c56becac43e1808",
    ),
)


def ensure_jinja() -> None:
    """Have the packages in the cache. Raises SetupError when they cannot be fetched."""
    if all(is_sound(FOLDER / package.file, package) for package in PACKAGES):
        return
    print("Fetching jinja2", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        _download(Path(name))
        for package in PACKAGES:
            path = Path(name, package.file)
            if not is_sound(path, package):
                raise SetupError(
                    f"pip gave no {package.file} with the SHA-256 {package.sha256}. "
                    "Clear its cache (pip cache purge), and run the same again"
                )
            path.replace(FOLDER / package.file)


def _download(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        environment.ensure_venv(dev=False)
        pip[0] = str(environment.PYTHON)
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    flags += ["--only-binary=:all:", "--implementation=cp", *_TAGS, f"--dest={folder}"]
    wanted = [f"{package.name}=={package.version}" for package in PACKAGES]
    environment.fetch("jinja2", [*pip, "download", *flags, *wanted])


def is_sound(path: Path, package: Package) -> bool:
    """Tell whether a file is there, and is the package's to the byte."""
    if not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


def sources(package: Package) -> dict[str, bytes]:
    """Return what of a package is Python, and its metadata and licence, by name."""
    with zipfile.ZipFile(FOLDER / package.file) as wheel:
        return {
            name: wheel.read(name)
            for name in wheel.namelist()
            if not name.endswith("/") and not any(part in name for part in _LEFT_OUT)
        }


def licence(package: Package) -> bytes:
    """Return the licence of a package."""
    return sources(package)[f"{package.info}/licenses/LICENSE.txt"]
