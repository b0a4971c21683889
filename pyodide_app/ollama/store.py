"""Ollama's store: which models there are, and where the bytes of each one lie."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    RequestError,
    SourceError,
    UnsupportedArchitectureError,
)
from pyodide_app.gguf.directories import Directory, OpenFile
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.ollama.digest import Tell, verify
from pyodide_app.ollama.manifest import (
    MAX_TEXT_BYTES,
    PULL,
    Config,
    Layer,
    Manifest,
    Reference,
    parse_json,
    parse_manifest,
)
from pyodide_app.ollama.model import (
    Entry,
    StoredModel,
    check_messages,
    check_supported,
    describe_entry,
)

_BELOW = ((), ("models",), (".ollama", "models"))  # where a chosen folder has the store
_SHOWN_NAMES = 8  # of models, in a message


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that holds `manifests` and `blobs`."""

    root: Directory
    others: tuple[str, ...] = ()  # stores that were passed over, for messages

    @classmethod
    async def find(cls, folder: Directory) -> Store:
        """Find the store in a folder: itself, `models` in it, `.ollama/models` in it.

        A folder that holds nothing but another one stands for that one.
        Raises: SourceError when there is none.
        """
        for path in _BELOW:
            root = await _descend(folder, path)
            if root is not None and await root.directory("manifests") is not None:
                return cls(root)
        entries = await folder.entries()
        if list(entries.values()) == ["directory"]:
            only = await folder.directory(next(iter(entries)))
            if only is not None:
                return await cls.find(only)
        blobs = any(name.startswith("sha256") for name in entries)
        raise SourceError(
            f"no Ollama store in {folder.name}",
            found="blobs without manifests" if blobs else "no folder manifests",
            expected="Ollama's folder models, with manifests and blobs in it",
            remedy="Choose the folder above it" if blobs else "Choose that folder",
        )

    async def references(self) -> list[Reference]:
        """Return the names of all models, sorted."""
        manifests = await self.root.directory("manifests")
        found = [] if manifests is None else await _walk(manifests, (), None)
        return sorted(found, key=lambda reference: reference.name)

    async def entries(self, families: Collection[str] = ()) -> list[Entry]:
        """Return all models, those that can be used first, with what is wrong.

        Sizes are checked, and with `families` that a model is of one of these.
        """
        references = await self.references()
        found = [await self._entry(reference, families) for reference in references]
        return sorted(found, key=lambda entry: entry.problem is not None)

    def describe(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """Return the list of models as JSON can hold it."""
        models = [describe_entry(entry) for entry in entries]
        return {"root": self.root.name, "models": models, "problem": None}

    async def resolve(self, name: str) -> StoredModel:
        """Find a model by its name, exactly or else whatever the case of letters.

        Raises: RequestError when there is none, FileFormatError when its manifest is
        damaged, UnsupportedFormatError when its weights are not a GGUF of this store,
        SourceError when something cannot be read.
        """
        wanted = Reference.parse(name)
        manifests = await self.root.directory("manifests")
        found: list[Reference] = []
        if manifests is not None:
            found = await _walk(manifests, (), wanted.parts)
        found.sort(key=lambda r: (r.parts != wanted.parts, r.parts))
        if not found:
            raise await self._not_found(wanted)
        return await self._read(found[0], wanted.digest)

    async def open(self, layer: Layer) -> OpenFile:
        """Open a blob and check its size.

        Raises: SourceError when it is missing, FileFormatError when its size is wrong.
        """
        blobs = await self.root.directory("blobs")
        file = None if blobs is None else await blobs.open(layer.blob)
        if file is None:
            entries = {} if blobs is None else await blobs.entries()
            old_name = layer.blob.replace("-", ":")  # of stores before version 0.1.3
            if blobs is not None and old_name in entries:
                file = await blobs.open(old_name)
        if file is None:
            partial = any(name.startswith(f"{layer.blob}-partial") for name in entries)
            raise SourceError(
                f"the blob {layer.blob} of {self.root.name}",
                found="an unfinished download" if partial else "no such file",
                expected=f"a file of {layer.size} bytes",
                remedy=PULL,
            )
        if file.size != layer.size:
            file.close()
            raise FileFormatError(
                f"the blob {layer.blob} of {self.root.name} is incomplete or damaged",
                found=f"{file.size} bytes",
                expected=f"{layer.size} bytes",
                remedy=PULL,
            )
        return file

    async def open_all(self, layers: Sequence[Layer]) -> list[OpenFile]:
        """Open several blobs; when one fails, none stays open."""
        with ExitStack() as opened:
            files = []
            for layer in layers:
                files.append(await self.open(layer))
                opened.callback(files[-1].close)
            opened.pop_all()
        return files

    async def verify(
        self, layer: Layer, name: str = "", tell: Tell = lambda *_: None
    ) -> None:
        """Check a blob's SHA-256; `name` is a model that it belongs to.

        Raises: FileFormatError when the bytes are not those that the digest names.
        """
        file = await self.open(layer)
        try:
            await verify(file, layer.digest, name, tell)
        finally:
            file.close()

    # -- one model ---------------------------------------------------------------

    async def _entry(self, reference: Reference, families: Collection[str]) -> Entry:
        model = None
        try:
            model = await self._read(reference)
            for file in await self.open_all(model.blobs):
                file.close()
            if families and model.config.family not in ("", *families):
                raise UnsupportedArchitectureError(
                    reference.name,
                    found=f"the model family {model.config.family!a:.40}",
                    expected=" or ".join(sorted(families)),
                    remedy="Choose a model of one of these families.",
                )
        except EngineError as error:
            return Entry(reference, model, error)
        return Entry(reference, model, None)

    async def _read(self, reference: Reference, digest: str = "") -> StoredModel:
        """Read a model's manifest and the small blobs that it names."""
        data = await self._manifest(reference)
        manifest = parse_manifest(data, f"the manifest of {reference.name}")
        weights = manifest.of_kind("model")
        known = {hashlib.sha256(data).hexdigest(), *(w.digest for w in weights)}
        if digest and digest not in known:
            raise RequestError(
                f"{reference.name} has another digest",
                found=", ".join(sorted(known)),
                expected=digest,
                remedy=PULL,
            )
        where = f"the configuration of {reference.name}"
        config = Config()
        if manifest.config is not None:
            config = Config.parse(await self._text(manifest.config, where), where)
        check_supported(reference, config, manifest)
        projectors, faults = await self._projectors(manifest)
        system = await self._last(reference, manifest, "system")
        if "\ufffd" in system:
            faults.append("The system prompt is no UTF-8: U+FFFD stands in its place.")
        return StoredModel(
            reference,
            config,
            await self._choose_weights(weights),
            tuple(projectors),
            manifest.of_kind("draft"),
            await self._json(reference, manifest, "params", dict) or {},
            system,
            await self._last(reference, manifest, "template", "prompt"),
            check_messages(
                reference, await self._json(reference, manifest, "messages", list) or []
            ),
            tuple(faults),
        )

    async def _projectors(self, manifest: Manifest) -> tuple[list[Layer], list[str]]:
        """Return the projectors that are there; text can be had without the others."""
        whole, faults = [], []
        for layer in manifest.of_kind("projector"):
            try:
                (await self.open(layer)).close()
                whole.append(layer)
            except EngineError as error:
                faults.append(
                    "The projector for images and sound cannot be used: "
                    f"found {error.found}, expected {error.expected}."
                )
        return whole, faults

    async def _manifest(self, reference: Reference) -> bytes:
        *folders, tag = ("manifests", *reference.parts)
        folder = await _descend(self.root, folders)
        file = None if folder is None else await folder.open(tag)
        if file is None:
            raise await self._not_found(reference)
        return await _read_text(file, f"the manifest of {reference.name}")

    async def _text(self, layer: Layer, where: str) -> bytes:
        return await _read_text(await self.open(layer), where)

    async def _last(self, reference: Reference, manifest: Manifest, *kinds: str) -> str:
        """Return the last layer of some kinds as text, empty if there is none."""
        layers = manifest.of_kind(*kinds)
        if not layers:
            return ""
        data = await self._text(layers[-1], f"the {kinds[0]} of {reference.name}")
        return data.decode("utf-8-sig", "replace")

    async def _json(
        self, reference: Reference, manifest: Manifest, kind: str, expected: type
    ) -> Any:
        """Return the last layer of a kind as JSON, None if there is none."""
        layers = manifest.of_kind(kind)
        if not layers:
            return None
        where = f"the {kind} of {reference.name}"
        return parse_json(await self._text(layers[-1], where), where, expected)

    async def _choose_weights(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return the blob of the text model, or all blobs if they are its shards."""
        if len(layers) == 1:
            return layers
        files = await self.open_all(layers)
        with ExitStack() as opened:
            for file in files:
                opened.callback(file.close)
            try:
                await read_gguf(files)
                return layers
            except RequestError:  # they are not the shards of one model
                headers = [await read_gguf([file]) for file in files]
        chosen = [
            layer
            for layer, header in zip(layers, headers, strict=True)
            if header.metadata.get_str("general.type", "model") == "model"
            and header.architecture != "clip"
        ]
        return tuple(chosen[-1:] or layers[-1:])

    async def _not_found(self, reference: Reference) -> RequestError:
        names = [known.name for known in await self.references()]
        shown = ", ".join(names[:_SHOWN_NAMES])
        more = f" and {len(names) - _SHOWN_NAMES} more" * (len(names) > _SHOWN_NAMES)
        remedy = f"Pull it: ollama pull {reference.name}"
        if reference.tag.lower().endswith("cloud"):
            remedy = "A cloud model has no weights here: take another tag"
        if self.others:
            remedy += f", or look in {' or '.join(self.others)} (OLLAMA_MODELS)"
        return RequestError(
            f"there is no model {reference.name} in {self.root.name}",
            found=f"{shown}{more}" or "no model at all",
            remedy=remedy,
        )


# -- folders -------------------------------------------------------------------------


async def _descend(folder: Directory, path: Sequence[str]) -> Directory | None:
    found: Directory | None = folder
    for name in path:
        found = None if found is None else await found.directory(name)
    return found


async def _walk(
    folder: Directory, above: tuple[str, ...], wanted: tuple[str, ...] | None
) -> list[Reference]:
    """Return the names of the manifests below; with `wanted`, those equal but for case.

    Names that no model can have are passed over.
    """
    found: list[Reference] = []
    level = len(above)
    for name, kind in (await folder.entries()).items():
        if wanted is not None and name.lower() != wanted[level].lower():
            continue
        path = (*above, name)
        if level == 3 and kind == "file":
            reference = Reference.of_parts(path)
            found += [reference] if reference else []
        elif level < 3 and kind == "directory":
            found += await _walk_below(folder, path, wanted)
    return found


async def _walk_below(
    folder: Directory, path: tuple[str, ...], wanted: tuple[str, ...] | None
) -> list[Reference]:
    try:
        inner = await folder.directory(path[-1])
        return await _walk(inner, path, wanted) if inner else []
    except SourceError:
        if wanted is not None:
            raise
        return []  # the other models can still be listed


async def _read_text(file: OpenFile, where: str) -> bytes:
    """Read a small file whole and close it."""
    try:
        if file.size > MAX_TEXT_BYTES:
            raise FileFormatError(
                where,
                found=f"{file.size} bytes",
                expected=f"at most {MAX_TEXT_BYTES}",
                remedy=PULL,
            )
        return await file.read(0, file.size)
    finally:
        file.close()
