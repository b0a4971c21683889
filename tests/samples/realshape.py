"""Writes GGUFs shaped exactly as the released models, in files that are mostly holes.

    python -m tests.samples.realshape 26b-a4b Q4_K_M model.gguf --layers 2 --fill
    python -m tests.samples.realshape llama3.1-8b Q4_K_M model.gguf

Metadata, tensor names, shapes and types are those of the real files; the data are zeros
that take no place on the disk, but for the tensors that `fill` chooses: these get
blocks of sane magnitude, each the same however often and wherever it is written.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from oracle.quant import FORMATS
from tests.samples import real_plain, real_vocabulary
from tests.samples.gguf_bytes import assemble, key_value, tensor_info, typed
from tests.samples.real_blocks import Entry, pieces
from tests.samples.real_plain import PLAIN, Plain
from tests.samples.real_tensors import (
    FILE_TYPES,
    MODELS,
    Shape,
    ffn_dim,
    is_sliding,
    kept_layers,
    n_shared,
    tensors,
)

ALIGNMENT = 32
SIZES: dict[str, Shape | Plain] = {**MODELS, **PLAIN}


@dataclass(frozen=True, slots=True)
class Layout:
    """A file before it is written: its header, its tensors, its size."""

    header: bytes
    entries: tuple[Entry, ...]
    size: int

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def n_parameters(self) -> int:
        """Return the elements of all tensors."""
        return sum(prod(entry.dims) for entry in self.entries)


def write(
    path: Path,
    model: str,
    file_type: str,
    *,
    layers: int | Sequence[int] | None = None,
    n_vocab: int | None = None,
    ollama: bool = False,
    fill: Callable[[str], bool] = lambda name: False,
) -> Layout:
    """Write a file; tensors that `fill` is true of get data, the others holes.

    `layers` keeps these layers, or that many with each kind among them. A vocabulary
    cut to `n_vocab` rows comes without tokens, as all of other families do. `ollama`
    writes what Ollama's converter and quantiser write, else it is llama.cpp's.
    """
    layout = plan(model, file_type, layers=layers, n_vocab=n_vocab, ollama=ollama)
    with open(path, "wb") as file:
        file.write(layout.header)
        file.truncate(layout.size)
        for entry in layout.entries:
            if entry.name == "rope_freqs.weight" or fill(entry.name):
                file.seek(entry.offset)
                file.writelines(pieces(entry))
    return layout


def plan(
    model: str,
    file_type: str,
    *,
    layers: int | Sequence[int] | None = None,
    n_vocab: int | None = None,
    ollama: bool = False,
) -> Layout:
    """Lay a file out without writing it."""
    shape, types = SIZES[model], FILE_TYPES[file_type]
    kept = kept_layers(shape, layers)
    keys = [key_value(*pair) for pair in metadata(model, shape, kept, file_type)]
    if isinstance(shape, Plain):
        rows = real_plain.tensors(shape, kept, n_vocab or shape.n_vocab, types)
    else:
        n_vocab = n_vocab or real_vocabulary.N_TOKENS
        rows = tensors(shape, kept, n_vocab, types, ollama)
        if n_vocab == real_vocabulary.N_TOKENS:
            keys += real_vocabulary.key_values(ollama)
    infos, entries, offset = [], [], 0
    for name, dims, kind in rows:
        infos.append(tensor_info(name, dims, FORMATS[kind].id, offset))
        entries.append(Entry(name, dims, kind, offset))
        offset += -(-entries[-1].size // ALIGNMENT) * ALIGNMENT
    header = assemble(keys, infos)
    moved = [Entry(e.name, e.dims, e.type, e.offset + len(header)) for e in entries]
    return Layout(header, tuple(moved), len(header) + offset)


class HoleSource:
    """A planned file that is nowhere: its header, and zeros to its full size."""

    def __init__(self, layout: Layout, name: str = "real.gguf") -> None:
        self.name = name
        self.size = layout.size
        self._header = layout.header

    async def read(self, begin: int, end: int) -> bytes:
        """Return the range."""
        return self._header[begin:end].ljust(end - begin, b"\0")


def metadata(
    model: str, shape: Shape | Plain, kept: list[int], file_type: str
) -> Iterator[tuple[str, Any]]:
    """Yield the keys in the order of llama.cpp's converter."""
    if isinstance(shape, Plain):
        family, title, own = shape.architecture, model, real_plain.sizes(shape, kept)
    else:
        sliding = [is_sliding(shape, layer) for layer in kept]
        family, title = "gemma4", f"Gemma 4 {model} it"
        own = sizes(shape, kept, sliding)
    yield "general.architecture", family
    yield "general.type", "model"
    yield "general.name", f"{title} (real shape, no weights)"
    for key, value in own.items():
        yield f"{family}.{key}", value
    yield "general.quantization_version", 2
    yield "general.file_type", FILE_TYPES[file_type][0]
    if model == "12b":
        yield "tokenizer.ggml.suppress_tokens", typed("i32", [258882, 258883])


def sizes(shape: Shape, kept: list[int], sliding: list[bool]) -> dict[str, Any]:
    """Return the architecture's own keys."""
    ffn_dims = [ffn_dim(shape, layer) for layer in kept]
    n_kv = [shape.n_kv_heads[slides] for slides in sliding]
    keys: dict[str, Any] = {
        "block_count": len(kept),
        "context_length": shape.n_ctx,
        "embedding_length": shape.dim,
        "feed_forward_length": scalar_or_array(ffn_dims, bool(shape.shared_ffn_dim)),
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": scalar_or_array(
            n_kv, len(set(shape.n_kv_heads)) > 1
        ),
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.key_length": shape.head_dims[0],
        "attention.value_length": shape.head_dims[0],
        "final_logit_softcapping": 30.0,
        "attention.sliding_window": shape.window,
        "attention.shared_kv_layers": n_shared(shape, kept),
        "embedding_length_per_layer_input": shape.per_layer_dim,
        "attention.sliding_window_pattern": sliding,
        "attention.key_length_swa": shape.head_dims[1],
        "attention.value_length_swa": shape.head_dims[1],
        "rope.dimension_count": shape.head_dims[0],
        "rope.dimension_count_swa": shape.head_dims[1],
    }
    if shape.n_experts:
        keys["expert_count"] = shape.n_experts
        keys["expert_used_count"] = shape.top_k
        keys["expert_feed_forward_length"] = shape.expert_ffn_dim
    return keys


def scalar_or_array(values: list[int], per_layer: bool) -> Any:
    """Return one value, or all as an i32 array where layers differ."""
    return typed("i32", values) if per_layer else values[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file from the command line."""
    parser = argparse.ArgumentParser(
        "python -m tests.samples.realshape", description=__doc__
    )
    parser.add_argument("model", choices=list(SIZES), metavar="MODEL")
    parser.add_argument("type", choices=list(FILE_TYPES), metavar="TYPE")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--layers", type=int, metavar="N", help="keep N of the layers")
    parser.add_argument(
        "--fill", action="store_true", help="write data into all tensors, no holes"
    )
    parser.add_argument(
        "--ollama", action="store_true", help="as Ollama writes it, not llama.cpp"
    )
    options = parser.parse_args(arguments)
    layout = write(
        options.out,
        options.model,
        options.type,
        layers=options.layers,
        ollama=options.ollama,
        fill=lambda name: options.fill,
    )
    on_disk = 512 * os.stat(options.out).st_blocks
    print(f"{layout.size:,} bytes, of which {on_disk:,} on the disk")
    return 0


if __name__ == "__main__":
    sys.exit(main())
