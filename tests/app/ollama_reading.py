"""What tests of Ollama's store share: how they look into one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from pyodide_app.gguf.directories import PathDirectory
from pyodide_app.ollama.model import Entry, StoredModel
from pyodide_app.ollama.store import Store
from tests.samples.gguf_bytes import build_gguf

T = TypeVar("T")
TENSOR = ("weight", (32, 2), "F32", None)
GGUF = build_gguf({"general.architecture": "gemma4"}, [TENSOR])
VISION = build_gguf({"general.architecture": "clip", "general.type": "mmproj"}, [])
REGISTRY = "registry.ollama.ai"
DIGEST = "ab" * 32


def wait(task: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(task)


def resolve(root: Path, name: str) -> StoredModel:
    return wait(Store(PathDirectory(root)).resolve(name))


def entries(root: Path) -> dict[str, Entry]:
    found = wait(Store(PathDirectory(root)).entries())
    return {entry.reference.name: entry for entry in found}


async def read_all(store: Store, model: StoredModel) -> bytes:
    files = await store.open_all(model.weights)
    parts = [await file.read(0, file.size) for file in files]
    for file in files:
        file.close()
    return b"".join(parts)
