"""Ollama's store: names, manifests, blobs, and what is refused and why."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app import errors
from pyodide_app.gguf.directories import Directory, MappedDirectory, PathDirectory
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.manifest import MAX_TEXT_BYTES, Reference, parse_manifest
from pyodide_app.ollama.model import Entry, StoredModel, describe_entry
from pyodide_app.ollama.native import candidates, open_store
from pyodide_app.ollama.store import Store
from pyodide_app.run.sampling import SamplingOptions
from tests.samples.gguf_bytes import build_gguf, typed
from tests.samples.ollama_store import (
    CONFIG,
    add_blob,
    add_model,
    blob_of,
    chosen,
    make_store,
    manifest_path,
    write_manifest,
)

T = TypeVar("T")
TENSOR = ("weight", (32, 2), "F32", None)
GGUF = build_gguf({"general.architecture": "gemma4"}, [TENSOR])
VISION = build_gguf({"general.architecture": "clip", "general.type": "mmproj"}, [])
REGISTRY = "registry.ollama.ai"
DIGEST = "ab" * 32


def wait(task: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(task)


def resolve(root: Path, name: str) -> StoredModel:
    return wait(Store(PathDirectory(root)).resolve(name))


def entries(root: Path) -> dict[str, Entry]:
    found = wait(Store(PathDirectory(root)).entries())
    return {entry.reference.name: entry for entry in found}


async def read_all(store: Store, model: StoredModel) -> bytes:
    files = await store.open_all(model.weights)
    parts = [await file.read(0, file.size) for file in files]
    for file in files:
        file.close()
    return b"".join(parts)


# -- names ---------------------------------------------------------------------------

NAMES = {
    "gemma4": (REGISTRY, "library", "gemma4", "latest"),
    "gemma4:e4b": (REGISTRY, "library", "gemma4", "e4b"),
    " gemma4:e4b\n": (REGISTRY, "library", "gemma4", "e4b"),
    "someone/gemma4": (REGISTRY, "someone", "gemma4", "latest"),
    "hf.co/unsloth/gemma-4-E2B-it-GGUF:Q4_K_M": (
        "hf.co",
        "unsloth",
        "gemma-4-E2B-it-GGUF",
        "Q4_K_M",
    ),
    "hf.co/a/b:c-Q4_K_M.gguf": ("hf.co", "a", "b", "c-Q4_K_M.gguf"),
    "localhost:5000/me/m": ("localhost:5000", "me", "m", "latest"),
    "localhost:5000/me/m:1.5": ("localhost:5000", "me", "m", "1.5"),
    "https://example.org/me/m:t": ("example.org", "me", "m", "t"),
    "ollama://m": (REGISTRY, "library", "m", "latest"),
    "_a/_b:_c": (REGISTRY, "_a", "_b", "_c"),
    "m" * 80: (REGISTRY, "library", "m" * 80, "latest"),
    f"{'h' * 350}/n/m": ("h" * 350, "n", "m", "latest"),
    "1/2:3": (REGISTRY, "1", "2", "3"),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_has_four_parts(text: str) -> None:
    assert Reference.parse(text).parts == NAMES[text]


def test_a_name_may_pin_a_digest() -> None:
    reference = Reference.parse(f"gemma4:e4b@sha256:{DIGEST.upper()}")
    assert (reference.tag, reference.digest) == ("e4b", DIGEST)


WRONG_NAMES = [
    "",
    ":",
    "m:",
    ":t",
    "/m",
    "n/",
    "a//m",
    "..",
    "../m",
    "../../etc/passwd",
    "n/..",
    "n/m:..",
    "n/m:.hidden",
    ".hidden/m",
    "./m",
    "-m",
    "n/m:-t",
    "a b",
    "m\0",
    "m\n:t",
    "n\\m",
    "C:\\models\\m",
    "m:t:u",
    "localhost:5000/m",  # a host needs a namespace, which has no colon
    "na.me/m",  # nor a dot
    "a/b/c/d",
    "é",
    "m:٣",
    "m" * 81,
    f"m:{'t' * 81}",
    f"{'n' * 81}/m",
    f"{'h' * 351}/n/m",
    "m@",
    "m@sha256:12",
    f"m@md5:{DIGEST}",
    "m%2f..",
    "m?x",
    "~",
    "a/*",
]


@pytest.mark.parametrize("text", WRONG_NAMES)
def test_a_name_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(errors.RequestError) as caught:
        Reference.parse(text)
    assert caught.value.found and caught.value.expected and caught.value.remedy


@given(st.text(alphabet=st.sampled_from("aA0._-:/@\\ \0é"), max_size=12))
def test_a_name_never_leads_out_of_the_folder_of_manifests(text: str) -> None:
    try:
        parts = Reference.parse(text).parts
    except errors.RequestError:
        return
    assert all(part[0] not in ".-/" and "/" not in part for part in parts)
    assert Reference.parse("{}/{}/{}:{}".format(*parts)).parts == parts


def test_names_are_listed_short() -> None:
    shown = {
        "gemma4:e4b": "gemma4:e4b",
        "library/gemma4": "gemma4:latest",
        "me/m": "me/m:latest",
        "hf.co/me/m:Q8_0": "hf.co/me/m:Q8_0",
        "hf.co/library/m:t": "hf.co/library/m:t",
    }
    assert {text: Reference.parse(text).name for text in shown} == shown


def make_native(root: Path) -> Directory:
    return PathDirectory(root)


def make_confined(root: Path) -> Directory:
    return PathDirectory.confined(root)


@pytest.mark.parametrize("make", [make_native, make_confined, chosen])
def test_every_kind_of_folder_shows_the_same_store(
    tmp_path: Path, make: Callable[[Path], Directory]
) -> None:
    names = ["gemma4:e4b", "me/m:latest", "localhost:5000/me/m:t"]
    root = make_store(tmp_path / "models", dict.fromkeys(names, GGUF), system="Be kind")
    store = wait(Store.find(make(root)))
    found = wait(store.entries())
    assert [entry.reference.name for entry in found] == sorted(names)
    assert [entry.problem for entry in found] == [None] * 3
    for name in names:
        model = wait(store.resolve(name))
        assert model.system == "Be kind" and model.n_bytes == len(GGUF)
        assert wait(read_all(store, model)) == GGUF
    with pytest.raises(errors.RequestError, match="no model gemma4:e2b"):
        wait(store.resolve("gemma4:e2b"))


def test_the_case_of_letters_does_not_matter_unless_it_does(tmp_path: Path) -> None:
    make_store(tmp_path, {"hf.co/Me/Model-GGUF:Q4_K_M": GGUF})
    assert resolve(tmp_path, "HF.co/me/model-gguf:q4_k_m").reference.tag == "Q4_K_M"
    make_store(tmp_path, {"hf.co/me/model-gguf:q4_k_m": GGUF + b"\0"})
    for exact in ("hf.co/Me/Model-GGUF:Q4_K_M", "hf.co/me/model-gguf:q4_k_m"):
        assert resolve(tmp_path, exact).reference.full_name == exact


def test_only_the_letters_of_ascii_have_a_case(tmp_path: Path) -> None:
    make_store(tmp_path, {"kim:latest": GGUF})
    with pytest.raises(errors.RequestError):
        resolve(tmp_path, "\N{KELVIN SIGN}im")


def test_what_is_no_model_is_not_listed(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    below = root / "manifests" / REGISTRY / "library" / "m"
    (below / ".DS_Store").write_text("{}")
    (below / "folder").mkdir()
    (below / "a b").write_text("{}")
    (below / ("x" * 81)).write_text("{}")
    (root / "manifests" / REGISTRY / "file").write_text("{}")
    (root / "manifests" / ".hidden" / "n" / "m").mkdir(parents=True)
    (root / "manifests" / ".hidden" / "n" / "m" / "t").write_text("{}")
    (root / "manifests" / "-host" / "n" / "m").mkdir(parents=True)
    (root / "manifests" / "-host" / "n" / "m" / "t").write_text("{}")
    (below / "dangling").symlink_to("nowhere")
    (below / "circle").symlink_to("circle")
    assert list(entries(root)) == ["m:t"]


def test_a_pinned_digest_must_be_that_of_the_manifest_or_the_weights(
    tmp_path: Path,
) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    manifest = hashlib.sha256(manifest_path(root, "m:t").read_bytes()).hexdigest()
    for digest in (manifest, hashlib.sha256(GGUF).hexdigest()):
        assert resolve(root, f"m:t@sha256:{digest}").n_bytes == len(GGUF)
    with pytest.raises(errors.RequestError, match="another digest"):
        resolve(root, f"m:t@sha256:{DIGEST}")


# -- manifests -----------------------------------------------------------------------


def layer(**fields: object) -> dict[str, object]:
    whole = {"mediaType": "application/vnd.ollama.image.model", "size": 1}
    return {**whole, "digest": f"sha256:{DIGEST}", **fields}


def manifest(*layers: object, **fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "layers": layers, **fields}).encode()


def test_a_manifest_is_read_and_what_is_unknown_passed_over() -> None:
    parsed = parse_manifest(
        manifest(
            layer(digest=f"sha256-{DIGEST.upper()}", **{"from": "x", "name": "y"}),
            layer(mediaType="application/vnd.ollama.image.new"),
            layer(mediaType="model"),
            config=layer(mediaType="any", size=0),
            new=[1.5],
        ),
        "here",
    )
    assert [item.kind for item in parsed.layers] == ["model", "new", ""]
    assert parsed.layers[0].blob == f"sha256-{DIGEST}"
    assert parsed.config is not None and parsed.config.size == 0
    assert parse_manifest(b"{}", "here").layers == ()
    assert parse_manifest(b'{"layers": null, "config": null}', "here").layers == ()


WRONG_MANIFESTS = {
    "empty": b"",
    "half": manifest(layer())[:-9],
    "list": b"[]",
    "text": b'"x"',
    "binary": bytes(range(256)),
    "UTF-16": "{}".encode("utf-16"),
    "nested": b"[" * 100_000,
    "long number": b'{"layers": [], "x": ' + b"9" * 5000 + b"}",
    "NaN": b'{"layers": [], "x": NaN}',
    "infinite": b'{"layers": [], "x": 1e999}',
    "layers no list": b'{"layers": {}}',
    "layer no object": manifest(5),
    "config no object": manifest(config=[]),
    "no digest": manifest(layer(digest=None)),
    "digest no text": manifest(layer(digest=5)),
    "digest short": manifest(layer(digest="sha256:ab")),
    "digest long": manifest(layer(digest=f"sha256:{DIGEST}0")),
    "digest of another kind": manifest(layer(digest=f"sha512:{DIGEST}")),
    "digest a path": manifest(layer(digest="sha256:../../../../etc/passwd")),
    "digest and a line": manifest(layer(digest=f"sha256:{DIGEST}\n")),
    "digest with a slash": manifest(layer(digest=f"sha256-{'/' * 64}")),
    "no size": manifest(layer(size=None)),
    "negative size": manifest(layer(size=-1)),
    "fractional size": manifest(layer(size=1.5)),
    "boolean size": manifest(layer(size=True)),
    "size a text": manifest(layer(size="1")),
    "size beyond 64 bits": manifest(layer(size=1 << 63)),
    "no media type": manifest(layer(mediaType=None)),
    "media type a list": manifest(layer(mediaType=[])),
}


@pytest.mark.parametrize("name", WRONG_MANIFESTS)
def test_a_damaged_manifest_is_named_and_hides_no_other(
    name: str, tmp_path: Path
) -> None:
    root = make_store(tmp_path, {"good:t": GGUF})
    write_manifest(root, "bad:t", WRONG_MANIFESTS[name])
    with pytest.raises(errors.FileFormatError, match="the manifest of bad:t") as caught:
        resolve(root, "bad:t")
    assert caught.value.found and caught.value.expected and caught.value.remedy
    found = entries(root)
    assert isinstance(found["bad:t"].problem, errors.FileFormatError)
    assert found["good:t"].problem is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["layers", "config", "mediaType", "digest", "size"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_manifest_or_refused(content: object) -> None:
    try:
        parsed = parse_manifest(json.dumps(content).encode(), "here")
    except errors.FileFormatError:
        return
    assert isinstance(content, dict)
    assert all(len(item.digest) == 64 and item.size >= 0 for item in parsed.layers)


def test_a_manifest_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "m:t", b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(errors.FileFormatError, match=str(1 << 40)):
        resolve(tmp_path, "m:t")
    path.write_bytes(manifest().ljust(MAX_TEXT_BYTES))
    with pytest.raises(errors.UnsupportedFormatError, match="no weights"):
        resolve(tmp_path, "m:t")


# -- blobs ---------------------------------------------------------------------------


def test_a_missing_blob_says_what_to_do(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob_of(root, "m:t").unlink()
    problem = entries(root)["m:t"].problem
    assert isinstance(problem, errors.SourceError)
    assert "no such file" in problem.found and str(len(GGUF)) in problem.expected
    assert "Pull" in problem.remedy


def test_an_unfinished_download_is_recognised(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob = blob_of(root, "m:t")
    blob.rename(blob.with_name(f"{blob.name}-partial"))
    blob.with_name(f"{blob.name}-partial-0").write_bytes(b"{}")
    problem = entries(root)["m:t"].problem
    assert problem is not None and problem.found == "an unfinished download"


@pytest.mark.parametrize("size", [0, len(GGUF) - 1, len(GGUF) + 1])
def test_a_blob_of_another_size_is_damaged(tmp_path: Path, size: int) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    os.truncate(blob_of(root, "m:t"), size)
    problem = entries(root)["m:t"].problem
    assert isinstance(problem, errors.FileFormatError)
    assert problem.found == f"{size} bytes"
    assert problem.expected == f"{len(GGUF)} bytes"


def test_text_needs_no_projector_and_a_missing_one_is_noted(tmp_path: Path) -> None:
    add_model(tmp_path, "m:t", [("model", GGUF), ("projector", VISION)])
    blob_of(tmp_path, "m:t", "projector").unlink()
    entry = entries(tmp_path)["m:t"]
    assert entry.problem is None and entry.model is not None
    assert entry.model.projectors == ()
    (note,) = entry.model.notes
    assert "projector" in note and "no such file" in note


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfBe brief", b"Be \xff brief"])
def test_a_system_prompt_in_another_encoding_is_read(
    tmp_path: Path, text: bytes
) -> None:
    make_store(tmp_path, {"m:t": GGUF}, extra=[("system", text)])
    model = resolve(tmp_path, "m:t")
    assert model.system in ("Be brief", "Be \ufffd brief")
    assert len(model.notes) == model.system.count("\ufffd")


def test_a_mark_of_byte_order_before_json_is_passed_over(tmp_path: Path) -> None:
    make_store(tmp_path, {"m:t": GGUF}, extra=[("params", b'\xef\xbb\xbf{"seed": 7}')])
    assert resolve(tmp_path, "m:t").options.sampling == {"seed": 7}


@pytest.mark.parametrize("depth", [65, 900, 3_000, 1_000_000])
@pytest.mark.parametrize("kind", ["params", "messages", "manifest", "config"])
def test_json_that_is_nested_too_deep_is_damaged(
    tmp_path: Path, kind: str, depth: int
) -> None:
    deep = '{"a":' * (depth % 2) + "[" * depth + "]" * depth + "}" * (depth % 2)
    if kind == "manifest":
        write_manifest(tmp_path, "m:t", f'{{"layers": {deep}}}'.encode())
    else:
        path = make_store(tmp_path, {"m:t": GGUF}, extra=[(kind, deep.encode())])
        if kind == "config":
            content = json.loads(manifest_path(path, "m:t").read_bytes())
            content["config"] |= add_blob(tmp_path, deep.encode())
            write_manifest(tmp_path, "m:t", content)
    with pytest.raises(errors.FileFormatError, match="more than 64 levels"):
        resolve(tmp_path, "m:t")


def test_brackets_in_a_text_are_no_levels(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": '[{"\\' * 500}]
    make_store(tmp_path, {"m:t": GGUF}, messages=messages)
    assert list(resolve(tmp_path, "m:t").messages) == messages


@pytest.mark.parametrize("kind", ["params", "system"])
def test_every_blob_that_is_used_must_be_there(tmp_path: Path, kind: str) -> None:
    add_model(tmp_path, "m:t", [("model", GGUF)], params={}, system="x")
    blob_of(tmp_path, "m:t", kind).unlink()
    assert isinstance(entries(tmp_path)["m:t"].problem, errors.SourceError)


def test_a_folder_or_a_pipe_is_no_blob(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    blob = blob_of(root, "m:t")
    blob.unlink()
    blob.mkdir()
    assert isinstance(entries(root)["m:t"].problem, errors.SourceError)
    if hasattr(os, "mkfifo"):
        blob.rmdir()
        os.mkfifo(blob)
        assert isinstance(entries(root)["m:t"].problem, errors.SourceError)


def test_blobs_of_very_old_stores_are_found(tmp_path: Path) -> None:
    root = make_store(tmp_path, {"m:t": GGUF})
    for blob in list((root / "blobs").iterdir()):
        blob.rename(blob.with_name(blob.name.replace("-", ":")))
    model = resolve(root, "m:t")
    assert wait(read_all(Store(PathDirectory(root)), model)) == GGUF


def test_a_damaged_byte_is_found_by_the_digest_alone(tmp_path: Path) -> None:
    big = GGUF + bytes(9 << 20)
    root = make_store(tmp_path, {"m:t": big})
    store, told = Store(PathDirectory(root)), []
    model = wait(store.resolve("m:t"))
    wait(store.verify(model.weights[0], tell=lambda *share: told.append(share)))
    assert told[-1] == (len(big), len(big)) and len(told) == 3
    with blob_of(root, "m:t").open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"\1")
    assert entries(root)["m:t"].problem is None
    with pytest.raises(errors.FileFormatError) as caught:
        wait(store.verify(model.weights[0], "m:t"))
    damaged = hashlib.sha256(GGUF + bytes((5 << 20) - len(GGUF)) + b"\1")
    damaged.update(bytes(len(big) - (5 << 20) - 1))
    error, blob = caught.value, model.weights[0]
    assert error.what == f"the blob {blob.blob} is damaged"
    assert error.found == f"SHA-256 {damaged.hexdigest()}"
    assert blob.digest in error.expected
    assert error.remedy == "Delete this file, then run: ollama pull m:t"


def test_links_are_followed_unless_the_folder_is_confined(tmp_path: Path) -> None:
    root = make_store(tmp_path / "models", {"in:t": GGUF, "out:t": GGUF + b"\0"})
    outside = tmp_path / "elsewhere"
    blob_of(root, "out:t").rename(outside)
    blob_of(root, "out:t").symlink_to(outside)
    inside = root / "moved"
    blob_of(root, "in:t").rename(inside)
    blob_of(root, "in:t").symlink_to(inside)
    assert [entry.problem for entry in entries(root).values()] == [None, None]
    (tmp_path / "link").symlink_to(root)
    for folder in (root, tmp_path / "link"):
        store = wait(open_store(str(folder), confined=True))
        within, without = wait(store.entries())
        assert within.problem is None
        assert "a link that leads out" in str(without.problem)


def test_a_manifest_or_a_folder_that_leads_out_is_not_read(tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", {"secret:t": GGUF, "me/m:t": GGUF})
    root = make_store(tmp_path / "models", {"own:t": GGUF})
    link = manifest_path(root, "linked:t")
    link.parent.mkdir(parents=True)
    link.symlink_to(manifest_path(other, "secret:t"))
    folder = manifest_path(root, "me/m:t").parents[1]
    folder.symlink_to(manifest_path(other, "me/m:t").parents[1])
    store = wait(open_store(str(root), confined=True))
    found = {e.reference.name: e.problem for e in wait(store.entries())}
    assert found.keys() == {"own:t", "linked:t"}
    assert found["own:t"] is None
    assert "a link that leads out" in str(found["linked:t"])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\x", "\0"])
def test_a_folder_takes_plain_names_alone(tmp_path: Path, name: str) -> None:
    for folder in (PathDirectory(tmp_path), MappedDirectory({})):
        with pytest.raises(errors.SourceError):
            wait(folder.open(name))
        with pytest.raises(errors.SourceError):
            wait(folder.directory(name))


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


# -- where the store is --------------------------------------------------------------


def test_the_folder_is_the_one_that_ollama_uses() -> None:
    home = {"HOME": "/h"}
    assert candidates(home, "darwin") == ["/h/.ollama/models"]
    assert candidates(home, "linux")[0] == "/h/.ollama/models"
    for service in ("/usr/share/ollama/.ollama/models", "/var/lib/ollama"):
        assert service in candidates(home, "linux")
    assert candidates({}, "darwin") == []
    named = {"HOME": "/h", "OLLAMA_MODELS": ' "/big disk/models" '}
    assert candidates(named, "linux") == ["/big disk/models"]
    assert candidates({"HOME": "/h", "OLLAMA_MODELS": '""'}, "darwin") == [
        "/h/.ollama/models"
    ]
    windows = candidates({"HOME": "/x", "USERPROFILE": "/u"}, "win32")
    assert windows == [os.path.join("/u", ".ollama", "models")]


def test_the_environment_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_store(tmp_path / "models", {"m:t": GGUF})
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    assert wait(open_store()).root.name == str(root)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "absent"))
    with pytest.raises(errors.SourceError, match="absent") as caught:
        wait(open_store())
    assert "OLLAMA_MODELS" in caught.value.remedy


def test_of_several_stores_the_first_with_a_model_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, full, late = (str(tmp_path / name) for name in ("empty", "full", "late"))
    os.makedirs(f"{empty}/manifests")
    make_store(Path(full), {"m:t": GGUF})
    make_store(Path(late), {"other:t": GGUF})
    folders = ["/absent", empty, full, late]
    monkeypatch.setattr("pyodide_app.ollama.native.candidates", lambda *_: folders)
    store = wait(open_store())
    assert store.root.name == full and store.others == (empty, late)
    with pytest.raises(errors.RequestError) as caught:
        wait(store.resolve("other:t"))
    assert late in caught.value.remedy and "OLLAMA_MODELS" in caught.value.remedy
    shutil.rmtree(full)
    shutil.rmtree(late)
    assert wait(open_store()).root.name == empty


def deny(path: str) -> list[str]:
    raise PermissionError(13, "Permission denied", path)


def test_what_nobody_may_look_into_is_no_sign_of_a_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr("os.listdir", deny)
    seen = {"/", "/root", "/var", "/var/lib", "/usr", "/usr/share"}
    monkeypatch.setattr("os.path.exists", lambda path: str(path) in seen)
    with pytest.raises(errors.SourceError, match="there is no Ollama store"):
        wait(open_store())
    seen.add("/usr/share/ollama")
    with pytest.raises(errors.SourceError, match="no right to read it") as caught:
        wait(open_store())
    assert "/usr/share/ollama/.ollama/models" in caught.value.what


def test_a_store_of_the_service_that_must_not_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", "/srv/models")
    monkeypatch.setattr("os.listdir", deny)
    with pytest.raises(errors.SourceError, match="no right to read it") as caught:
        wait(open_store())
    assert "/srv/models" in caught.value.what and "group" in caught.value.remedy


def test_the_store_is_found_in_the_folder_above_it(tmp_path: Path) -> None:
    root = make_store(tmp_path / "u" / ".ollama" / "models", {"m:t": GGUF})
    for folder in (root, root.parent, root.parents[1]):
        for directory in (PathDirectory(folder), chosen(folder)):
            store = wait(Store.find(directory))
            assert [r.name for r in wait(store.references())] == ["m:t"]


def test_a_folder_that_is_no_store_is_explained(tmp_path: Path) -> None:
    root = make_store(tmp_path / "models", {"m:t": GGUF})
    with pytest.raises(errors.SourceError, match="folder above"):
        wait(Store.find(PathDirectory(root / "blobs")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.SourceError, match="no folder manifests"):
        wait(Store.find(PathDirectory(tmp_path / "empty")))
    with pytest.raises(errors.SourceError, match="absent"):
        wait(open_store(str(tmp_path / "absent")))
    assert wait(Store(MappedDirectory({})).entries()) == []
