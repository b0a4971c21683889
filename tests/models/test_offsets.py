"""Tensors far into a file of many gigabytes arrive in GPU memory bit for bit."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.gguf.reader import FileTensor, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.graph import tuning
from pyodide_app.graph.plan import whole
from pyodide_app.load import weights
from tests.samples import realshape
from tests.samples.real_blocks import Entry
from tests.support.gpu import device


def on_the_gpu(info: FileTensor) -> bytes:
    """Upload a tensor as the loader does, and read it back."""
    gpu = device()
    placed = weights.place(info, gpu.info.limits)
    assert len(placed.parts) == 1
    buffer = placed.parts[0].view.buffer
    tune = tuning.choose(gpu.info.is_software)
    try:
        asyncio.run(weights.upload(gpu, tune, [(placed, info)], lambda n: None))
        return asyncio.run(gpu.read(whole(buffer)))
    finally:
        gpu.release([buffer])


def in_the_file(path: Path, entry: Entry) -> bytes:
    """Read a tensor's bytes, as the GPU stores them."""
    with open(path, "rb") as file:
        file.seek(entry.offset)
        raw = np.frombuffer(file.read(entry.size), np.uint8)
    if entry.type == "Q8_0":  # bodies and scales apart; scales are its first two bytes
        raw = np.concatenate(oracle.repack(raw, 34, 0, 2))
    return raw.tobytes()


@pytest.mark.parametrize(
    ("model", "file_type", "tensor", "kind"),
    [
        ("31b", "Q4_K_M", "attn_k.weight", "Q4_K"),
        ("31b", "Q4_K_M", "attn_norm.weight", "F32"),
        ("26b-a4b", "Q8_0", "attn_k.weight", "Q8_0"),
        ("26b-a4b", "Q8_0", "ffn_gate_inp.weight", "F32"),
    ],
)
def test_tensors_beyond_4_and_16_gb_arrive_intact(
    model: str, file_type: str, tensor: str, kind: str, tmp_path: Path
) -> None:
    planned = realshape.plan(model, file_type)
    ours = [e for e in planned.entries if e.name.endswith(f".{tensor}")]
    far = [next(e for e in ours if e.offset > mark) for mark in (2**32, 2**34)]
    assert {entry.type for entry in far} == {kind}
    path = tmp_path / "real.gguf"
    names = {entry.name for entry in far}
    realshape.write(path, model, file_type, fill=lambda name: name in names)
    with closing(FileSource(path)) as source:
        infos = asyncio.run(read_gguf([source])).tensors
        for entry in far:
            assert infos[entry.name].offset == entry.offset
            expected, got = in_the_file(path, entry), on_the_gpu(infos[entry.name])
            assert np.count_nonzero(np.frombuffer(expected, np.uint8)) > entry.size // 2
            assert hashlib.sha256(got).digest() == hashlib.sha256(expected).digest()


def test_rows_of_embeddings_beyond_4_gb_arrive_intact(tmp_path: Path) -> None:
    path, gpu = tmp_path / "real.gguf", device()
    name = "per_layer_token_embd.weight"
    entry = realshape.write(path, "e4b", "Q4_K_M", ollama=True)[name]
    ids = [262_143, 7, 200_001, 262_143]
    rows = {i: np.random.default_rng(i).bytes(2 * 42 * 256) for i in ids}
    with open(path, "r+b") as file:
        for i, row in rows.items():
            file.seek(entry.offset + i * len(row))
            file.write(row)
        assert file.tell() > 2**32
    with closing(FileSource(path)) as source:
        info = asyncio.run(read_gguf([source])).tensors[name]
        gathered = weights.HostRows(info, 8, gpu.info.limits)
        try:
            asyncio.run(gathered.gather(gpu, ids))
            view = gathered.weight.parts[0].view
            got = asyncio.run(gpu.read(view))
        finally:
            gpu.release(gathered.buffers)
    expected = b"".join(rows[i] for i in ids)
    assert got == expected.ljust(view.size, b"\0")
