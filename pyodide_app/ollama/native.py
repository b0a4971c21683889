"""Ollama's store on this machine: in which folder it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pyodide_app.errors import SourceError
from pyodide_app.gguf.directories import PathDirectory
from pyodide_app.gguf.strings import printable
from pyodide_app.ollama.store import Store

VARIABLE = "OLLAMA_MODELS"
_LINUX_SERVICES = (
    "/usr/share/ollama/.ollama/models",  # the user of the installer's service
    "/var/lib/ollama",  # Arch Linux
    "/var/lib/ollama/models",  # NixOS, older packages
    "/var/lib/ollama/.ollama/models",
    "/var/snap/ollama/common/models",
    "/var/snap/ollama/common",
    "/root/.ollama/models",  # the container image
    "/var/lib/docker/volumes/ollama/_data/models",
)


def candidates(environ: Mapping[str, str], platform: str) -> list[str]:
    """Return the folders that may be the store, the likeliest first."""
    named = environ.get(VARIABLE, "").strip(" \t\r\n'\"")
    if named:
        return [named]
    home = environ.get("USERPROFILE" if platform == "win32" else "HOME", "")
    own = [os.path.join(home, ".ollama", "models")] if home else []
    data = environ.get("LOCALAPPDATA" if platform == "win32" else "XDG_DATA_HOME", "")
    if not data and home and platform.startswith("linux"):
        data = os.path.join(home, ".local", "share")
    own += [os.path.join(data, "ollama", "models")] if data else []
    services = _LINUX_SERVICES if platform.startswith("linux") else ()
    return list(dict.fromkeys([*own, *services]))


async def open_store(root: str | None = None, *, confined: bool = False) -> Store:
    """Open the store in a folder, or the one that Ollama itself would use.

    Of several the first that has a model is taken; messages name the others. With
    `confined`, links that lead out of the folder are refused.
    Raises: SourceError when there is none, or it must not be read.
    """
    make = PathDirectory.confined if confined else PathDirectory
    if root is not None:
        return await Store.find(make(Path(root)))
    folders = candidates(os.environ, sys.platform)
    seen = {folder: _look(folder, is_named=len(folders) == 1) for folder in folders}
    stores = [folder for folder, state in seen.items() if state in ("full", "empty")]
    denied = [folder for folder, state in seen.items() if state == "denied"]
    if stores:
        chosen = next(
            (folder for folder in stores if seen[folder] == "full"), stores[0]
        )
        others = [folder for folder in (*stores, *denied) if folder != chosen]
        return Store(make(Path(chosen)), tuple(map(printable, others)))
    if denied:
        raise SourceError(
            f"cannot read Ollama's store {printable(denied[0])}",
            found="no right to read it",
            remedy=f"Add this user to the group ollama, or set {VARIABLE}.",
        )
    shown = ", ".join(map(printable, folders)) or "a home folder"
    raise SourceError(
        "there is no Ollama store",
        found=f"no folder manifests in {shown}",
        remedy=f"Pull a model with Ollama, or set {VARIABLE} to its folder models.",
    )


def _look(folder: str, is_named: bool) -> str:
    """Say whether a folder is a store: `full`, `empty`, `denied`, or nothing."""
    try:
        return "full" if os.listdir(os.path.join(folder, "manifests")) else "empty"
    except PermissionError:
        return "denied" if is_named or _is_ollamas(Path(folder)) else ""
    except (OSError, ValueError):
        return ""


def _is_ollamas(folder: Path) -> bool:
    """Say whether what can be seen of a path shows that Ollama is there.

    Nobody but root may look into /root, whatever is in it.
    """
    path = next(filter(os.path.exists, (folder, *folder.parents)), Path())
    return "ollama" in str(path).lower()
