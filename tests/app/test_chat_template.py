"""Which of Gemma 4's chat templates a model has, and templates of other formats."""

from __future__ import annotations

import pytest

from pyodide_app.gguf.metadata import Metadata
from pyodide_app.load import advice
from pyodide_app.text.chat.gemma4_template import (
    KEY,
    is_large,
    other_format,
    stored_note,
)
from tests.golden_data import require

LARGE = require("tokenizer/chat_template.jinja").read_text("utf-8")
SMALL = "{{ '<|turn>model\\n' }}{# thoughts: <|channel>thought\\n … <channel|> #}"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}"
BILLION = 1_000_000_000


@pytest.mark.parametrize(
    ("per_layer_dim", "n_parameters", "name", "template", "large"),
    [
        (256, 5 * BILLION, "", "", False),
        (256, 40 * BILLION, "gemma4:31b", "", False),
        (0, 12 * BILLION, "", "", True),
        (0, 11_900_000_000, "Artemis", "", True),
        (0, 2 * BILLION, "Artemis", CHATML, True),
        (0, 30 * BILLION, "Gemma-4-E4B-it", "", False),
        # What the file brings decides over what the model is, and is called.
        (256, 8 * BILLION, "gemma-4-e4b", LARGE, True),
        (0, 26 * BILLION, "gemma-4-26b", SMALL, False),
        (0, 12 * BILLION, "", LARGE, True),
        # Toys have the vocabulary's template, whatever they were trained on.
        (0, 3_000_000, "Lapidary demo", LARGE, False),
        (0, 1_000_000, "gemma4:26b-a4b", "", True),
        (0, 1_000_000, "47b6801b24d15ff9bcd8c26bdfaea0be9ed3a0301", "", False),
    ],
)
def test_the_model_decides_which_template_it_has(
    per_layer_dim: int, n_parameters: int, name: str, template: str, large: bool
) -> None:
    assert is_large(per_layer_dim, n_parameters, name, template) is large


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (LARGE, ""),
        (SMALL, ""),
        (CHATML, "ChatML"),
        ("<|start_header_id|>user<|end_header_id|>", "Llama 3"),
        ("<start_of_turn>user", "Gemma 3"),
        ("[INST] {{ .Prompt }} [/INST]", "Mistral"),
        ("{{ .Prompt }}", ""),
    ],
)
def test_template_of_another_format_is_recognised(template: str, found: str) -> None:
    assert other_format(template) == found
    assert (found in stored_note(template)) and bool(stored_note(template)) == bool(
        found
    )


@pytest.mark.parametrize(
    ("value", "note"),
    [
        (LARGE, ""),
        ("", ""),
        (CHATML, f"The metadata key {KEY} is in ChatML; "),
        ("{{ messages }}", f"The metadata key {KEY} is in another format; "),
        (7, f"The metadata key {KEY} is ignored: "),
    ],
)
def test_what_the_file_brings_and_is_not_followed_is_noted(
    value: str | int, note: str
) -> None:
    notes = advice.notes(Metadata({KEY: value}))
    assert len(notes) == bool(note)
    assert not note or notes[0].startswith(note)
