"""What errors say: one form for all of them, and nothing endless in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyodide_app import errors
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.load import advice

SOURCES = sorted(Path(errors.__file__).parent.rglob("*.py"))
KINDS = {name for name in vars(errors) if name.endswith("Error")}
SAMPLE = "1234567"  # for whatever is known only at run time
UNITS = r"bytes|tokens?|rows|elements|tensors|layers|heads|experts|numbers"


def raised() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where the driver makes an error, and its parts with a number for names."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and called(node) in KINDS:
                parts = {word.arg: word.value for word in node.keywords if word.arg}
                parts |= {"what": node.args[0]} if node.args else {}
                texts = {name: text_of(value) for name, value in parts.items()}
                where = f"{path.name}:{node.lineno}"
                yield where, {name: text for name, text in texts.items() if text}


def called(node: ast.Call) -> str:
    """Return the name of what is called."""
    return ast.unparse(node.func).split(".")[-1]


def text_of(node: ast.expr) -> str:
    """Return a text as far as it stands in the source; empty where it does not."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            SAMPLE if isinstance(part, ast.FormattedValue) else text_of(part)
            for part in node.values
        )
    return ""


ERRORS = list(raised())


def test_sources_have_errors():
    assert len(ERRORS) > 100


@pytest.mark.parametrize("name", ["what", "found", "expected", "remedy"])
def test_parts_have_one_form(name):
    for where, parts in ERRORS:
        if name not in parts:
            continue
        error = errors.EngineError(**({"what": "x"} | {name: parts[name]}))
        text = errors.with_separators(getattr(error, name))
        assert not re.search(rf"\d{{4,}} (?:{UNITS})\b", text), (where, text)
        if name == "remedy":
            assert text[0].isupper() or not text[0].isalpha(), (where, text)
            assert text.endswith((".", "!", "?")) or "run: " in text, (where, text)
        elif name == "what":
            assert not text.endswith("."), (where, text)
            # It stands within a sentence on a terminal; the page makes it a title.
            first = text.split(" ", 1)[0]
            assert not re.fullmatch(r"[A-Z][a-z]+", first) or first in NAMES, where


# What errors begin with that has a capital letter of its own.
NAMES = {"Ollama"}


def test_counts_are_written_with_separators_and_names_are_not():
    texts = {
        "keys of 8192 tokens": "keys of 8,192 tokens",
        "12345678 bytes in a-2024.gguf": "12,345,678 bytes in a-2024.gguf",
        "at most 65536, of v1.2048 tokens": "at most 65,536, of v1.2048 tokens",
        "token id 99999": "token id 99999",
        "SHA-256 1234 of blk.1024.x": "SHA-256 1234 of blk.1024.x",
    }
    for text, shown in texts.items():
        assert errors.with_separators(text) == shown


def test_remedy_is_a_sentence():
    error = errors.RequestError("a wish", found="none", remedy="Make one")
    assert error.remedy == "Make one."
    assert str(error) == "a wish: found none. Make one."


def test_name_of_a_model_is_short_and_in_one_line():
    name = "Gemma\n4\u202e \x00" + "x" * 1_000_000
    metadata = Metadata({"general.name": name})
    shown = advice.model_name(metadata)
    assert shown.startswith("Gemma 4\N{REPLACEMENT CHARACTER} ")
    assert len(shown) <= 160


def test_no_part_of_an_error_is_endless():
    endless = "x" * 1_000_000
    error = errors.FileFormatError(
        endless, found=endless, expected=endless, remedy=endless
    )
    assert len(str(error)) < 10_000
