"""Stop strings: where a text ends, whatever pieces it arrives in."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import pytest

from pyodide_app.errors import RequestError
from pyodide_app.text.chat.stop_strings import StopStrings, undecided


def shown(pieces: list[str], *strings: str) -> tuple[str, bool]:
    """Return all that is passed on, and whether a stop string ended it."""
    stops = StopStrings(strings)
    text = "".join(map(stops.push, pieces)) + stops.finish()
    return text, stops.found


def cuts(text: str) -> list[list[str]]:
    """Return every way to cut a short text into pieces."""
    found = []
    for n in range(len(text)):
        for places in combinations(range(1, len(text)), n):
            edges = [0, *places, len(text)]
            found.append([text[a:b] for a, b in pairwise(edges)])
    return found


def by_the_letter(text: str, strings: tuple[str, ...]) -> tuple[str, bool]:
    """Say the same in the plainest way: look again after every letter."""
    for end in range(1, len(text) + 1):
        at = [end - len(s) for s in strings if text[:end].endswith(s)]
        if at:
            return text[: min(at)], True
    return text, False


KNOWN = [
    ("no end here", ("END",), "no end here", False),
    ("one END two", ("END",), "one ", True),
    ("END", ("END",), "", True),  # at the very start
    ("two\nEND", ("END",), "two\n", True),  # at the very end
    ("one EN", ("END",), "one EN", False),  # never completed: nothing is lost
    ("aaab", ("aab",), "a", True),  # its beginning overlaps itself
    ("abababc", ("ababc",), "ab", True),
    ("x\n\n\nUser: y", ("\n\nUser:",), "x\n", True),
    ("abcd", ("abcd", "bc"), "a", True),  # `bc` is complete first
    ("xab", ("b", "ab"), "x", True),  # both at once: the longer one
    ("aEbF", ("F", "E"), "a", True),
    ("naïve 日本語。さ", ("本語。",), "naïve 日", True),
    ("anything", (), "anything", False),
    ("", ("x",), "", False),
]


@pytest.mark.parametrize(("text", "strings", "expected", "found"), KNOWN)
def test_text_ends_before_the_first_stop_string(
    text: str, strings: tuple[str, ...], expected: str, found: bool
) -> None:
    assert shown([text], *strings) == (expected, found)
    assert shown(list(text), *strings) == (expected, found)


@pytest.mark.parametrize(
    "strings", [("ab",), ("aab",), ("aba", "b"), ("abab", "ba"), ("aa", "bb"), ("bba",)]
)
def test_how_the_text_is_cut_changes_nothing(strings: tuple[str, ...]) -> None:
    for letters in product("ab", repeat=6):
        text = "".join(letters)
        expected = by_the_letter(text, strings)
        assert {shown(pieces, *strings) for pieces in cuts(text)} == {expected}, text


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    stops = StopStrings(["\n\nUser:", "END"])
    assert [stops.push(piece) for piece in ("He", "llo\n", "\nU", "ncle ", "E")] == [
        "He",
        "llo",
        "",
        "\n\nUncle ",
        "",
    ]
    assert stops.push("agle E") == "Eagle "
    assert (stops.finish(), stops.finish(), stops.found) == ("E", "", False)


def test_nothing_follows_the_end() -> None:
    stops = StopStrings(["."])
    assert (stops.push("One. Two"), stops.push(". Three"), stops.finish()) == (
        "One",
        "",
        "",
    )
    assert stops.found


def test_undecided_is_the_longest_beginning_at_the_end() -> None:
    tags = ("<|channel>", "<|tool_call>")
    assert undecided("text <|", tags) == 2
    assert undecided("text <|tool_call", tags) == len("<|tool_call")
    assert undecided("<<", tags) == 1
    assert undecided("text", tags) == undecided("", tags) == undecided("text", ()) == 0


@pytest.mark.parametrize("strings", [[""], ["a", ""], [5], [None], "abc"])
def test_what_cannot_be_a_stop_string_is_refused(strings: object) -> None:
    with pytest.raises(RequestError, match="stop"):
        StopStrings(strings)  # type: ignore[arg-type]
