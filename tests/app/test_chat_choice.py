"""Which chat format a model has: by its template, the store's, and its tokens."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import accumulate

import pytest

from pyodide_app.errors import ChatFormatError
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.gguf.strings import LENGTH_BYTES, StringArray
from pyodide_app.load.chat_format import choose_format
from pyodide_app.text.chat import choice
from pyodide_app.text.chat.chatml import ChatML
from pyodide_app.text.chat.choice import KEY, Brought
from pyodide_app.text.chat.gemma4_format import Gemma4
from pyodide_app.text.chat.templated import Templated
from tests.support.golden_data import require

GEMMA_4 = require("tokenizer/chat_template.jinja").read_text("utf-8")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}"
SYSTEM = "'<|im_start|>system\\nIt\\'s me.<|im_end|>\\n'"
QWEN_2 = f"{SYSTEM} You may call one or more functions to assist with the user query. "
QWEN_2 += "<tool_call>"
QWEN_3 = "<|im_start|> <think> </think> {% if enable_thinking is false %}"
INSTRUCT = "<|im_start|> {% if '</think>' in content %} '<|im_start|>assistant\\n'"
THINKING = "'</think>' \n '<|im_start|>assistant\\n<think>\\n'"
OLLAMA_QWEN_3 = "<|im_start|>{{ if and .IsThinkSet .Think }} <think> </think>"
LLAMA_3 = "<|start_header_id|>user<|end_header_id|>"
LLAMA_3_1 = f'{LLAMA_3} Cutting Knowledge Date {{% set date_string = "26 Jul 2024" %}}'
TOKENS = "<|turn> <start_of_turn> <|start_header_id|> <|im_start|> [INST] a".split()


def file(
    architecture: str = "llama", template: object = None, tokens: str = " ".join(TOKENS)
) -> GGUFFile:
    """Return a header that says so much."""
    values: dict[str, object] = {"general.architecture": architecture}
    if template is not None:
        values[KEY] = template
    if tokens:
        values["tokenizer.ggml.tokens"] = strings(tokens.split())
    return GGUFFile(3, 32, Metadata(values), {}, 0)


def strings(items: list[str]) -> StringArray:
    """Return strings as a file holds them."""
    lengths = [len(item.encode()) + LENGTH_BYTES for item in items]
    starts = array("I", accumulate(lengths, initial=0))
    return StringArray((" " * LENGTH_BYTES).join(items).encode(), starts)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (GEMMA_4, "Gemma 4"),
        ("<start_of_turn>user", "Gemma 3"),
        (LLAMA_3, "Llama 3"),
        (LLAMA_3_1, "Llama 3.1"),
        (CHATML, "ChatML"),
        (QWEN_3, "ChatML"),
        ("[INST] {{ .Prompt }} [/INST]", "Mistral v1"),
        ("'[INST] ' <<SYS>>", "Llama 2"),
        ("'[AVAILABLE_TOOLS] [' '[INST] '", "Mistral v3"),
        ("'[AVAILABLE_TOOLS][' '[INST]'", "Mistral v3 (Tekken)"),
        ("[SYSTEM_PROMPT] [INST]", "Mistral v7"),
    ],
)
@pytest.mark.parametrize("where", ["file", "store"])
def test_template_tells_the_format_wherever_it_is(
    template: str, name: str, where: str
) -> None:
    own = template if where == "file" else None
    brought = Brought(template if where == "store" else "")
    found = choose_format(file(template=own), brought)
    assert found.require().name == name
    assert (found.notes, found.format.end in TOKENS) == ((), False)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ChatML()),
        (SYSTEM, ChatML("It's me.")),
        (QWEN_2, ChatML("It's me.", with_tools=True)),
        (QWEN_3, ChatML(reasons=True, can_choose=True)),
        (INSTRUCT, ChatML(reasons=True)),
        (THINKING, ChatML(reasons=True, always_thinks=True)),
        (OLLAMA_QWEN_3, ChatML(reasons=True, can_choose=True)),
        ("<|im_start|>system\nBe.\n<|im_end|>", ChatML("Be.")),
        ("<|im_start|>system\n{{ .System }}<|im_end|>", ChatML()),
    ],
)
def test_template_tells_the_habits_of_chatml(template: str, expected: ChatML) -> None:
    assert ChatML.of(template) == expected


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe", "llama", "unheard-of"])
def test_architecture_does_not_tell_the_format(architecture: str) -> None:
    """Qwen's mixture of experts (qwen3:30b-a3b) speaks as the dense ones do."""
    tokens = "<|im_start|> <|im_end|> <think> </think> <tool_call> </tool_call>"
    format = ChatML(reasons=True, can_choose=True)
    own = choose_format(file(architecture, QWEN_3, tokens))
    stored = choose_format(file(architecture, None, tokens), Brought(OLLAMA_QWEN_3))
    assert (own.require(), own.notes, own.stops) == (format, (), ())
    assert (stored.require(), stored.notes, stored.stops) == (format, (), ())
    assert choose_format(file(architecture, None, tokens)).require() == ChatML()


