"""What MODEL stands for: files by their names, folders, and what people paste."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.cli.models import Opened, open_model
from pyodide_app.cli.pasted import name_in
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import FileSource
from tests.samples.gguf_bytes import build_gguf, typed
from tests.samples.ollama_store import make_store

GGUF = build_gguf({"general.architecture": "gemma4"}, [("a", (32,), "F32", None)])
# Names in which a pattern, a shell or a terminal would see something else.
NAMES = [
    "a*",
    "[a]",
    "[!a]",
    "a?",
    "a b",
    "a\nb",
    "\x1b[2J",
    "ä",
    "\udcff",
    "-",
    "%s{x}",
]

HUB = "huggingface" + ".co"


def part(no: int, count: int = 2) -> bytes:
    split = {"split.no": typed("u16", no), "split.count": typed("u16", count)}
    first = {"general.architecture": "gemma4"} if no == 0 else {}
    return build_gguf({**first, **split}, [(f"t{no}", (32,), "F32", None)])


def found(text: str | Path) -> list[str]:
    """Open what a text stands for, and return the names of the files."""
    opened = opened_model(text)
    names = [source.path.name for source in opened.sources]
    for source in opened.sources:
        source.close()
    return names


def opened_model(text: str | Path) -> Opened:
    return asyncio.run(open_model(str(text)))


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def refused(text: str | Path) -> errors.EngineError:
    with pytest.raises(errors.EngineError) as caught:
        opened_model(text)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("suffix", ["gguf", "GGUF", "Gguf"])
@pytest.mark.parametrize("stem", [*NAMES, "x-00001-of-00002"], ids=ascii)
def test_any_part_of_a_split_model_brings_all_of_that_name(
    tmp_path: Path, stem: str, suffix: str
) -> None:
    names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    # What a pattern would take for parts, and parts of other models.
    others = ["a", "b", "ab", "axb", "a-00001-of-00003", f"{stem}-00001-of-00003"]
    others = [f"{other}-00001-of-00002.gguf" for other in others]
    others += [f"{stem}-00001-of-00003.gguf", f"{stem}-1-of-00002.gguf", f"{stem}.gguf"]
    write(tmp_path, **dict.fromkeys(others, b""))
    write(tmp_path, **{name: part(i) for i, name in enumerate(names)})
    for name in names:
        assert found(tmp_path / name) == names
        opened = opened_model(tmp_path / name)
        assert len(asyncio.run(read_gguf(opened.sources)).tensors) == 2
        for source in opened.sources:
            source.close()


def test_a_part_without_the_others_says_which_are_missing(tmp_path: Path) -> None:
    (tmp_path / "m-00002-of-00003.gguf").write_bytes(part(1, 3))
    opened = opened_model(tmp_path / "m-00002-of-00003.gguf")
    with pytest.raises(errors.FileFormatError, match="also 1, 3"):
        asyncio.run(read_gguf(opened.sources))
    opened.sources[0].close()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_a_name_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, **{f"{name}.gguf": GGUF, "a.gguf": b""}) / f"{name}.gguf"
    assert found(path) == [path.name]
    path.unlink()
    assert isinstance(refused(path), errors.SourceError)
    (tmp_path / f"{name}.txt").write_bytes(b"text")
    source = FileSource(tmp_path / f"{name}.txt")
    with pytest.raises(errors.UnsupportedFormatError) as caught:
        asyncio.run(read_gguf([source]))
    source.close()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("length", [300, 5_000, 1_000_000])
def test_a_name_that_no_file_can_have_is_refused_in_few_words(length: int) -> None:
    name = "a" * length
    for text in (f"{name}.gguf", f"/{name}", name, ":" * length, ":" * length + "/"):
        start = time.process_time()
        assert len(str(refused(text))) < 2000
        assert time.process_time() - start < 1


def test_a_folder_stands_for_the_only_model_in_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"x.GGUF": GGUF, "mmproj-x.gguf": GGUF, "y": b""})
    assert found(folder) == ["x.GGUF"]
    opened = opened_model(folder)
    assert "x.GGUF, the only one in " in opened.notes[0]
    opened.sources[0].close()
    parts = {f"x-0000{i}-of-00002.gguf": part(i - 1) for i in (1, 2)}
    assert found(write(tmp_path / "parts", **parts)) == sorted(parts)


@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ([], errors.SourceError, "found nothing"),
        (["README.md"], errors.SourceError, "found README.md"),
        (["a.gguf", "b.gguf"], errors.RequestError, "found a.gguf, b.gguf"),
        (["model.safetensors"], errors.UnsupportedFormatError, "convert it"),
        (["pytorch_model.bin"], errors.UnsupportedFormatError, "convert it"),
        (["mmproj.gguf"], errors.SourceError, "found mmproj.gguf"),
        (["manifests", "blobs"], errors.RequestError, "OLLAMA_MODELS"),
        ([f"{i}.gguf" for i in range(99)], errors.RequestError, "and 91 more"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_folder_of_no_model_or_several_is_explained(
    tmp_path: Path, files: list[str], error: type[Exception], text: str
) -> None:
    refusal = refused(write(tmp_path / "m", **dict.fromkeys(files, GGUF)))
    assert type(refusal) is error and text in str(refusal) and refusal.remedy


def test_a_folder_without_models_does_not_hide_a_model_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_store(tmp_path / "models", {"tiny": GGUF})
    monkeypatch.setenv("OLLAMA_MODELS", str(root))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tiny")
    assert found("tiny")[0].startswith("sha256-")
    write(tmp_path / "tiny", **{"x.gguf": GGUF})
    assert found("tiny") == ["x.gguf"]


@pytest.mark.parametrize("name", ["loop.gguf", "gone.gguf", "pipe.gguf", "dir.gguf"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    (tmp_path / "gone.gguf").symlink_to("nowhere")
    (tmp_path / "dir.gguf").mkdir()
    os.mkfifo(tmp_path / "pipe.gguf")
    assert isinstance(refused(tmp_path / name), errors.SourceError)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ollama run gemma4:e4b", "gemma4:e4b"),
        ("$ ollama pull hf.co/u/r:Q4 --insecure\n", "hf.co/u/r:Q4"),
        (f"https://{HUB}/u/r", "hf.co/u/r"),
        ("https://hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
        ("HTTPS://HF.co/u/r/tree/main?x#y", "hf.co/u/r"),
        ("https://ollama.com/library/gemma4:e4b", "gemma4:e4b"),
        ("https://www.ollama.com/me/x/", "me/x"),
        ("hf.co/u/r:Q4", "hf.co/u/r:Q4"),
        ("registry.ollama.ai/library/x", "registry.ollama.ai/library/x"),
        ("http://localhost:5000/ns/m", "http://localhost:5000/ns/m"),
        ("gemma4", "gemma4"),
    ],
)
def test_what_is_pasted_is_the_model_that_it_shows(text: str, name: str) -> None:
    assert name_in(text) == name


@pytest.mark.parametrize(
    "text",
    [
        f"https://{HUB}/u/r/blob/main/x.gguf",
        f"{HUB}/u/r/resolve/main/x.gguf?download=true",
        "hf.co/u/r/resolve/main/x.gguf",
    ],
)
def test_a_file_of_a_hub_is_to_be_downloaded_or_pulled(text: str) -> None:
    refusal = refused(text)
    assert isinstance(refusal, errors.RequestError) and "address" in refusal.what
    assert "Download" in refusal.remedy and "ollama pull hf.co/u/r" in refusal.remedy


@pytest.mark.parametrize("text", ["https://a.b/x.gguf", "file:///x.gguf", "ftp://"])
def test_another_address_is_to_be_downloaded(text: str) -> None:
    assert "Download the .gguf file" in refused(text).remedy


def test_a_page_of_a_model_that_is_not_there_says_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(make_store(tmp_path, {"tiny": GGUF})))
    remedy = refused(f"https://{HUB}/u/r").remedy
    assert "ollama pull hf.co/u/r" in remedy and "download the .gguf" in remedy
