"""The command line and Ollama's store: names for paths, and the list of models."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from pyodide_app.__main__ import main
from pyodide_app.cli.models import looks_like_path, open_model
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat import Prompt
from pyodide_app.text.tokenizer import Tokenizer
from tests.samples.ollama_store import add_model, blob_of, make_store
from tests.support.golden_data import committed_cases

CASE = next(case for case in committed_cases() if case.model == "moe8")
IDS = ",".join(map(str, CASE.ids("p20")))
MESSAGE = json.dumps({"messages": [{"role": "user", "content": "Hi"}]})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = {"tiny:latest": CASE.gguf, "hf.co/me/Tiny-26B-GGUF:Q4_K_M": CASE.gguf}
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return make_store(tmp_path / "models", models)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line on stderr."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_a_name_gives_what_its_file_gives(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--ids", IDS, "-n", "8", "--greedy", "--ignore-eos", "--json")
    options += ("--kv", "f32")
    found = [
        json.loads(run(capsys, "generate", model, *options))["ids"]
        for model in ("tiny", str(CASE.gguf))
    ]
    assert found == [CASE.greedy("p20")[:8]] * 2


def test_inspect_takes_a_name_whatever_its_case(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.loads(run(capsys, "inspect", str(CASE.gguf), "--json"))
    for name in ("tiny", "TINY:Latest", "hf.co/ME/tiny-26b-gguf:q4_k_m"):
        assert json.loads(run(capsys, "inspect", name, "--json")) == own


def test_a_file_that_exists_wins(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny").write_bytes(b"GGUF, but no more than that")
    assert "tiny" in fail(capsys, "inspect", "tiny")
    assert json.loads(run(capsys, "inspect", "tiny:latest", "--json"))


def test_the_name_tells_which_template_the_model_has(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = {}
    for name in ("tiny", "hf.co/me/Tiny-26B-GGUF:Q4_K_M"):
        monkeypatch.setattr("sys.stdin", io.StringIO(MESSAGE + "\n"))
        prompts[name] = json.loads(run(capsys, "render", name, "--jsonl"))
    small, large = prompts.values()
    assert large == small + "<|channel>thought\n<channel|>"


def test_defaults_of_the_model_hold_unless_asked_otherwise(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"temperature": 0, "num_predict": 4}
    texts = {"system": "Answer in one word. " * 9, "template": "{{ .System }}"}
    make_store(root, {"greedy:t": CASE.gguf}, params=params, **texts)
    asked = ("-p", "Hello", "--json")
    first, again = (
        json.loads(run(capsys, "generate", "greedy:t", *asked)) for _ in range(2)
    )
    assert first["ids"] == again["ids"] and len(first["ids"]) <= 4
    bare = json.loads(run(capsys, "generate", "tiny", "-n", "2", "--greedy", *asked))
    assert first["n_prompt"] > bare["n_prompt"] + 20
    ids = ("--ids", IDS, "-n", "2", "--json")
    other = json.loads(run(capsys, "generate", "greedy:t", *ids))
    assert other["n_prompt"] == len(CASE.ids("p20")) and other["n_generated"] <= 2


def test_options_that_are_given_replace_the_defaults(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"temperature": 0.5, "top_k": 7, "min_p": 0.25, "seed": 3}
    make_store(root, {"warm:t": CASE.gguf}, params=params)
    used: list[SamplingOptions] = []
    real = SamplingOptions.__post_init__

    def note(options: SamplingOptions) -> None:
        real(options)
        used.append(options)

    monkeypatch.setattr(SamplingOptions, "__post_init__", note)
    ids = ("--ids", "2", "-n", "1", "--json")
    run(capsys, "generate", "warm:t", *ids)
    assert used[-1] == SamplingOptions(0.5, 7, 0.95, 0.25, seed=3)
    run(capsys, "generate", "warm:t", "--temperature", "0.75", "--seed", "9", *ids)
    assert used[-1] == SamplingOptions(0.75, 7, 0.95, 0.25, seed=9)
    run(capsys, "generate", "warm:t", "--greedy", "--top-k", "0", *ids)
    assert used[-1] == SamplingOptions(0.0, 0, 0.95, 0.25, seed=3)
    with monkeypatch.context() as patched:
        patched.setattr("os.urandom", lambda n: bytes([7]) + bytes(n - 1))
        run(capsys, "generate", "warm:t", "--seed", "-1", *ids)
    assert used[-1].seed == 7  # drawn, whatever the model's own is
    said = fail(capsys, "generate", "warm:t", "--seed", "-2", *ids)
    assert "seed: found -2; expected an integer from 0 to 4294967295" in said


def test_a_conversation_begins_with_what_the_model_brings(root: Path) -> None:
    example = {"role": "user", "content": "Hi"}
    own = {"role": "system", "content": "Hush"}
    make_store(root, {"a:t": CASE.gguf}, system="Be kind", messages=[own, example])
    make_store(root, {"b:t": CASE.gguf}, messages=[own, example])
    opened = {name: asyncio.run(open_model(name)) for name in ("a:t", "b:t", "tiny")}
    kind = {"role": "system", "content": "Be kind"}
    mine = {"role": "system", "content": "Mine"}
    assert opened["a:t"].opening() == [kind, example]
    assert opened["b:t"].opening() == [own, example]
    assert opened["b:t"].opening("Mine") == [mine, example]
    assert opened["tiny"].opening() == [] and opened["tiny"].opening("Mine") == [mine]
    for model in opened.values():
        for source in model.sources:
            source.close()


def test_chat_uses_the_stored_system_prompt_and_template(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"temperature": 0, "num_predict": 2}
    make_store(root, {"mine:26b": CASE.gguf}, params=params, system="Be kind")
    asked: list[str] = []
    real = Tokenizer.encode_prompt

    def note(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
        asked.append(prompt.text)
        return real(tokenizer, prompt)

    monkeypatch.setattr(Tokenizer, "encode_prompt", note)
    lines = ["Hi"]

    def read() -> str:
        if not lines:
            raise EOFError
        return lines.pop()

    monkeypatch.setattr("builtins.input", read)
    run(capsys, "chat", "mine:26b")
    assert asked == [
        "<bos><|turn>system\nBe kind<turn|>\n<|turn>user\nHi<turn|>\n"
        "<|turn>model\n<|channel>thought\n<channel|>"
    ]


def test_list_shows_every_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_model(root, "big:31b-cloud", [], config={"remote_model": "big:31b"})
    lines = run(capsys, "list").splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "PARAMETERS", "TYPE"]
    assert len(lines) == 4
    assert lines[2].split() == ["tiny:latest", "3.9", "MB", "5.1B", "Q4_K_M"]
    # By its name it would be the first; it cannot be used.
    name, reason = lines[3].split(None, 1)
    assert name == "big:31b-cloud" and "cloud" in reason
    listed = json.loads(run(capsys, "list", "--json"))
    assert listed["root"] == str(root) and listed["problem"] is None
    names = [model["name"] for model in listed["models"]]
    assert names == ["hf.co/me/Tiny-26B-GGUF:Q4_K_M", "tiny:latest", "big:31b-cloud"]
    assert listed["models"][2]["problem"]["type"] == "UnsupportedFormatError"


def test_list_takes_another_folder(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_store(tmp_path / "other", {"m:t": CASE.gguf})
    assert "m:t" in run(capsys, "list", "--root", str(other))
    assert "absent" in fail(capsys, "list", "--root", str(tmp_path / "absent"))


def test_list_verifies_when_asked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "list", "--verify")
    make_store(root, {"bad:t": b"GGUF as it was"})
    blob_of(root, "bad:t").write_bytes(b"GGUF as it is!")
    run(capsys, "list")
    assert main(["list", "--verify"]) == 2
    captured = capsys.readouterr()
    assert "bad:t" in captured.out  # the list comes first
    assert captured.err.splitlines()[-1].startswith("lapidary: the blob sha256-")


def test_a_name_from_a_store_cannot_steer_the_terminal(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(root, {"m:t": CASE.gguf}, config={"model_type": "\x1b[2J5B"})
    assert "\x1b" not in run(capsys, "list")
    make_store(root, {"m:t": CASE.gguf}, config={"model_family": "\x1b[2J"})
    assert "\x1b" not in run(capsys, "list")


PATHS = ["no.gguf", "no/such.gguf", "./no", "../no", "/no", "~/no", "no\\such", ""]
NEITHER = ["gemma4:e4b", "no/such", "hf.co/a/b:c.gguf", "a b", "a/b/c/d", "\0"]


@pytest.mark.parametrize("text", PATHS)
def test_what_can_only_be_a_path_is_a_missing_file(
    text: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert looks_like_path(text)
    line = fail(capsys, "inspect", text)
    assert "cannot read" in line and "model" not in line.partition(". ")[0]


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither_file_nor_model_is_said_to_be_neither(
    text: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not looks_like_path(text)
    assert "is no file, and " in fail(capsys, "inspect", text)


def test_without_a_store_a_name_is_explained(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(root / "absent"))
    line = fail(capsys, "generate", "gemma4:e4b", "-p", "Hi")
    assert "there is no Ollama store" in line and "OLLAMA_MODELS" in line


def test_a_model_that_cannot_be_used_is_explained(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [("tensor", b"a")]
    add_model(root, "mlx:t", layers, config={"model_format": "safetensors"})
    assert "safetensors" in fail(capsys, "generate", "mlx:t", "-p", "Hi")
