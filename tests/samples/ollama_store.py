"""Makes stores of Ollama's form for tests: sound ones, and ones with every fault.

make_store(root, {"gemma4:tiny": data_or_path}, params={"temperature": 0})
add_model(root, "cloud:big-cloud", [], config={"remote_model": "big"})
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyodide_app.gguf.directories import MappedDirectory
from pyodide_app.gguf.sources import FileSource
from pyodide_app.ollama.manifest import MEDIA_TYPE, Reference

CONFIG = {
    "model_format": "gguf",
    "model_family": "gemma4",
    "model_families": ["gemma4"],
    "model_type": "5.1B",
    "file_type": "Q4_K_M",
    "renderer": "gemma4",
    "parser": "gemma4",
    "rootfs": {"type": "layers", "diff_ids": []},
}

Blob = Mapping[str, Any]  # in place already: its digest and size
Content = bytes | Path | Blob
Layers = Sequence[tuple[str, Content]]


def make_store(
    root: Path,
    models: Mapping[str, Content],
    *,
    config: Mapping[str, Any] | None = None,
    extra: Layers = (),
    **texts: Any,
) -> Path:
    """Make a store of GGUF models and return its folder.

    `texts` are further layers by kind: params, system, template, messages, license.
    `extra` are layers as pairs of kind and content.
    """
    for name, weights in models.items():
        add_model(root, name, [("model", weights), *extra], config=config, **texts)
    return root


def add_model(
    root: Path,
    name: str,
    layers: Layers,
    *,
    config: Mapping[str, Any] | None = None,
    **texts: Any,
) -> Path:
    """Add one model of any layers and return its manifest."""
    encoded = [
        (kind, text.encode() if isinstance(text, str) else json.dumps(text).encode())
        for kind, text in texts.items()
        if text is not None
    ]
    blob = add_blob(root, json.dumps({**CONFIG, **(config or {})}).encode())
    return write_manifest(
        root,
        name,
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                **blob,
            },
            "layers": [
                {"mediaType": MEDIA_TYPE + kind, **add_blob(root, content)}
                for kind, content in [*layers, *encoded]
            ],
        },
    )


def add_blob(root: Path, content: Content) -> dict[str, Any]:
    """Put a blob in place and return its digest and size as a manifest has them.

    A file is linked if it can be, so that large ones cost nothing.
    """
    if isinstance(content, Mapping):
        return dict(content)
    blobs = root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    digest, size = fingerprint(content)
    path = blobs / f"sha256-{digest}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif not path.exists():
        try:
            os.link(content, path)
        except OSError:
            shutil.copyfile(content, path)
    return {"digest": f"sha256:{digest}", "size": size}


def fingerprint(content: bytes | Path) -> tuple[str, int]:
    """Return the SHA-256 and the size."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, content.stat().st_size


def write_manifest(root: Path, name: str, content: Any) -> Path:
    """Write a manifest, or any bytes in its place, and return its path."""
    path = manifest_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def manifest_path(root: Path, name: str) -> Path:
    """Return where the manifest of a model lies."""
    return root.joinpath("manifests", *Reference.parse(name).parts)


def blob_of(root: Path, name: str, kind: str = "model") -> Path:
    """Return the path of a model's blob of some kind."""
    layers = json.loads(manifest_path(root, name).read_bytes())["layers"]
    found = [layer for layer in layers if layer["mediaType"] == MEDIA_TYPE + kind]
    return root / "blobs" / str(found[-1]["digest"]).replace(":", "-")


class ChosenFiles(Mapping[str, FileSource]):
    """The files below a folder, as a page's folder input gives them."""

    def __init__(self, folder: Path) -> None:
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self.paths = {
            path.relative_to(folder.parent).as_posix(): path for path in paths
        }

    def __getitem__(self, name: str) -> FileSource:
        return FileSource(self.paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def chosen(folder: Path) -> MappedDirectory:
    """Return a folder as a page has it after it was chosen."""
    return MappedDirectory(ChosenFiles(folder))
