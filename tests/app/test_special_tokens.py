"""Special tokens in a text: the right ones, and at a cost that follows its length."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app.text.tokenizer.special import LONGEST, SpecialTokens

UNUSED = [f"<unused{i}>" for i in range(6400)]
STRINGS = st.lists(st.text("<ab|>", min_size=1, max_size=6), max_size=8)


class Watched(str):
    """A text that counts how often one of its characters is looked at."""

    n_looks = 0

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.n_looks += isinstance(index, int)
        return super().__getitem__(index)


def by_definition(strings: list[str], text: str) -> list[str]:
    """Split by an alternation, the longest string first."""
    ordered = sorted(strings, key=len, reverse=True)
    if not ordered:
        return [text]
    return re.split(f"({'|'.join(map(re.escape, ordered))})", text)


@given(STRINGS, st.text("<ab|>\n", max_size=40))
def test_finds_the_leftmost_and_of_several_the_longest(
    strings: list[str], text: str
) -> None:
    assert SpecialTokens(strings).split(text) == by_definition(strings, text)


@pytest.mark.parametrize("string", ["]", "^", "\\", "-", "a-z", "[^]", "\n", "\0", "é"])
def test_no_character_has_a_meaning_of_its_own(string: str) -> None:
    text = f"x{string}y\\]^-[b"
    assert SpecialTokens([string]).split(text) == by_definition([string], text)


@pytest.mark.parametrize("unit", ["<", "<u", "<unused", "<unused6399", "<<|", "a"])
def test_thousands_of_tokens_cost_no_more_than_one(unit: str) -> None:
    text = unit * 1000
    looks = []
    for strings in (UNUSED[-1:], UNUSED):
        watched = Watched(text)
        assert SpecialTokens(strings).split(watched) == [text]
        looks.append(watched.n_looks)
    # Each place is left at the first character that no string has there.
    assert looks[1] <= 2 * len(text) and looks[0] <= looks[1]


def test_a_string_longer_than_any_is_never_found() -> None:
    longest, longer = "a" * LONGEST, "b" * (LONGEST + 1)
    tokens = SpecialTokens([longest, longer])
    assert tokens.split(longest + longer) == ["", longest, longer]
    watched = Watched("a" * 5000)
    SpecialTokens(["a" * LONGEST + "c", "a" * 4000 + "c"]).split(watched)
    assert watched.n_looks <= (LONGEST + 1) * 5000
