"""Ollama's names of models, and the manifests that say which blobs a model has."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyodide_app.errors import FileFormatError, RequestError
from pyodide_app.gguf.shallow import shallow

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"
MAX_TEXT_BYTES = 4 << 20  # of a manifest, and of each text that it names
MEDIA_TYPE = "application/vnd.ollama.image."
PULL = "Pull the model again with Ollama."

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"
_GRAMMAR = {"host": _HOST, "namespace": _NAMESPACE, "model": _PART, "tag": _PART}
_ALLOWED = {
    "host": "1 to 350 letters, digits and . _ - :",
    "namespace": "1 to 80 letters, digits and _ -",
    "model": "1 to 80 letters, digits and . _ -",
    "tag": "1 to 80 letters, digits and . _ -",
}
_DEEPEST = 64  # levels: deeper than anything Ollama writes
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of a model in a store: host, namespace, model and tag."""

    host: str
    namespace: str
    model: str
    tag: str
    digest: str = ""  # that its manifest or its weights must have; empty: any

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `[scheme://][host[:port]/][namespace/]model[:tag][@digest]`.

        Raises: RequestError when a part is missing, too long or has other characters.
        """
        rest, at, digest = text.strip().partition("@")
        rest = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", rest)
        path, slash, last = rest.rpartition("/")
        model, colon, tag = last.rpartition(":")
        if not colon:
            model, tag = last, TAG
        host, has_host, namespace = path.rpartition("/")
        reference = cls(
            host if has_host else HOST,
            namespace if slash else NAMESPACE,
            model,
            tag,
            parse_digest(digest),
        )
        part = reference._wrong_part()
        if part:
            found = f"the {part} {getattr(reference, part)!a:.90}"
            rule = f"{_ALLOWED[part]}, the first a letter, a digit or _"
            raise _wrong_name(text, found, rule)
        if at and not reference.digest:
            rule = "sha256: and 64 hexadecimal digits"
            raise _wrong_name(text, f"the digest {digest!a:.90}", rule)
        return reference

    @classmethod
    def of_parts(cls, parts: Sequence[str]) -> Reference | None:
        """Return the name that folders and a file stand for, None if they are none."""
        reference = cls(*parts)
        return None if reference._wrong_part() else reference

    def _wrong_part(self) -> str:
        """Return the first part that breaks the grammar, empty if none does."""
        pairs = zip(_GRAMMAR.items(), self.parts, strict=True)
        wrong = [part for (part, rule), v in pairs if not re.fullmatch(rule, v)]
        return wrong[0] if wrong else ""

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Return the four folder and file names below `manifests`."""
        return self.host, self.namespace, self.model, self.tag

    @property
    def full_name(self) -> str:
        """Return the name with nothing left out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def name(self) -> str:
        """Return the name as Ollama lists it: without the usual host and namespace."""
        if self.host.lower() != HOST:
            return self.full_name
        own = self.namespace.lower() != NAMESPACE
        return f"{f'{self.namespace}/' if own else ''}{self.model}:{self.tag}"


def _wrong_name(text: str, found: str, expected: str) -> RequestError:
    return RequestError(
        f"the model name {text!a:.90}",
        found=found,
        expected=expected,
        remedy="Give a name such as gemma4:e4b or hf.co/user/model:Q4_K_M.",
    )


def parse_digest(value: object) -> str:
    """Return the hex digits of `sha256:…` in lower case, empty if it is none."""
    match = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    return match[1].lower() if match else ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob that a manifest names."""

    kind: str  # the media type after application/vnd.ollama.image.; empty: another
    digest: str  # 64 lower-case hex digits
    size: int  # bytes

    @property
    def blob(self) -> str:
        """Return the name of the blob's file."""
        return f"sha256-{self.digest}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The blobs of one model."""

    config: Layer | None
    layers: tuple[Layer, ...]

    def of_kind(self, *kinds: str) -> tuple[Layer, ...]:
        """Return the layers of some kinds, in the manifest's order."""
        return tuple(layer for layer in self.layers if layer.kind in kinds)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Parse and validate a manifest. Raises: FileFormatError."""
    content = parse_json(data, where, dict)
    config = content.get("config")
    layers = content.get("layers")
    if not isinstance(layers, list | None):
        raise _wrong(where, "layers", layers, "a list")
    return Manifest(
        None if config is None else _layer(config, where),
        tuple(_layer(layer, where) for layer in layers or ()),
    )


def _layer(content: object, where: str) -> Layer:
    if not isinstance(content, dict):
        raise _wrong(where, "a layer", content, "an object")
    media_type, size = content.get("mediaType"), content.get("size")
    if not isinstance(media_type, str):
        raise _wrong(where, "the media type of a layer", media_type, "a text")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise _wrong(where, "the size of a layer", size, "bytes, not negative")
    ours = media_type.startswith(MEDIA_TYPE)
    kind = media_type.removeprefix(MEDIA_TYPE) if ours else ""
    digest = parse_digest(content.get("digest"))
    if not digest:
        expected = "sha256: and 64 hexadecimal digits"
        raise _wrong(where, "the digest of a layer", content.get("digest"), expected)
    return Layer(kind, digest, size)


def _wrong(where: str, what: str, found: object, expected: str) -> FileFormatError:
    shown = ascii(found)[:90]
    return FileFormatError(
        f"{where}: {what}", found=shown, expected=expected, remedy=PULL
    )


def parse_json(data: bytes, where: str, kind: type) -> Any:
    """Parse JSON of one kind from a store. Raises: FileFormatError."""
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(
            shallow(text, _DEEPEST), parse_float=_finite, parse_constant=_finite
        )
    except ValueError as error:
        raise FileFormatError(
            where, found=f"no JSON: {error}", expected="a JSON text", remedy=PULL
        ) from error
    if not isinstance(content, kind):
        expected = "a JSON object" if kind is dict else "a JSON list"
        raise _wrong(where, "the whole", content, expected)
    return content


def _finite(text: str) -> float:
    """Read a number; what this JSON came from could not have written NaN."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.20}")
    return number


@dataclass(frozen=True, slots=True)
class Config:
    """What a model's configuration blob says of it; empty where it says nothing."""

    model_format: str = ""  # "gguf", "safetensors"
    family: str = ""  # "gemma4"
    parameters: str = ""  # "25.8B"
    quantization: str = ""  # "Q4_K_M"
    renderer: str = ""  # "gemma4", "gemma4-small", "gemma4-large"
    remote_host: str = ""  # of a model that runs in Ollama's cloud
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Config:
        """Parse a configuration blob. Raises: FileFormatError."""
        content = parse_json(data, where, dict)
        listed = content.get("capabilities")
        capabilities = listed if isinstance(listed, list) else []
        return cls(
            model_format=_text(content, "model_format"),
            family=_text(content, "model_family"),
            parameters=_text(content, "model_type"),
            quantization=_text(content, "file_type"),
            renderer=_text(content, "renderer"),
            remote_host=_text(content, "remote_host"),
            remote_model=_text(content, "remote_model"),
            capabilities=tuple(c for c in capabilities if isinstance(c, str)),
        )

    @property
    def is_remote(self) -> bool:
        """Say whether the model runs in the cloud and has no weights here."""
        return bool(self.remote_host or self.remote_model)

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters that it claims, 0 if it claims none."""
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([KMBT]?)", self.parameters)
        scale = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
        return round(float(match[1]) * scale[match[2]]) if match else 0


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    return value if isinstance(value, str) else ""
