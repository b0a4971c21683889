"""A model whose every matrix has another type: all of them, in every role."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from oracle.gemma4 import Gemma4
from oracle.quant import random_blocks
from pyodide_app.gguf.reader import FileTensor, GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gguf.types import TYPES
from tests.models.native import greedy, logits, opened
from tests.samples.gguf_bytes import build_gguf
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, committed_cases

F32_L2 = 5e-5


def write_mixed(case: Case, path: Path, shift: int) -> Path:
    """Write a golden model's sizes and vectors, with random blocks for its matrices.

    The types go round from matrix to matrix, beginning with the `shift`-th.
    """
    with closing(FileSource(str(case.gguf))) as source:
        file = asyncio.run(read_gguf([source]))
        turn, rng = count(shift), np.random.default_rng(shift)
        tensors = [remake(info, source, turn, rng) for info in file.tensors.values()]
    path.write_bytes(build_gguf(sizes(file), tensors))
    return path


def sizes(file: GGUFFile) -> dict[str, object]:
    """Return the metadata without the vocabulary."""
    return {
        key: value.tolist() if isinstance(value, memoryview) else value
        for key, value in file.metadata.items()
        if not key.startswith("tokenizer.")
    }


def remake(
    info: FileTensor, source: FileSource, turn: count[int], rng: np.random.Generator
) -> tuple[str, tuple[int, ...], str, bytes]:
    """Return a tensor for `build_gguf`."""
    if len(info.dims) == 1:
        data = source.read_sync(info.offset, info.offset + info.size)
        if info.name == "output_norm.weight":  # or the soft cap would flatten it all
            data = (np.frombuffer(data, np.float32) * 0.02).tobytes()
        return info.name, info.dims, info.type.name, data
    kind = next(
        kind
        for kind in (TYPES[i % len(TYPES)] for i in turn)
        if info.dims[0] % kind.block_size == 0
    )
    raw = random_blocks(kind.name, info.n_elements // kind.block_size, rng)
    return info.name, info.dims, kind.name, bytes(raw)


@pytest.mark.parametrize("shift", [0, 9, 18])
@pytest.mark.parametrize("case", committed_cases(), ids=str)
def test_any_mixture_of_types_equals_the_oracle(
    case: Case, shift: int, tmp_path: Path
) -> None:
    path = write_mixed(case, tmp_path / "mixed.gguf", shift)
    oracle, ids = Gemma4.open(path), case.ids("p20")
    with opened(path) as engine:
        got = logits(engine, ids)
        assert relative_l2(got, oracle.forward(ids).logits) < F32_L2
        assert greedy(engine, ids, 4) == oracle.greedy(ids, 4)
        used = {weight.type.name for weight in engine.loaded.model.weights.values()}
    assert len(used) >= 12
