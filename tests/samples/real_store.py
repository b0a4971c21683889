"""Makes an Ollama store of Gemma 4's five models, nearly all holes; or of others.

    python -m tests.samples.real_store DIR
    OLLAMA_MODELS=DIR lapidary list

58 GB in name, 73 MB on the disk. Headers are whole, as Ollama's own converter and
quantiser write them; the data are zeros, so nothing that a model says means anything.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.samples import realshape
from tests.samples.ollama_store import add_model
from tests.samples.real_plain import PLAIN
from tests.samples.real_tensors import FILE_TYPES, MODELS

TAGS = {
    **{"gemma4:e2b": "e2b", "gemma4:e4b": "e4b", "gemma4:12b": "12b"},
    **{"gemma4:26b": "26b-a4b", "gemma4:31b": "31b"},
}
OTHERS = {  # of other families; their files come without vocabularies
    **{"llama3.2:3b": "llama3.2-3b", "llama3.1:8b": "llama3.1-8b"},
    **{"qwen3:8b": "qwen3-8b", "qwen3:30b": "qwen3-30b-a3b"},
    **{"gemma3:4b": "gemma3-4b", "gemma3:12b": "gemma3-12b"},
}
PARAMS = {"temperature": 1, "top_k": 64, "top_p": 0.95}


def write_store(
    root: Path, file_type: str = "Q4_K_M", tags: Mapping[str, str] = TAGS
) -> Path:
    """Write models under the names that Ollama's library has for them."""
    for tag, model in tags.items():
        write_model(root, tag, model, file_type)
    return root


def write_model(
    root: Path,
    tag: str,
    model: str,
    file_type: str = "Q4_K_M",
    *,
    layers: int | Sequence[int] | None = None,
    fill: Callable[[str], bool] = lambda name: False,
) -> Path:
    """Write one model into a store and return its blob.

    A blob's name is the digest of its header alone: hashing the zeros of 20 GB takes
    as long as hashing 20 GB.
    """
    blobs = root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    draft = blobs / "draft"
    layout = realshape.write(
        draft, model, file_type, layers=layers, ollama=True, fill=fill
    )
    digest = hashlib.sha256(layout.header).hexdigest()
    path = draft.replace(blobs / f"sha256-{digest}")
    weights: dict[str, Any] = {"digest": f"sha256:{digest}", "size": layout.size}
    billions = layout.n_parameters / 1e9
    family = {"model_family": dense.architecture} if (dense := PLAIN.get(model)) else {}
    config = {"model_type": f"{billions:.1f}B", "file_type": file_type, **family}
    add_model(root, tag, [("model", weights)], config=config, params=PARAMS)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a store from the command line."""
    parser = argparse.ArgumentParser(
        "python -m tests.samples.real_store", description=__doc__
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--type", choices=list(FILE_TYPES), default="Q4_K_M")
    options = parser.parse_args(arguments)
    root = write_store(options.folder, options.type)
    states = [path.stat() for path in (root / "blobs").iterdir()]
    size = sum(state.st_size for state in states)
    on_disk = 512 * sum(state.st_blocks for state in states)
    print(f"{size:,} bytes, of which {on_disk:,} on the disk")
    print(f"{len(MODELS)} models: OLLAMA_MODELS={options.folder} lapidary list")
    return 0


if __name__ == "__main__":
    sys.exit(main())
