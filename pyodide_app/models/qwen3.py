"""Qwen 3: Llama's decoder with norms of queries and keys, and halves that turn."""

from __future__ import annotations

from collections.abc import Mapping

from pyodide_app.gguf.reader import FileTensor
from pyodide_app.models import llama
from pyodide_app.models.config import Config, Layer, Reader
from pyodide_app.models.family import Expected, Family

_TITLE = "Qwen 3"


def read(reader: Reader) -> Config:
    """Read a file's metadata.

    Raises FileFormatError or ShapeError naming the key or tensor at fault.
    """
    return llama.read_plain(reader, _TITLE, "halves", theta=1e6)


def layer_tensors(
    config: Config, layer: Layer, tensors: Mapping[str, FileTensor]
) -> list[Expected]:
    """List the tensors of a layer: those of Llama, and two norms."""
    return [
        *llama.plain_tensors(config, layer, tensors),
        ("attn_q_norm.weight", (layer.head_dim,), False),
        ("attn_k_norm.weight", (layer.head_dim,), False),
    ]


FAMILY = Family(
    architecture="qwen3",
    title=_TITLE,
    read=read,
    layer_tensors=layer_tensors,
    run_layer=llama.run_layer,
    is_strict=True,
    sampling={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
)
