"""Scales beside matrices, and vectors of 16 bits: applied, or refused by name."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from oracle.families import open_model
from oracle.quant import random_blocks
from pyodide_app.errors import UnsupportedFormatError
from pyodide_app.gguf.reader import FileTensor, GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from tests.models.native import greedy, logits, opened
from tests.models.test_bad_models import limit
from tests.models.test_mixed_types import F32_L2, sizes
from tests.samples.gguf_bytes import build_gguf
from tests.support.compare import relative_l2
from tests.support.golden_data import committed_cases, committed_families

FAMILIES = {case.name: case.gguf for case in committed_families()}
MOE = next(case.gguf for case in committed_cases() if case.model == "moe8")
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
ROUTER = ("ffn_gate_inp.weight", "ffn_gate_inp.scale", "ffn_down_exps.scale")
Tensors = dict[str, tuple[str, tuple[int, ...], str, bytes]]  # for build_gguf, by name


def remade(path: Path) -> tuple[GGUFFile, Tensors]:
    """Return a golden model with random NVFP4 blocks, and scales, for its matrices.

    Rows that are no whole blocks are Q8_0. Vectors are of 16 bits, of one kind and of
    the other in turn.
    """
    with closing(FileSource(str(path))) as source:
        file = asyncio.run(read_gguf([source]))
        tensors: Tensors = {}
        for i, info in enumerate(file.tensors.values()):
            raw = source.read_sync(info.offset, info.offset + info.size)
            if len(info.dims) == 1:
                tensors[info.name] = halved(info, raw, "BF16" if i % 2 else "F16")
            elif info.name.endswith(ROUTER):
                tensors[info.name] = (info.name, info.dims, "F32", raw)
            else:
                tensors |= matrix(info, np.random.default_rng(i))
    return file, tensors


def halved(
    info: FileTensor, raw: bytes, kind: str
) -> tuple[str, tuple[int, ...], str, bytes]:
    """Round a vector to 16 bits."""
    values = np.frombuffer(raw, "<f4")
    if info.name == "output_norm.weight":  # or a soft cap would flatten it all
        values = values * np.float32(0.02)
    if values.max() > 65504:  # pairs that do not turn
        kind = "BF16"
    if kind == "F16":
        return info.name, info.dims, kind, values.astype("<f2").tobytes()
    brains = (values.view("<u4") >> 16).astype("<u2")
    return info.name, info.dims, kind, brains.tobytes()


def matrix(info: FileTensor, rng: np.random.Generator) -> Tensors:
    """Make a matrix, with a scale of it, or of each expert, and one of its input.

    In layer 1 all experts have one scale together.
    """
    if info.dims[0] % 64:
        raw = random_blocks("Q8_0", info.n_elements // 32, rng)
        return {info.name: (info.name, info.dims, "Q8_0", raw)}
    raw = random_blocks("NVFP4", info.n_elements // 64, rng)
    is_for_each = len(info.dims) == 3 and not info.name.startswith("blk.1.")
    n = info.dims[2] if is_for_each else 1
    scale = rng.uniform(0.5, 2, n).astype("<f4").tobytes()
    stem = info.name.removesuffix(".weight")
    rows = [
        (info.name, info.dims, "NVFP4", raw),
        (f"{stem}.scale", (n,), "F32", scale),
        (f"{stem}.input_scale", (1,), "F32", np.float32(99).tobytes()),
    ]
    return {row[0]: row for row in rows}


def write(file: GGUFFile, tensors: Tensors, path: Path) -> Path:
    """Write the model without its vocabulary."""
    path.write_bytes(build_gguf(sizes(file), tensors.values()))
    return path


@pytest.mark.parametrize(
    ("source", "most"),
    [
        (FAMILIES["qwen2"], None),  # with biases
        (FAMILIES["llama3"], None),  # with frequency factors
        (MOE, None),
        (MOE, 60_000),  # in parts, of which an expert's scale is in one
    ],
    ids=["qwen2", "llama3", "moe8", "moe8-in-parts"],
)
def test_equals_the_oracle(
    source: Path, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(*remade(source), tmp_path / "remade.gguf")
    oracle = open_model(path)
    expected = oracle.forward(IDS).logits
    if most:
        limit(monkeypatch, most)
    with opened(path, n_ctx=96) as engine:
        assert relative_l2(logits(engine, IDS), expected) < F32_L2
        assert greedy(engine, IDS, 4) == oracle.greedy(IDS, 4)
        weights = engine.loaded.model.weights
        assert any(w.type.name == "NVFP4" for w in weights.values())
        if most:
            experts = weights["blk.0.ffn_gate_up_exps.weight"]
            assert len(experts.parts) > 1


@pytest.mark.parametrize("name", ["token_embd", "blk.1.ffn_up"])
def test_a_scale_is_seen_in_the_result(name: str, tmp_path: Path) -> None:
    file, tensors = remade(FAMILIES["qwen2"])
    both = []
    for value in (1, 1.5):
        raw = np.float32(value).tobytes()
        tensors[f"{name}.scale"] = (f"{name}.scale", (1,), "F32", raw)
        path = write(file, tensors, tmp_path / f"{value}.gguf")
        with opened(path, n_ctx=96) as engine:
            both.append(logits(engine, IDS))
    assert relative_l2(*both) > 1e-2


def quantised(name: str, dims: tuple[int, ...]) -> Tensors:
    raw = bytes(int(np.prod(dims)) // 32 * 34)
    return {name: (name, dims, "Q8_0", raw)}


def scale(name: str, n: int) -> Tensors:
    return {name: (name, (n,), "F32", bytes(4 * n))}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            quantised("blk.0.attn_q.weight", (256, 256)),
            r"tensor blk.0.attn_q.scale: found \[1\] F32 beside a weight in Q8_0",
        ),
        (scale("blk.0.attn_q.scale", 256), r"attn_q.scale: found \[256\] F32 beside"),
        (scale("output_norm.scale", 1), r"output_norm.scale: found \[1\] F32 beside"),
        (quantised("blk.0.attn_norm.weight", (256,)), r"norm.weight: found Q8_0; exp"),
        (quantised("blk.1.attn_k.bias", (128,)), r"attn_k.bias: found Q8_0; expected"),
    ],
    ids=["of another type", "of rows", "of a vector", "norm", "bias"],
)
def test_what_no_kernel_would_apply_is_refused(
    change: Tensors, text: str, tmp_path: Path
) -> None:
    file, tensors = remade(FAMILIES["qwen2"])
    path = write(file, tensors | change, tmp_path / "bad.gguf")
    with pytest.raises(UnsupportedFormatError, match=text) as caught, opened(path):
        pass
    assert caught.value.remedy
