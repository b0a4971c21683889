"""Per-layer embeddings that stay in the file: the same numbers, a row per token."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gguf.sources import BytesSource, FileSource
from pyodide_app.gguf.types import BY_NAME, TYPES, GGMLType
from pyodide_app.graph import tuning
from pyodide_app.load import weights
from pyodide_app.load.loader import load
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.engine import Engine
from tests.models.native import greedy, logits, opened
from tests.models.test_bad_models import limit
from tests.models.test_cost import step_costs
from tests.samples.toy_models import IDS, TOY_A, write_toy
from tests.shaders.matrices import bench, matrix
from tests.support.compare import relative_l2
from tests.support.golden_data import Case, cases
from tests.support.gpu import device

PLE = cases("ple")


class Counting(FileSource):
    """A file that remembers what was read of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ranges: list[tuple[int, int]] = []

    async def read(self, begin: int, end: int) -> bytes:
        self.ranges.append((begin, end))
        return await super().read(begin, end)


@contextmanager
def hosted(
    path: Path, *, kv: str = "f32", chunk: int | None = None, n_ctx: int | None = None
) -> Iterator[Engine]:
    """Load a model whose per-layer embeddings stay in the file."""
    gpu = device()
    tune = tuning.choose(gpu.info.is_software)
    if chunk:
        tune = dataclasses.replace(tune, chunk=chunk)
    with closing(Counting(path)) as source:
        options = LoadOptions(n_ctx=n_ctx, kv=kv, host_embeddings=True, tune=tune)
        loaded = asyncio.run(load([source], gpu, options))
        engine = Engine(gpu, loaded)
        try:
            yield engine
        finally:
            engine.close()


@pytest.mark.parametrize("case", PLE, ids=str)
@pytest.mark.parametrize("prompt", ["p1", "p20", "p80"])
def test_logits_are_exact(case: Case, prompt: str) -> None:
    with hosted(case.gguf) as engine:
        assert engine.info["mode"] == "host-embeddings"
        got = logits(engine, case.ids(prompt))
    assert relative_l2(got, case.exact(prompt)) < 5e-5
    assert np.array_equal(got.argmax(-1), case.exact(prompt).argmax(-1))


@pytest.mark.parametrize("case", PLE, ids=str)
def test_tokens_are_those_of_the_resident_model(case: Case) -> None:
    with hosted(case.gguf, kv="f16") as engine:
        host = [greedy(engine, case.ids(p), 32) for p in ("p20", "p80")]
    with opened(case.gguf, kv="f16") as engine:
        assert host == [greedy(engine, case.ids(p), 32) for p in ("p20", "p80")]
    with hosted(case.gguf) as engine:
        assert greedy(engine, case.ids("p20"), 32) == case.greedy("p20")


def test_chunks_gather_their_own_rows() -> None:
    case = PLE[0]
    with hosted(case.gguf, chunk=7) as engine:
        assert relative_l2(logits(engine, case.ids("p80")), case.exact("p80")) < 5e-5
        assert greedy(engine, case.ids("p20"), 8) == case.greedy("p20")[:8]


def test_each_row_is_read_once_for_a_chunk() -> None:
    case = PLE[0]
    ids = case.ids("p20")
    repeated = [*ids, *ids, ids[0]]
    with hosted(case.gguf) as engine:
        rows = engine.loaded.rows
        assert rows is not None
        source = rows.info.source
        assert isinstance(source, Counting)
        source.ranges.clear()
        logits(engine, repeated)
        size = rows.info.row_bytes
        starts = {rows.info.offset + i * size for i in ids}
        assert sorted(source.ranges) == [(s, s + size) for s in sorted(starts)]


