"""What a file that is no GGUF looks like, from its first bytes."""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from dataclasses import dataclass

from pyodide_app.gguf.shallow import shallow

MAGIC = b"GGUF"

CHOOSE = "Choose a model's .gguf file."
CONVERT = "Get the same model as a GGUF, or convert it with llama.cpp's tools."
DOWNLOAD = "Download the file itself again; what was saved is not the model."
UNPACK = "Unpack it and choose the .gguf file inside, if there is one."
BLOB = "In Ollama's folder blobs choose the large file that starts with sha256-."


@dataclass(frozen=True, slots=True)
class Signature:
    """What was found, and what to do about it."""

    found: str
    remedy: str


_LEGACY = ("GGML", "GGMF", "GGJT", "GGLA", "GGSN")  # in either case and byte order
_PREFIXES: tuple[tuple[bytes, str, str], ...] = (
    (b"FUGG", "a byte-swapped GGUF", "Choose a little-endian GGUF."),
    (b"PK\x03\x04", "a ZIP archive (PyTorch checkpoints are such, too)", CONVERT),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (b"\x80\x02", "a Python pickle (an old PyTorch checkpoint)", CONVERT),
    (b"\x89HDF\r\n", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"LITERTLM", "a LiteRT-LM model", CONVERT),
    (b"%PDF", "a PDF document", CHOOSE),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file", DOWNLOAD),
)
_LARGEST_JSON = 1 << 20
_DEEPEST = 100  # levels of it


def describe_signature(start: bytes, size: int) -> Signature:
    """Say what a file that begins with `start` and has `size` bytes seems to be."""
    for prefix, found, remedy in _PREFIXES:
        if start.startswith(prefix):
            return Signature(found, remedy)
    word = start[:4].decode("latin-1").upper()
    if word in _LEGACY or word[::-1] in _LEGACY:
        return Signature("a GGML file of the time before GGUF", CONVERT)
    header_length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= header_length <= size - 8:
        return Signature("a safetensors file", CONVERT)
    if start[4:8] == b"TFL3":
        return Signature("a TensorFlow Lite model", CONVERT)
    if start[257:262] == b"ustar":
        return Signature("a tar archive", UNPACK)
    if not start.strip(b"\0"):
        found = "only zeros at its beginning, as in an unfinished download"
        return Signature(found, "Wait for the download to finish, or start it again.")
    return _text(start, size) or Signature(
        f"the first bytes {start[:8].hex(' ')}, of no known kind", CHOOSE
    )


def _text(start: bytes, size: int) -> Signature | None:
    """Recognise the kinds of text that lie next to models; None for binary data."""
    try:
        # The end of the part that was read may cut a character in two.
        decoder = getincrementaldecoder("utf-8")()
        text = decoder.decode(start, final=len(start) == size)
    except UnicodeDecodeError:
        return None
    if any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text[:4096]):
        return None
    body = text.lstrip("\ufeff \t\r\n")
    if re.match(r"<(!doctype html|html|head|body)", body, re.IGNORECASE):
        return Signature("a web page (HTML)", DOWNLOAD)
    if body.startswith("<?xml") or body.startswith("<Error"):
        return Signature("an XML text, as servers send for an error", DOWNLOAD)
    if body.startswith(("{", "[")):
        return _json(body, complete=len(start) == size)
    if "{{" in body and "}}" in body:
        return Signature("a text: Ollama's or another prompt template", BLOB)
    if re.match(r"(FROM|#).*", body) and re.search(r"^FROM ", body, re.MULTILINE):
        return Signature("an Ollama Modelfile", BLOB)
    if re.search(r"licen[sc]e|terms of use", body[:4096], re.IGNORECASE):
        return Signature("a text: a license", BLOB)
    return Signature("a text", CHOOSE)


def _json(body: str, complete: bool) -> Signature:
    content: object = None
    if complete and len(body) <= _LARGEST_JSON:
        try:
            content = json.loads(shallow(body, _DEEPEST))
        except ValueError:
            return Signature("a JSON text that is damaged", CHOOSE)
    if not isinstance(content, dict):
        return Signature("a JSON text", CHOOSE)
    if "layers" in content and "schemaVersion" in content:
        return Signature("an Ollama manifest", _manifest_remedy(content))
    if "model_format" in content or "rootfs" in content:
        return Signature("the configuration of an Ollama model", BLOB)
    if "weight_map" in content:
        return Signature("the index of a safetensors model", CONVERT)
    if "architectures" in content or "model_type" in content:
        return Signature("the configuration of a Hugging Face model", CONVERT)
    if content.keys() & {"temperature", "top_k", "top_p", "stop", "num_ctx"}:
        return Signature("the parameters of an Ollama model", BLOB)
    return Signature("a JSON text", CHOOSE)


def _manifest_remedy(manifest: dict[str, object]) -> str:
    """Name the blob that holds the weights when the manifest has one."""
    layers = manifest["layers"]
    for layer in layers if isinstance(layers, list) else []:
        fields = layer if isinstance(layer, dict) else {}
        digest = fields.get("digest")
        is_model = fields.get("mediaType") == "application/vnd.ollama.image.model"
        if is_model and re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)):
            return f"Choose blobs/{str(digest).replace(':', '-')} in Ollama's folder."
    return BLOB
