"""Which files a path stands for: one, all parts of a split model, a folder's model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pyodide_app.errors import (
    EngineError,
    RequestError,
    SourceError,
    UnsupportedFormatError,
)
from pyodide_app.gguf.signature import CONVERT
from pyodide_app.gguf.strings import printable

_PART = re.compile(r"(.+)-[0-9]{5}-of-([0-9]{5})\.gguf", re.DOTALL | re.IGNORECASE)
_CHECKPOINTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")  # of other programs
_SHOWN_NAMES = 8


def find_files(path: Path) -> list[Path]:
    """Return the file, and the other parts where it is one of a split model.

    A folder stands for the only model in it. Names are taken as they are: no character
    in them stands for others. Raises: RequestError for a folder of several models,
    SourceError or UnsupportedFormatError for one of none.
    """
    if os.path.isdir(path):
        path /= _only_model(path)
    group = _group(path.name)
    if group is None:
        return [path]
    try:
        names = os.listdir(path.parent)
    except OSError:  # it may be open to who knows the names
        return [path]
    return [path.with_name(n) for n in sorted(names) if _group(n) == group] or [path]


def holds_model(folder: str) -> bool:
    """Say whether there is a GGUF in a folder, if it is one."""
    try:
        return any(map(_is_gguf, os.listdir(folder)))
    except (OSError, ValueError):
        return False


def _group(name: str) -> tuple[str, str] | None:
    """Return what the names of all parts of a model share; None for another name."""
    match = _PART.fullmatch(name)
    return (match[1], match[2]) if match else None


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")


def _only_model(folder: Path) -> str:
    """Return the name of the only model in a folder, or of its first part."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SourceError(
            f"cannot read the folder {printable(str(folder))}",
            found=error.strerror or str(error),
            remedy="Name the model's .gguf file itself.",
        ) from error
    models = {
        _group(name) or name: name
        for name in reversed(names)
        if _is_gguf(name) and "mmproj" not in name.lower()  # a projector
    }
    if len(models) == 1:
        return next(iter(models.values()))
    if models:
        raise RequestError(
            f"the folder {printable(str(folder))} holds several models",
            found=_listed(sorted(models.values())),
            expected="one",
            remedy="Name the .gguf file itself.",
        )
    raise _no_model(folder, names)


def _no_model(folder: Path, names: list[str]) -> EngineError:
    """Say what a folder without a model holds, and what to do about it."""
    what = f"no model in the folder {printable(str(folder))}"
    if "manifests" in names and "blobs" in names:
        return RequestError(
            what,
            found="Ollama's store",
            expected="a .gguf file in it",
            remedy="Give a model's name, and this folder in OLLAMA_MODELS.",
        )
    checkpoint = [name for name in names if name.lower().endswith(_CHECKPOINTS)]
    if checkpoint:
        return UnsupportedFormatError(
            what,
            found=_listed(checkpoint),
            expected="a .gguf file",
            remedy=CONVERT,
        )
    return SourceError(
        what,
        found=_listed(names) or "nothing",
        expected="a .gguf file",
        remedy="Name the model's .gguf file itself.",
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _SHOWN_NAMES
    shown = ", ".join(printable(name, 80) for name in names[:_SHOWN_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown
