"""Which of Gemma 4's two chat templates a model was trained with, and by what.

They differ in one thing: where a large model is not to think, it finds an empty thought
already written.
"""

from __future__ import annotations

import re

from pyodide_app.gguf.reader import GGUFFile

KEY = "tokenizer.chat_template"
# Smaller than any model that was released. Those who make such a model give it Gemma's
# vocabulary with all that comes along, whatever they train it on.
TOY_PARAMETERS = 1_000_000_000

_TURN = "<|turn>"
_EMPTY_THOUGHT = re.compile(r"<\|channel>thought(?:\\n|\n)<channel\|>")


def by_name(name: str) -> bool | None:
    """Say whether a model that is called this has the large template; None if unknown.

    A name may be a digest, which can contain anything.
    """
    name = re.sub(r"[0-9a-f]{16,}", "", name.lower())
    if re.search("e2b|e4b", name):
        return False
    return True if re.search("12b|26b|31b", name) else None


def by_template(template: str) -> bool | None:
    """Say whether this is the large template; None for one that is not Gemma 4's."""
    if _TURN not in template:
        return None
    return _EMPTY_THOUGHT.search(template) is not None


def is_large(
    per_layer_dim: int, n_parameters: int, name: str = "", template: str = ""
) -> bool:
    """Say whether a model was trained with the template of the large models.

    What the file brings decides, then what the model is: per-layer embeddings mark the
    small ones (E2B, E4B), whatever their size. Last, a name that tells.
    """
    is_toy = n_parameters < TOY_PARAMETERS
    brought = None if is_toy else by_template(template)
    if brought is not None:
        return brought
    if per_layer_dim > 0:
        return False
    named = by_name(name)
    return not is_toy if named is None else named


def is_large_file(file: GGUFFile) -> bool:
    """Say the same of a file, by its metadata and its tensors."""
    metadata = file.metadata
    key = f"{file.architecture}.embedding_length_per_layer_input"
    return is_large(
        metadata.get_int(key, 0),
        file.n_parameters,
        metadata.advised("general.name", metadata.get_str, ""),
        metadata.advised(KEY, metadata.get_str, ""),
    )
