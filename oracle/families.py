"""The decoders by the name that a file gives its architecture."""

from __future__ import annotations

import os
from typing import Any

from oracle.decoder import Decoder
from oracle.gemma3 import Gemma3
from oracle.gemma4 import Gemma4
from oracle.gguf_file import GGUFFile
from oracle.llama import Llama
from oracle.qwen2 import Qwen2
from oracle.qwen3 import Qwen3
from oracle.qwen3moe import Qwen3Moe

FAMILIES: dict[str, type[Decoder[Any]]] = {
    "gemma3": Gemma3,
    "gemma4": Gemma4,
    "llama": Llama,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "qwen3moe": Qwen3Moe,
}


def open_model(path: str | os.PathLike[str]) -> Decoder[Any]:
    """Open a GGUF file of any family; raises ValueError for another architecture."""
    file = GGUFFile(path)
    name = file.metadata["general.architecture"]
    if name not in FAMILIES:
        raise ValueError(f"{path}: {name!r} is none of {sorted(FAMILIES)}")
    return FAMILIES[name](file)
