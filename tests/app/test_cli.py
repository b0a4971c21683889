"""The command line: its stable verbs, and one line on stderr for bad input."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from pyodide_app.__main__ import main
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from tests.samples.gguf_bytes import build_gguf, with_keys
from tests.support.compare import relative_l2
from tests.support.golden_data import committed_cases
from tests.support.gpu import device

CASE = next(case for case in committed_cases() if case.model == "moe8")
MODEL = str(CASE.gguf)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def feed(monkeypatch: pytest.MonkeyPatch, *lines: object) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def joined(ids: list[int]) -> str:
    return ",".join(map(str, ids))


def test_logits_writes_every_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "logits.bin"
    ids = CASE.ids("p20")
    run(capsys, "logits", MODEL, "--ids", joined(ids), "--kv", "f32", "--out", str(out))
    rows = np.fromfile(out, "<f4").reshape(len(ids), -1)
    assert relative_l2(rows, CASE.exact("p20")) < 5e-5


def test_generate_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(
        capsys,
        "generate",
        MODEL,
        "--ids",
        joined(CASE.ids("p20")),
        "-n",
        "32",
        "--greedy",
        "--ignore-eos",
        "--kv",
        "f32",
        "--json",
    )
    result = json.loads(text)
    assert result["ids"] == CASE.greedy("p20")
    assert result["reason"] == "length" and result["n_generated"] == 32
    assert result["prefill_seconds"] > 0 and result["decode_seconds"] > 0


def test_generate_answers_a_message_the_same_for_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("-n", "8", "--json", "--seed", "7", "--temperature", "0.8")
    first = json.loads(run(capsys, "generate", MODEL, "-p", "Hello", *options))
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "user", "content": "Hello"}]))
    again = run(capsys, "generate", MODEL, "--messages", str(messages), *options)
    assert json.loads(again)["ids"] == first["ids"]
    assert first["n_prompt"] > 5


def test_tokenize_reads_lines_and_needs_no_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["Hello world", "", "a<|turn>b"]
    feed(monkeypatch, *lines)
    ids = json.loads(run(capsys, "tokenize", MODEL, "--jsonl"))
    assert [len(row) > 0 for row in ids] == [True, False, True]
    assert 105 in ids[2]
    feed(monkeypatch, *lines)
    bare = json.loads(
        run(capsys, "tokenize", MODEL, "--no-special", "--bos", "--jsonl")
    )
    assert all(row[0] == 2 for row in bare) and 105 not in bare[2]
    vocabulary = tmp_path / "vocabulary.gguf"
    tokens = ["<bos>", "<eos>", "a", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary.write_bytes(
        build_gguf(
            {
                "general.architecture": "gemma4",
                "tokenizer.ggml.model": "gemma4",
                "tokenizer.ggml.tokens": tokens,
                "tokenizer.ggml.merges": ["a a"],
            },
            [],
        )
    )
    feed(monkeypatch, "ab")
    ids = json.loads(run(capsys, "tokenize", str(vocabulary), "--jsonl"))
    assert ids == [[2, 3 + ord("b")]]


def test_render_and_parse(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, {"messages": [{"role": "user", "content": "Hi"}], "think": True})
    prompt = json.loads(run(capsys, "render", MODEL, "--jsonl"))
    assert prompt.startswith("<bos><|turn>system\n<|think|>\n")
    output = (
        "<|channel>thought\nplan A \n<channel|>\n\nHello "
        "<|tool_call>call:f{a:1}<tool_call|><tool_call|>"
    )
    for chunk in ("1", "3", "1000"):
        feed(monkeypatch, output)
        parts = json.loads(run(capsys, "parse", MODEL, "--jsonl", "--chunk", chunk))
        assert parts == {
            "thinking": "plan A",
            "content": "Hello",
            "tool_calls": [{"name": "f", "arguments": {"a": 1}}],
        }


def test_parse_takes_objects_and_render_what_it_documents(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}
    said = "<|channel>thought\nx<channel|>call:f{a:1}"
    feed(
        monkeypatch,
        {"text": said},
        {"text": said, "think": False, "tools": [tool]},
        said,
    )
    lines = run(capsys, "parse", MODEL, "--jsonl", "--chunk", "2").splitlines()
    bare = {"thinking": "x", "content": "call:f{a:1}", "tool_calls": []}
    called = [{"name": "f", "arguments": {"a": "1"}}]
    assert [json.loads(line) for line in lines] == [
        bare,
        {"thinking": "", "content": "", "tool_calls": called},
        bare,
    ]


@pytest.mark.parametrize(
    ("verb", "line", "text"),
    [
        ("parse", 5, "line 2: input: found 5"),
        ("parse", {"think": True}, "line 2: input: found None"),
        ("parse", {"text": "", "think": "yes"}, "line 2: think: found "),
        ("parse", {"text": "", "tools": [1]}, "line 2: tools[0]: found 1"),
        ("render", [], "line 2: input: found []"),
        ("render", {"messages": 1}, "line 2: messages: found 1"),
        ("render", {"messages": [], "tools": {}}, "line 2: tools: found {}"),
        ("render", {"messages": [], "think": 1}, "line 2: think: found 1"),
        ("tokenize", {}, "line 2: input: found {}"),
    ],
)
def test_a_line_that_cannot_be_served_is_named(
    verb: str,
    line: object,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = {"render": {"messages": []}}.get(verb, "fine")
    feed(monkeypatch, good, line)
    assert main([verb, MODEL, "--jsonl"]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_messages_are_read_in_every_encoding_of_json(
    encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "messages.json"
    image = {"role": "user", "content": "grüß", "images": ["aGk="]}
    path.write_bytes(json.dumps([image], ensure_ascii=False).encode(encoding))
    assert main(["generate", MODEL, "--messages", str(path)]) == 2
    assert "messages[0].images: found an image" in capsys.readouterr().err


def test_reply_is_shown_without_markers_and_ids_are_continued_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [
        "<|channel>thought\nhm",
        "<channel|>Hi <",
        '|"|>you<|"|> <|tool_call>call:f',
    ]

    async def say(*_: object, **__: object) -> AsyncIterator[str | Finished]:
        for text in said:
            yield text
        yield Finished("stop", (1,), 1, 0, 1, 1.0, 1.0, 1, 1, 1)

    monkeypatch.setattr(Engine, "generate_text", say)
    assert run(capsys, "generate", MODEL, "-p", "Hi") == 'Hi "you" call:f'
    assert run(capsys, "generate", MODEL, "--ids", "2") == "".join(said)
    assert main(["generate", MODEL, "-p", "Hi", "--think"]) == 0
    assert "hm" in capsys.readouterr().err


def test_raw_text_is_continued_without_a_chat_format(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("-n", "2", "--greedy", "--json")
    raw = json.loads(run(capsys, "generate", MODEL, "-p", "Hello", "--raw", *options))
    said = json.loads(run(capsys, "generate", MODEL, "-p", "Hello", *options))
    marked = ("-p", "<bos><|turn>user\nHello<turn|>\n<|turn>model\n", "--raw")
    same = json.loads(run(capsys, "generate", MODEL, *marked, *options))
    assert raw["n_prompt"] < said["n_prompt"] == same["n_prompt"]
    assert same["ids"] == said["ids"]
    assert main(["generate", MODEL, "--ids", "2", "--raw"]) == 2
    assert "-p TEXT" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["render", "parse"])
def test_chat_format_that_nobody_knows_is_refused(
    verb: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "base.gguf"
    keys = {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "b"]}
    path.write_bytes(build_gguf(keys, []))
    feed(monkeypatch, "fine")
    assert main([verb, str(path), "--jsonl"]) == 2
    assert "brings no chat format" in capsys.readouterr().err


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads(run(capsys, "inspect", MODEL, "--json"))
    assert summary["architecture"] == "gemma4"
    assert summary["n_tensors"] == len(summary["tensors"])
    assert summary["n_parameters"] == sum(
        row["parameters"] for row in summary["types"].values()
    )
    assert "Q4_K" in run(capsys, "inspect", MODEL)


def test_what_of_a_file_is_ignored_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"general.sampling.top_p": -1.0, "tokenizer.ggml.eos_token_id": 2**32 - 1}
    path = tmp_path / "odd.gguf"
    path.write_bytes(with_keys(CASE.gguf.read_bytes(), changes))
    asked = ("generate", str(path), "--ids", "2", "-n", "2", "--greedy", "--json")
    assert main(asked) == 0
    shown = capsys.readouterr()
    notes = [line for line in shown.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert (
        "general.sampling.top_p is ignored: found the float -1.0, expected" in shown.err
    )
    assert "tokenizer.ggml.eos_token_id names 4294967295, which is none" in shown.err
    assert json.loads(shown.out)["n_generated"] == 2
    assert "note: The metadata key general.s" in run(capsys, "inspect", str(path))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["inspect", "no/such/file.gguf"], "no/such/file.gguf"),
        (["generate", MODEL, "--ids", "1,x"], "--ids"),
        (["generate", MODEL, "--ids", "2", "--top-p", "0"], "top_p"),
        (["generate", MODEL, "--ids", "99999"], "99999"),
        (["generate", MODEL, "--messages", "no/such.json"], "no/such.json"),
        (
            ["generate", MODEL, "--ids", "2", "--adapter", "no such card"],
            "no such card",
        ),
        (
            ["logits", MODEL, "--ids", "2", "--out", "no/such/folder/x"],
            "no/such/folder",
        ),
    ],
)
def test_bad_input_gives_one_line_and_status_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and text in captured.err


def test_a_line_that_is_no_json_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('"fine"\nnot json\n'))
    assert main(["tokenize", MODEL, "--jsonl"]) == 2
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance", MODEL], ["generate", MODEL]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_inspect_says_what_it_takes_to_run_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = run(capsys, "inspect", MODEL, "--fit", "--context", "512")
    assert "all on the GPU" in text and "512 tokens, f16" in text
    assert "decodes at most" in text


def test_reply_is_set_against_the_prediction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["generate", MODEL, "-p", "Hi", "-n", "4", "--ignore-eos", "--fit"]
    assert main(arguments) == 0
    told = capsys.readouterr().err
    assert "fits in " in told and "decodes at most" in told
    closing = re.search(
        r"reply 4 tokens at ([\d.]+)/s.*predicted at most ([\d.]+)/s \((\d+) %\)", told
    )
    assert closing, told
    measured, predicted, percent = map(float, closing.groups())
    # Each figure is rounded to what is printed.
    assert percent == pytest.approx(100 * measured / predicted, abs=2)
    result = json.loads(run(capsys, *arguments, "--json"))
    assert result["predicted_tokens_per_second"] > 0
    without = json.loads(run(capsys, *arguments[:-1], "--json"))
    assert "predicted_tokens_per_second" not in without


def test_memory_of_the_machine_bounds_an_adapter_in_software(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not device().info.is_software:
        pytest.skip("the adapter is a GPU: its memory is its own")
    monkeypatch.setattr("pyodide_app.cli.session.available_memory", lambda: 1_500_000)
    assert main(["generate", MODEL, "-p", "Hi", "-n", "1"]) == 2
    told = capsys.readouterr().err
    assert "does not fit" in told and "at most 1.5 MB" in told
