"""Ollama's models on this machine, for the local server: a list, and blobs by name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from threading import Lock
from typing import Any

from pyodide_app.errors import EngineError
from pyodide_app.gguf.sources import FileSource
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.manifest import Layer
from pyodide_app.ollama.model import describe_problem
from pyodide_app.ollama.native import open_store
from pyodide_app.ollama.store import Store

_BLOB = re.compile(r"sha256-[0-9a-f]{64}")


class ModelStore:
    """A store of which only the weights of listed models can be read."""

    def __init__(self, folder: str | None = None) -> None:
        """Take a folder, or with None the one that Ollama itself would use."""
        self.folder = folder
        self._lock = Lock()
        self._blobs: dict[str, tuple[Store, Layer]] = {}  # that may be read

    def models(self) -> dict[str, Any]:
        """Return the list of models: `root`, `models`, and the `problem` if any."""
        try:
            return asyncio.run(self._list())
        except EngineError as error:
            self._allow({})
            problem = describe_problem(error)
            return {"root": None, "models": [], "problem": problem}

    async def _list(self) -> dict[str, Any]:
        store = await open_store(self.folder, confined=True)
        entries = await store.entries(FAMILIES)
        models = [entry.model for entry in entries if entry.model and not entry.problem]
        self._allow({layer.blob: (store, layer) for m in models for layer in m.blobs})
        return store.describe(entries)

    def _allow(self, blobs: dict[str, tuple[Store, Layer]]) -> None:
        with self._lock:
            self._blobs = blobs

    def _allowed(self, name: str) -> tuple[Store, Layer] | None:
        with self._lock:
            return self._blobs.get(name)

    def find(self, name: str) -> Path | None:
        """Return the path of a blob of listed weights, None for any other.

        The path is one without links, and the file has the size of the manifest.
        """
        if not _BLOB.fullmatch(name):
            return None
        allowed = self._allowed(name)
        if allowed is None:  # the list is older than the model, or was never asked for
            self.models()
            allowed = self._allowed(name)
        if allowed is None:
            return None
        store, layer = allowed
        try:
            source = asyncio.run(store.open(layer))
        except EngineError:
            return None
        source.close()
        return source.path if isinstance(source, FileSource) else None
