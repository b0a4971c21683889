"""Ollama's store: names, manifests, and what is refused and why."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app import errors
from pyodide_app.gguf.directories import Directory, PathDirectory
from pyodide_app.ollama.manifest import MAX_TEXT_BYTES, Reference, parse_manifest
from pyodide_app.ollama.store import Store
from tests.app.ollama_reading import (
    DIGEST,
    GGUF,
    REGISTRY,
    entries,
    read_all,
    resolve,
    wait,
)
from tests.samples.ollama_store import (
    chosen,
    make_store,
    manifest_path,
    write_manifest,
)

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
