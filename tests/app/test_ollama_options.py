"""Ollama's options: what they become here, and which are only noted."""

from __future__ import annotations

from typing import Any

import pytest

from pyodide_app.ollama.options import Options
from pyodide_app.run.sampling import SamplingOptions


def test_every_known_option_gets_its_meaning() -> None:
    options = Options.parse(
        {
            "temperature": 0.5,
            "top_k": 64.0,
            "top_p": 0.9,
            "min_p": 0.1,
            "repeat_penalty": 1.1,
            "repeat_last_n": -1,
            "presence_penalty": 0.25,
            "frequency_penalty": -0.5,
            "seed": 7,
            "num_predict": 9,
            "num_ctx": 4096.0,
            "stop": ["<turn|>", "\n\nUser:"],
        }
    )
    assert SamplingOptions(**options.sampling) == SamplingOptions(
        0.5, 64, 0.9, 0.1, 1.1, -1, 0.25, -0.5, 7
    )
    assert (options.max_tokens, options.n_ctx) == (9, 4096)
    assert options.stop == ("<turn|>", "\n\nUser:")
    assert options.unused == () and options.note == ""


def test_a_model_without_options_leaves_all_to_others() -> None:
    assert Options.parse({}) == Options() == Options({}, None, None, (), ())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"top_k": -1}, Options({"top_k": 0})),  # off
        ({"seed": -1}, Options()),  # random
        ({"num_predict": -1}, Options()),  # no limit
        ({"num_predict": -2, "num_ctx": 0}, Options()),
        ({"temperature": None, "stop": None, "num_ctx": None}, Options()),
        ({"stop": "END"}, Options(stop=("END",))),
        ({"stop": ["", "END"]}, Options(stop=("END",))),
        ({"stop": []}, Options()),
        ({"temperature": 0}, Options({"temperature": 0})),
    ],
)
def test_values_that_stand_for_something_else(
    params: dict[str, Any], expected: Options
) -> None:
    assert Options.parse(params) == expected


WRONG = [
    ("temperature", "hot"),
    ("temperature", True),
    ("temperature", -1),
    ("top_p", 0),
    ("top_p", 1.5),
    ("top_k", 6.5),
    ("seed", "7"),
    ("seed", 1 << 32),
    ("repeat_penalty", 0),
    ("repeat_last_n", -2),
    ("repeat_last_n", 1.5),
    ("presence_penalty", float("inf")),
    ("frequency_penalty", "1"),
    ("num_predict", "9"),
    ("num_predict", False),
    ("num_ctx", 1.5),
    ("num_ctx", []),
    ("stop", 5),
    ("stop", ["END", 5]),
    ("stop", {}),
    ("mirostat", 2),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_cannot_be_used_is_noted_and_no_more(name: str, value: Any) -> None:
    options = Options.parse({name: value, "min_p": 0.25})
    assert options == Options({"min_p": 0.25}, unused=(name,))
    assert options.note == f"Options not used here: {name}."


def test_a_note_names_some_and_counts_the_rest() -> None:
    params = {f"option_{i:02}\x1b": i for i in range(11)}
    note = Options.parse(params).note
    assert note.startswith("Options not used here: option_00\\x1b, option_01\\x1b, ")
    assert note.endswith("option_07\\x1b and 3 more.") and "\x1b" not in note
