"""Ollama's store on this machine: in which folder it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pyodide_app.errors import SourceError
from pyodide_app.gguf.directories import PathDirectory
from pyodide_app.ollama import Store

VARIABLE = "OLLAMA_MODELS"
_LINUX_SERVICES = (  # the service's own user, older packages, the container image
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/root/.ollama/models",
)


def candidates(environ: Mapping[str, str], platform: str) -> list[str]:
    """Return the folders that may be the store, the likeliest first."""
    named = environ.get(VARIABLE, "").strip(" \t\r\n'\"")
    if named:
        return [named]
    home = environ.get("USERPROFILE" if platform == "win32" else "HOME", "")
    own = [os.path.join(home, ".ollama", "models")] if home else []
    services = _LINUX_SERVICES if platform.startswith("linux") else ()
    return list(dict.fromkeys([*own, *services]))


async def open_store(root: str | None = None, *, confined: bool = False) -> Store:
    """Open the store in a folder, or the one that Ollama itself would use.

    With `confined`, links that lead out of the folder are refused.
    Raises: SourceError when there is none, or it must not be read.
    """
    make = PathDirectory.confined if confined else PathDirectory
    if root is not None:
        return await Store.find(make(Path(root)))
    folders, unreadable = candidates(os.environ, sys.platform), ""
    for folder in folders:
        try:
            if os.stat(os.path.join(folder, "manifests")):
                return Store(make(Path(folder)))
        except PermissionError:
            unreadable = unreadable or folder
        except (OSError, ValueError):
            continue
    if unreadable:
        raise SourceError(
            f"cannot read Ollama's store {unreadable}",
            found="no right to read it",
            remedy="Add this user to the group ollama, or set OLLAMA_MODELS.",
        )
    raise SourceError(
        "there is no Ollama store",
        found=f"no folder manifests in {', '.join(folders) or 'a home folder'}",
        remedy=f"Pull a model with Ollama, or set {VARIABLE} to its folder models.",
    )
