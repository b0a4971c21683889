"""Pre-tokenizers: words as the published patterns cut them, in time that is linear."""

from __future__ import annotations

import functools
import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app.errors import UnsupportedFormatError
from pyodide_app.text.tokenizer.pretokenize import ALIASES, canonical, pretokenizer

# The patterns as they were published, in the syntax that Python's `re` lacks.
G = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+END"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*END"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PUBLISHED = {
    "gpt-2": [G + r"|\s+"],
    "smollm": [r"\p{N}", G + r"|\s+"],
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "tekken": [CASED.replace("END", "").replace("{1,3}", "")],
    "gpt-4o": [CASED.replace("END", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", G, r"\p{N}+", "[0-9][0-9][0-9]"],
}

# Several characters of every category, all of ASCII, and white space of every kind.
# U+017F is left out: engines differ on whether it is an s in another case.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
SPACES += "".join(map(chr, range(0x2000, 0x200B)))

OFTEN = "éÉÀ²\u0301中हिन्दी🧿"


@functools.cache
def alphabet() -> str:
    """Return characters of every category."""
    found: dict[str, list[str]] = {}
    for code in range(0x80, 0x20000):
        category = unicodedata.category(chr(code))
        rest = found.setdefault(category, [])
        if len(rest) < 4 and code != 0x17F and category != "Cs":
            rest.append(chr(code))
    ascii_ = "".join(map(chr, range(0x80)))
    some = "".join("".join(rest) for rest in found.values())
    return "".join(dict.fromkeys(ascii_ + SPACES + OFTEN + some))


def spelled_out(pattern: str) -> re.Pattern[str]:
    """Return a pattern with each class as a list of the alphabet's characters."""

    def members(name: str) -> str:
        if name == "s":
            return "".join(map(re.escape, SPACES))
        of = [c for c in alphabet() if unicodedata.category(c).startswith(name)]
        return "".join(map(re.escape, of))

    def within(match: re.Match[str]) -> str:
        return re.sub(r"\\p\{(\w+)\}|\\(s)", lambda m: members(m[1] or m[2]), match[0])

    pattern = pattern.replace(r"(?!\S)", r"(?![^\s])")
    pattern = re.sub(r"(?<!\[)(?<!\})(\\p\{\w+\}|\\s)(?![^\[]*\])", r"[\1]", pattern)
    return re.compile(re.sub(r"\[(?:\\.|[^\]\\])+\]", within, pattern))


@functools.cache
def slow(name: str) -> list[re.Pattern[str]]:
    return [spelled_out(pattern) for pattern in PUBLISHED[name]]


def cut_slowly(name: str, text: str) -> list[str]:
    """Cut by each pattern in turn, into matches and what lies between them."""
    pieces = [text]
    for pattern in slow(name):
        cut: list[str] = []
        for piece in pieces:
            begin = 0
            for match in pattern.finditer(piece):
                cut += (piece[begin : match.start()], match[0])
                begin = match.end()
            cut.append(piece[begin:])
        pieces = [piece for piece in cut if piece]
    return pieces


CHARACTERS = st.sampled_from(alphabet()) | st.sampled_from("aA1 '\n.é²\u0301中")
WORDS = st.sampled_from(
    [
        *(
            "'s",
            "'LL",
            "'Re",
            "n't",
            "don't",
            "I'M",
            "  ",
            "\r\n",
            " \n ",
            "123",
            "2024",
        ),
        *(
            "camelCase",
            "ÀB",
            "Éa",
            "e\u0301",
            "हिन्दी",
            "a/b",
            "...\n",
            "$+<",
            " \t",
            "  x",
        ),
    ]
)
TEXTS = st.lists(WORDS | CHARACTERS, max_size=24).map("".join)


@pytest.mark.parametrize("name", PUBLISHED)
@given(TEXTS)
def test_words_are_those_of_the_published_pattern(name, text):
    assert pretokenizer(name)(text) == cut_slowly(name, text)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_character_alone_and_between_letters(name):
    cut = pretokenizer(name)
    for character in alphabet():
        for text in (character, f"a{character}b", f" {character}1", character * 4):
            assert cut(text) == cut_slowly(name, text), ascii(text)


@pytest.mark.parametrize("name", PUBLISHED)
@given(st.text())
def test_no_text_is_lost(name, text):
    pieces = pretokenizer(name)(text)
    assert "".join(pieces) == text
    assert all(pieces)


HOSTILE = [
    " ",
    "\n",
    " \n",
    "a",
    "A",
    "aA",
    "1",
    "<",
    "'",
    "'s",
    "é",
    "É",
    "中",
    "\u0301",
]
HOSTILE += ["中A", "🧿", "\xa0", "\u0301A", " \u3000", "²", "\r", "/", "-", "a'S"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_long_text_is_cut_in_linear_time(name):
    """Every pattern meets its longest run; looked at twice, it would take hours."""
    cut = pretokenizer(name)
    begin = time.process_time()
    for unit in HOSTILE:
        for tail in ("", "a", "\n", "."):
            text = unit * (100_000 // len(unit)) + tail
            assert sum(map(len, cut(text))) == len(text)
    assert time.process_time() - begin < 60


def test_other_names_of_the_same_patterns():
    assert {canonical(name) for name in ALIASES} <= set(PUBLISHED)
    assert canonical("llama3") == canonical("llama-v3") == "llama-bpe"


def test_an_unknown_pre_tokenizer_is_refused_by_name():
    with pytest.raises(UnsupportedFormatError) as caught:
        canonical("superbpe")
    error = caught.value
    assert "superbpe" in error.found and "tokenizer.ggml.pre" in error.found
    assert "qwen2" in error.expected and error.remedy
