"""Which of Gemma 4's two chat templates a model has."""

from __future__ import annotations

import pytest

from pyodide_app.text.chat.gemma4_template import is_large
from tests.support.golden_data import require

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