@pytest.mark.parametrize(
    ("tokens", "name"),
    [
        ("<start_of_turn> a", "Gemma 3"),
        ("<|start_header_id|> a", "Llama 3.1"),
        ("<|im_start|> a", "ChatML"),
        ("[INST] a", "Mistral v3 (Tekken)"),
    ],
)
def test_model_without_a_template_shows_it_by_its_tokens(
    tokens: str, name: str
) -> None:
    found = choose_format(file(tokens=tokens))
    assert found.require().name == name
    assert "brings no chat template" in found.notes[0] and name[:6] in found.notes[0]


@pytest.mark.parametrize("tokens", ["a b", ""])
def test_model_whose_format_nobody_knows_is_refused(tokens: str) -> None:
    found = choose_format(file(tokens=tokens))
    with pytest.raises(ChatFormatError, match="--raw"):
        found.require()


@pytest.mark.parametrize(
    ("template", "stored", "note"),
    [
        (CHATML, "", f"The metadata key {KEY} is in ChatML; "),
        (GEMMA_4, CHATML, "The template of the store is in ChatML; "),
        (None, CHATML, "The template of the store is in ChatML; "),
        (GEMMA_4, "{{ .Prompt }}", ""),
        (None, "", ""),
    ],
)
def test_what_the_vocabulary_cannot_say_is_not_followed_and_noted(
    template: str | None, stored: str, note: str
) -> None:
    found = choose_format(file("gemma4", template, "<|turn> a"), Brought(stored))
    assert found.format == Gemma4(large=False)
    assert len(found.notes) == bool(note)
    assert not note or found.notes[0].startswith(note)


def test_file_is_followed_where_the_store_says_something_else() -> None:
    found = choose_format(file(template=LLAMA_3), Brought(CHATML))
    assert found.require().name == "Llama 3"
    assert found.notes[0].startswith("The template of the store is in ChatML; ")


def test_end_that_is_no_token_ends_a_reply_as_text() -> None:
    assert choose_format(file(template=CHATML)).stops == ("<|im_end|>",)
    assert choose_format(file(template=CHATML, tokens="a")).stops == ("<|im_end|>",)
    both = "<|im_start|> <|im_end|>"
    assert choose_format(file(template=CHATML, tokens=both)).stops == ()


def test_template_that_is_no_text_is_noted() -> None:
    found = file("gemma4", 7)
    assert choose_format(found).require().name == "Gemma 4"
    assert f"The metadata key {KEY} is ignored: " in found.metadata.notes[0]


def test_name_tells_the_template_of_the_large_models() -> None:
    assert choose_format(file("gemma4"), Brought(large=True)).format == Gemma4(True)


@pytest.mark.parametrize(
    "template",
    [
        *("{{ messages }}", "<|im_start|>user<|im_sep|>", f"{LLAMA_3} </think>"),
        *("<start_of_turn><start_function_", f"{CHATML}{{% if tools %}}"),
        f"{LLAMA_3_1}{{% if tools %}}",
    ],
)
def test_template_that_nobody_knows_is_run_as_it_is(template: str) -> None:
    found = choose_format(file(template=template))
    assert found.format == Templated(template)
    assert found.notes == (
        f"The metadata key {KEY} is in another format, and run as it is.",
    )


def test_template_that_nobody_can_run_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "can_run", lambda: False)
    found = choose_format(file(template="{{ messages }}", tokens="<|im_start|> a"))
    assert found.require().name == "ChatML"
    assert found.notes[0].startswith(f"The metadata key {KEY} is in another format; ")
    lost = choose_format(file(template="{{ messages }}", tokens="a"))
    with pytest.raises(ChatFormatError, match=r"another format; .*--raw"):
        lost.require()


def test_template_is_told_the_texts_of_its_tokens() -> None:
    found = file(template="{{ bos_token }}{{ eos_token }}{{ messages[0].content }}")
    ids = {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 99}
    found = replace(found, metadata=Metadata({**dict(found.metadata.items()), **ids}))
    chat = choose_format(found).require()
    assert chat.render([{"role": "user", "content": "Hi"}]).text == "<|turn>Hi"
