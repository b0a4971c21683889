"""Real shapes of other families: what their headers hold, as files and in a store.

The expected numbers are the published files' own: tensors, and parameters in billions.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bench.cost import ADAPTER
from pyodide_app.__main__ import main
from pyodide_app.load import loader
from pyodide_app.load.options import LoadOptions
from tests.samples import real_store, realshape
from tests.samples.ollama_store import blob_of
from tests.samples.real_plain import PLAIN

PUBLISHED = {
    "llama3.2-3b": (255, 3.21, 2.02e9),
    "llama3.1-8b": (292, 8.03, 4.92e9),
    "qwen3-8b": (399, 8.19, 5.03e9),
    "qwen3-30b-a3b": (579, 30.53, 18.56e9),
    "gemma3-4b": (444, 3.88, 2.49e9),
    "gemma3-12b": (626, 11.77, 7.30e9),
}


def test_every_size_is_expected() -> None:
    assert set(PUBLISHED) == set(PLAIN) == set(real_store.OTHERS.values())


@pytest.mark.parametrize("model", PUBLISHED)
def test_headers_are_the_published_ones(model: str) -> None:
    n_tensors, billions, n_bytes = PUBLISHED[model]
    layout = realshape.plan(model, "Q4_K_M")
    assert len(layout.entries) == n_tensors
    assert round(layout.n_parameters / 1e9, 2) == billions
    # A published file has its vocabulary besides: some megabytes.
    assert 0 < n_bytes - layout.size < 20e6


@pytest.mark.parametrize("model", PUBLISHED)
def test_it_is_known_before_a_load_what_they_take(model: str) -> None:
    source = realshape.HoleSource(realshape.plan(model, "Q4_K_M"))
    fit = asyncio.run(loader.preflight([source], ADAPTER, LoadOptions())).fit
    shape = PLAIN[model]
    assert fit.n_ctx == 8192 and fit.mode == "resident"
    per_token = 2 * shape.n_kv_heads * shape.head_dim * 2  # keys and values, f16
    n_global = shape.n_layers // 6 if shape.window else shape.n_layers
    cached = n_global * 8192 * per_token
    sliding = (shape.n_layers - n_global) * per_token
    least = cached + sliding * shape.window
    assert least <= fit.kv_bytes <= least + sliding * 1024  # a chunk of a prompt more
    assert abs(fit.weight_bytes - source.size) < 0.01 * source.size


@pytest.mark.parametrize(("model", "globals_"), [("gemma3-4b", [1]), ("qwen3-8b", [])])
def test_cut_models_keep_their_kinds_of_layers(
    model: str, globals_: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "cut.gguf"
    layers = [0, 5] if globals_ else 2
    realshape.write(path, model, "Q4_K_M", layers=layers, n_vocab=256)
    source = realshape.HoleSource(
        realshape.plan(model, "Q4_K_M", layers=layers, n_vocab=256)
    )
    config = asyncio.run(loader.preflight([source], ADAPTER, LoadOptions())).config
    windows = [layer.window for layer in config.layers]
    expected = [1024, 0] if globals_ else [0, 0]
    assert windows == expected and config.n_vocab == 256
    assert path.stat().st_size == source.size


def test_a_store_of_them_is_listed_without_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = real_store.write_store(tmp_path, tags=real_store.OTHERS)
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    assert main(["list", "--json"]) == 0
    models = {m["name"]: m for m in json.loads(capsys.readouterr().out)["models"]}
    assert set(models) == set(real_store.OTHERS)
    for tag, model in models.items():
        assert model["problem"] is None
        assert model["family"] == PLAIN[real_store.OTHERS[tag]].architecture
        assert model["size"] == blob_of(root, tag).stat().st_size
    assert main(["inspect", "llama3.1:8b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_tensors"] == 292
