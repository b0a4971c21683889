"""What a GGUF advises and no pass needs: taken where it can be, else noted."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyodide_app.errors import shorten
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.options import sampling_value

_LONGEST_NAME = 160  # characters
_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
}


def model_name(metadata: Metadata) -> str:
    """Return the model's name as it can be shown, empty if it has none."""
    name = metadata.advised("general.name", metadata.get_str, "")
    return shorten(name, _LONGEST_NAME)


def sampling_defaults(metadata: Metadata) -> dict[str, Any]:
    """Return the options that a GGUF recommends, else those its family is known for.

    Source: the keys general.sampling.temp, .top_k, .top_p and .min_p.
    """
    architecture = metadata.advised("general.architecture", metadata.get_str, "")
    family = FAMILIES.get(architecture)
    found: dict[str, Any] = dict(family.sampling) if family else {}
    for name, option in _SAMPLING.items():
        read = partial(_sampling_value, metadata, option)
        value = metadata.advised(f"general.sampling.{name}", read, None)
        if value is not None:
            found[option] = value
    return found


def notes(metadata: Metadata) -> tuple[str, ...]:
    """Return what was ignored or taken otherwise, whether or not it was read before."""
    model_name(metadata)
    sampling_defaults(metadata)
    return metadata.notes


def _sampling_value(metadata: Metadata, option: str, key: str) -> object:
    """Return the option's value; what stands for another is noted."""
    value = sampling_value(option, metadata[key])
    if value != metadata[key]:
        metadata.note(key, f"is {metadata[key]}, taken as {value}")
    return value
