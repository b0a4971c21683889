"""The kinds of models in Ollama's store, and what they advise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.gguf.directories import PathDirectory
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.model import describe_entry
from pyodide_app.ollama.store import Store
from pyodide_app.run.sampling import SamplingOptions
from tests.app.ollama_reading import (
    GGUF,
    TENSOR,
    VISION,
    entries,
    read_all,
    resolve,
    wait,
)
from tests.samples.gguf_bytes import build_gguf, typed
from tests.samples.ollama_store import (
    CONFIG,
    add_blob,
    add_model,
    make_store,
    manifest_path,
    write_manifest,
)

# -- kinds of models -----------------------------------------------------------------


def test_a_safetensors_model_is_explained(tmp_path: Path) -> None:
    layers = [("tensor", b"a"), ("tensor", b"b"), ("json", b"{}")]
    add_model(tmp_path, "mlx:t", layers, config={"model_format": "safetensors"})
    problem = entries(tmp_path)["mlx:t"].problem
    assert isinstance(problem, errors.UnsupportedFormatError)
    assert "safetensors" in problem.what and "2 tensors" in problem.found
    assert "GGUF" in problem.remedy


def test_a_cloud_model_is_explained(tmp_path: Path) -> None:
    config = {"remote_host": "https://ollama.com:443", "remote_model": "gemma4:31b"}
    add_model(tmp_path, "gemma4:31b-cloud", [], config=config)
    problem = entries(tmp_path)["gemma4:31b-cloud"].problem
    assert isinstance(problem, errors.UnsupportedFormatError)
    assert "cloud" in problem.what and "gemma4:31b" in problem.found
    with pytest.raises(errors.RequestError, match="take another tag"):
        resolve(tmp_path, "gemma4:26b-cloud")


def test_an_adapter_and_a_model_of_nothing_are_explained(tmp_path: Path) -> None:
    add_model(tmp_path, "tuned:t", [("model", GGUF), ("adapter", b"lora")])
    add_model(tmp_path, "empty:t", [("license", b"free")])
    found = entries(tmp_path)
    assert "LoRA" in str(found["tuned:t"].problem)
    assert "no weights: found license" in str(found["empty:t"].problem)


def test_another_family_is_listed_with_its_problem(tmp_path: Path) -> None:
    for family in ("bert", *FAMILIES):
        make_store(tmp_path, {f"{family}:t": GGUF}, config={"model_family": family})
    found = wait(Store(PathDirectory(tmp_path)).entries(FAMILIES))
    problems = {e.reference.name: e.problem for e in found if e.problem}
    assert set(problems) == {"bert:t"}
    assert isinstance(problems["bert:t"], errors.UnsupportedArchitectureError)
    assert "bert" in problems["bert:t"].found and "llama" in problems["bert:t"].expected
    assert resolve(tmp_path, "bert:t").name == "bert:t"  # the file itself decides


def test_projector_and_draft_are_noted(tmp_path: Path) -> None:
    layers = [("model", GGUF), ("projector", VISION), ("draft", GGUF)]
    add_model(tmp_path, "split:t", layers)
    model = resolve(tmp_path, "split:t")
    assert [layer.size for layer in model.projectors] == [len(VISION)]
    assert len(model.drafts) == 1 and len(model.notes) == 2
    assert model.projector(wait(read_gguf([BytesSource(GGUF)]))) == model.projectors


def test_monolithic_weights_are_their_own_projector(tmp_path: Path) -> None:
    both = build_gguf(
        {"general.architecture": "gemma4"}, [TENSOR, ("v.x", (32,), "F32", None)]
    )
    make_store(tmp_path, {"mono:t": both, "text:t": GGUF})
    mono, text = resolve(tmp_path, "mono:t"), resolve(tmp_path, "text:t")
    assert mono.projector(wait(read_gguf([BytesSource(both)]))) == mono.weights
    assert text.projector(wait(read_gguf([BytesSource(GGUF)]))) == ()


def test_of_several_weights_the_last_text_model_counts(tmp_path: Path) -> None:
    other = build_gguf({"general.architecture": "gemma4", "n": 1}, [TENSOR])
    layers = [("model", GGUF), ("model", other), ("model", VISION)]
    add_model(tmp_path, "m:t", layers)
    model = resolve(tmp_path, "m:t")
    assert wait(read_all(Store(PathDirectory(tmp_path)), model)) == other


def test_several_weights_may_be_the_shards_of_one_model(tmp_path: Path) -> None:
    def shard(no: int) -> bytes:
        split = {
            "split.no": typed("u16", no),
            "split.count": typed("u16", 2),
            "split.tensors.count": typed("i32", 2),
        }
        name = f"weight.{no}"
        pairs = {"general.architecture": "gemma4", **split}
        return build_gguf(pairs, [(name, (32, 2), "F32", None)])

    add_model(tmp_path, "m:t", [("model", shard(1)), ("model", shard(0))])
    make_store(tmp_path, {"half:t": shard(0)})
    store = Store(PathDirectory(tmp_path))
    files = wait(store.open_all(resolve(tmp_path, "m:t").weights))
    assert wait(read_gguf(files)).tensors.keys() == {"weight.0", "weight.1"}
    half = wait(store.open_all(resolve(tmp_path, "half:t").weights))
    with pytest.raises(errors.FileFormatError, match="split in 2"):
        wait(read_gguf(half))
    for file in (*files, *half):
        file.close()


@pytest.mark.parametrize(
    ("name", "config", "large"),
    [
        ("gemma4:e2b", {}, False),
        ("gemma4:26b", {}, True),
        ("gemma4:26b", {"renderer": "gemma4-small"}, False),
        ("gemma4:e4b", {"renderer": "gemma4-large"}, True),
        ("hf.co/me/gemma-4-31B-it-GGUF:Q4_K_M", {}, True),
        ("hf.co/me/gemma-4-E2B-it-GGUF:Q4_K_M", {"model_type": "25.8B"}, False),
        ("mine:latest", {"model_type": "25.8B"}, True),
        ("mine:latest", {"model_type": "12B"}, True),
        ("mine:latest", {"model_type": "11.9B"}, None),
        ("mine:latest", {"model_type": "800M"}, None),
        ("mine:latest", {"model_type": ""}, None),
        ("mine:latest", {"model_type": "huge"}, None),
        ("31b/mine:e2b", {}, False),
    ],
)
def test_renderer_name_and_size_tell_the_template(
    tmp_path: Path, name: str, config: dict[str, str], large: bool | None
) -> None:
    make_store(tmp_path, {name: GGUF}, config=config)
    assert resolve(tmp_path, name).large is large


# -- defaults ------------------------------------------------------------------------


def test_texts_and_options_of_a_model_are_read(tmp_path: Path) -> None:
    params = {"temperature": 1, "top_k": 64.0, "top_p": 0.95, "stop": ["<turn|>"]}
    params |= {"min_p": 0.1, "repeat_penalty": 1.1, "seed": 7, "num_predict": 9}
    messages = [{"role": "user", "content": "Hi"}]
    make_store(
        tmp_path,
        {"m:t": GGUF},
        params=params,
        system="Be brief",
        template="{{ .Prompt }}",
        messages=messages,
    )
    model = resolve(tmp_path, "m:t")
    assert model.params == params and model.options.max_tokens == 9
    assert SamplingOptions(**model.options.sampling) == SamplingOptions(
        1, 64, 0.95, 0.1, 1.1, seed=7
    )
    assert (model.system, model.template) == ("Be brief", "{{ .Prompt }}")
    assert list(model.messages) == messages and model.notes == ()


def test_options_that_mean_nothing_here_are_left_out(tmp_path: Path) -> None:
    params = {"temperature": "hot", "top_p": 0, "top_k": -1, "seed": -1}
    params |= {"min_p": None, "num_predict": -2, "stop": ["END", 5, {}], "num_ctx": 9}
    make_store(tmp_path, {"m:t": GGUF}, params=params)
    model = resolve(tmp_path, "m:t")
    assert model.options.sampling == {"top_k": 0} and model.options.n_ctx == 9
    assert model.notes == ("Options not used here: stop, temperature, top_p.",)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("params", b"[]"),
        ("params", b"{"),
        ("messages", b"{}"),
        ("messages", b'[{"role": "user"}]'),
        ("messages", b'["x"]'),
    ],
)
def test_damaged_texts_are_named(tmp_path: Path, kind: str, content: bytes) -> None:
    make_store(tmp_path, {"m:t": GGUF}, extra=[(kind, content)])
    with pytest.raises(errors.FileFormatError, match=f"the {kind} of m:t"):
        resolve(tmp_path, "m:t")


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    path = make_store(tmp_path, {"m:t": GGUF}) and manifest_path(tmp_path, "m:t")
    content = json.loads(path.read_bytes())
    content["config"] |= add_blob(tmp_path, b"no JSON")
    write_manifest(tmp_path, "m:t", content)
    with pytest.raises(errors.FileFormatError, match="the configuration of m:t"):
        resolve(tmp_path, "m:t")


def test_a_line_of_the_list_is_json_whatever_is_in_the_store(tmp_path: Path) -> None:
    make_store(tmp_path, {"m:t": GGUF}, params={"x": "\ud800"}, config={"file_type": 5})
    write_manifest(tmp_path, "bad:t", b"{")
    lines = [describe_entry(entry) for entry in entries(tmp_path).values()]
    good, bad = json.loads(json.dumps(lines, allow_nan=False))
    assert bad.keys() == {"name", "full_name", "problem"}
    assert bad["problem"]["type"] == "FileFormatError" and bad["problem"]["remedy"]
    assert good["problem"] is None and good["size"] == len(GGUF)
    assert good["parameters"] == CONFIG["model_type"] and good["quantization"] == ""
    blob = {"blob": f"sha256-{hashlib.sha256(GGUF).hexdigest()}", "size": len(GGUF)}
    assert good["weights"] == [blob] and good["projectors"] == []
    assert (good["sampling"], good["max_tokens"], good["n_ctx"]) == ({}, None, None)
    assert good["stop"] == [] and good["notes"] == ["Options not used here: x."]
