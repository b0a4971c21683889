"""The families of models, by `general.architecture`: this is the only list of them."""

from __future__ import annotations

from pyodide_app import errors
from pyodide_app.gguf.strings import quote
from pyodide_app.models import gemma3, gemma4, llama, qwen2, qwen3, qwen3moe
from pyodide_app.models.family import Family

FAMILIES = {
    module.FAMILY.architecture: module.FAMILY
    for module in (gemma4, gemma3, llama, qwen2, qwen3, qwen3moe)
}


def find_family(architecture: str) -> Family:
    """Return a family; raises UnsupportedArchitectureError for one that is not here."""
    if architecture not in FAMILIES:
        titles = ", ".join(family.title for family in FAMILIES.values())
        raise errors.UnsupportedArchitectureError(
            "this model's architecture is not supported",
            found=quote(architecture),
            expected=" or ".join(repr(name) for name in sorted(FAMILIES)),
            remedy=f"Choose a text model of {titles}",
        )
    found: Family = FAMILIES[architecture]
    return found