def test_a_step_uploads_one_row() -> None:
    case = next(case for case in PLE if case.type == "q4_k_m")
    with hosted(case.gguf, kv="f16") as engine:
        rows = engine.loaded.rows
        assert rows is not None
        assert rows.info.type.name == "Q6_K"
        assert rows.info.dims[0] == 6 * 128  # three blocks of 208 + 2 bytes
        costs = asyncio.run(step_costs(engine, case.ids("p20"), 6))
    for cost in costs[2:-1]:
        assert cost["bytes_uploaded"] == 3 * 208 + 8  # scales: 6 bytes, in whole words
        assert cost["host_calls"] == 1 + 2  # a plane each
        assert (cost["submits"], cost["objects"]) == (1, 0)


def test_table_is_not_on_the_gpu() -> None:
    case = PLE[0]
    with hosted(case.gguf) as engine, opened(case.gguf) as resident:
        host, there = engine.loaded.fit, resident.loaded.fit
        assert there.weight_bytes - host.weight_bytes == host.host_bytes > 0
        labels = {buffer.label: buffer.size for buffer in engine.loaded.layout.buffers}
        rows = engine.loaded.rows
        assert rows is not None
        size = rows.info.row_bytes * engine.loaded.tuning.chunk
        assert labels["per_layer_token_embd.weight"] == size


def test_passes_are_as_wide_as_a_binding_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = next(case for case in PLE if case.type == "q4_k_m")
    limit(monkeypatch, 60_000)  # 19 tokens of all layers' inputs, 768 floats each
    with hosted(case.gguf, chunk=128, n_ctx=104) as engine:
        assert engine.loaded.tuning.chunk == 16
        rows = engine.loaded.rows
        assert rows is not None and rows.weight.n_rows == 16
        ids = [*case.ids("p20"), *case.ids("p80")]
        got = logits(engine, ids)
        widest = max(buffer.size for buffer in engine.loaded.layout.buffers)
        assert 60_000 / 2 < widest <= 60_000
    monkeypatch.undo()
    with opened(case.gguf) as engine:
        assert relative_l2(got, logits(engine, ids)) < 1e-5


def test_toy_in_float32_agrees(tmp_path: Path) -> None:
    path = write_toy(tmp_path / "toy.gguf", TOY_A)
    with hosted(path) as engine:
        host = logits(engine, IDS)
    with opened(path) as engine:
        np.testing.assert_array_equal(host, logits(engine, IDS))


@pytest.mark.parametrize("type_name", ["IQ2_S", "IQ1_M", "NVFP4"])
def test_what_stands_behind_blocks_stands_behind_gathered_rows(type_name: str) -> None:
    # A code book behind two planes, and behind whole blocks; a scale of the table.
    weights_of = matrix(type_name, 300, 512)
    kind, scale = BY_NAME[type_name], np.float32(0.75)
    source = BytesSource(weights_of.raw + scale.tobytes())
    size = len(weights_of.raw)
    info = FileTensor("table", (512, 300), kind, source, 0, size)
    if kind.has_scales:
        beside = FileTensor("scale", (1,), BY_NAME["F32"], source, size, 4)
        info = dataclasses.replace(info, scale=beside)
    gpu, ids = device(), [299, 7, 7, 131]
    rows = weights.HostRows(info, 5, gpu.info.limits)
    with bench() as on:
        on.buffers += rows.buffers
        asyncio.run(rows.begin(gpu))
        asyncio.run(rows.gather(gpu, ids))
        numbers = on.tensor(np.arange(len(ids), dtype=np.uint32))
        (y,) = on.run(lambda ops: ops.embed(numbers, rows.weight, 1.0))
    expected = weights_of.values[ids] * (scale if kind.has_scales else 1)
    np.testing.assert_allclose(y, expected, rtol=2**-23)


@pytest.mark.parametrize("kind", [k for k in TYPES if k.is_split], ids=lambda k: k.name)
def test_planes_are_the_oracles(kind: GGMLType) -> None:
    raw = np.random.default_rng(1).integers(0, 256, 7 * kind.block_bytes, np.uint8)
    bodies, scales = oracle.repack(
        raw, kind.block_bytes, kind.scale_offset, kind.scale_bytes
    )
    got = weights.split_planes(kind, raw.tobytes())
    assert got == (bodies.tobytes(), scales.tobytes())
