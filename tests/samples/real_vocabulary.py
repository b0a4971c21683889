"""A synthetic vocabulary of Gemma 4's real size: 262,144 tokens, 514,906 merges.

The special tokens, the byte tokens, the runs of newlines and of spaces and the single
characters have the ids of the real one. Its words are made of eight letters: they spell
nothing, but there are as many of them, about as long, and all merges are sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain, islice, product
from typing import Any

from tests.samples.gguf_bytes import key_value, typed
from tests.support.golden_data import GOLDEN_COMMITTED

N_TOKENS, N_MERGES = 262_144, 514_906
SPACE = "\u2581"  # how a token writes U+0020

NORMAL, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 3, 4, 5, 6
CONTROL_IDS = {
    **{0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>"},
    **{46: "<|tool>", 47: "<tool|>", 50: "<|tool_response>", 98: "<|think|>"},
    **{105: "<|turn>", 106: "<turn|>", 255999: "<|image>", 256000: "<|audio>"},
    **{258880: "<|image|>", 258881: "<|audio|>", 258882: "<image|>"},
    **{258883: "<audio|>", 258884: "<|video|>"},
}
MARKER_IDS = {
    **{48: "<|tool_call>", 49: "<tool_call|>", 51: "<tool_response|>"},
    **{52: '<|"|>', 100: "<|channel>", 101: "<channel|>"},
}
FIRST_NEWLINES, FIRST_SPACES, LONGEST_RUN = 107, 138, 31
END_OF_SENTENCE = 212  # `</s>`, a word like any other here
FIRST_BYTE, FIRST_WORD, FIRST_SINGLE, END_OF_SINGLES = 238, 494, 236_743, 255_999

# Single characters in the order of their ids: U+2581 is 236743, the comma 236764.
SINGLES = SPACE + "etaoinsrhldcumpgfybw" + ","
WORD_LETTERS = SPACE + "etaoins"


@cache
def key_values(ollama: bool = False) -> tuple[bytes, ...]:
    """Return the tokenizer's metadata, encoded, as llama.cpp or Ollama writes it."""
    template = GOLDEN_COMMITTED / "tokenizer" / "chat_template.jinja"
    keys: dict[str, Any] = {
        "model": "llama" if ollama else "gemma4",
        "tokens": list(tokens()),
        "scores": typed("f32", [-1000.0] * N_TOKENS),
        "token_type": typed("i32", [token_type(i, ollama) for i in range(N_TOKENS)]),
        "merges": list(merges()),
        "bos_token_id": 2,
        "eos_token_id": 106,
        "unknown_token_id": 3,
        "padding_token_id": 0,
        "mask_token_id": 4,
        "add_space_prefix": False,
        "add_bos_token": True,
    }
    pairs = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    pairs["tokenizer.chat_template"] = template.read_text("utf-8")
    return tuple(key_value(key, value) for key, value in pairs.items())


@cache
def tokens() -> tuple[str, ...]:
    """Return all tokens in the order of their ids."""
    found = [f"<unused{i}>" for i in range(N_TOKENS)]
    runs = range(1, LONGEST_RUN + 1)
    put(found, FIRST_NEWLINES, ["\n" * n for n in runs])
    put(found, FIRST_SPACES, [SPACE * n for n in runs[1:]])
    put(found, FIRST_BYTE, [f"<0x{byte:02X}>" for byte in range(256)])
    put(found, FIRST_WORD, words())
    put(found, FIRST_SINGLE, singles())
    found[END_OF_SENTENCE] = "</s>"
    for token_id, text in (CONTROL_IDS | MARKER_IDS).items():
        found[token_id] = text
    return tuple(found)


def put(found: list[str], begin: int, texts: list[str]) -> None:
    """Write texts over the ids from `begin` on."""
    found[begin : begin + len(texts)] = texts


@cache
def words() -> list[str]:
    """List words: all strings of the letters, shortest first, that are no bare run."""
    strings = chain.from_iterable(
        product(WORD_LETTERS, repeat=length) for length in range(2, 7)
    )
    texts = ("".join(letters) for letters in strings)
    real = (text for text in texts if text.strip(SPACE))
    return list(islice(real, FIRST_SINGLE - FIRST_WORD))


def singles() -> list[str]:
    """List single characters: the commonest, all of ASCII, then other scripts."""
    others = map(chr, chain(range(0x21, 0x7F), range(0xA1, 0x8000)))
    unseen = (char for char in others if char not in SINGLES)
    return [*SINGLES, *islice(unseen, END_OF_SINGLES - FIRST_SINGLE - len(SINGLES))]


def token_type(token_id: int, ollama: bool) -> int:
    """Return the type that llama.cpp's or Ollama's converter gives a token."""
    if token_id in CONTROL_IDS:
        return CONTROL
    if token_id in MARKER_IDS:
        return USER_DEFINED
    if ollama:
        return NORMAL
    if FIRST_BYTE <= token_id < FIRST_WORD:
        return BYTE
    return UNUSED if tokens()[token_id].startswith("<unused") else NORMAL


def merges() -> Iterator[str]:
    """Yield as many merges as the real vocabulary has, in the order of their ranks.

    Every half of a word is a token itself: a word is reached by cutting off its last
    letter, its first or, as long as merges are left, its first two.
    """
    for mark in ("\n", SPACE):
        for n in range(2, LONGEST_RUN + 1):
            yield from (f"{mark * i} {mark * (n - i)}" for i in range(1, n))
    left = N_MERGES - LONGEST_RUN * (LONGEST_RUN - 1)
    left -= sum(min(2, len(word) - 1) for word in words())
    for word in words():
        n_cuts = min(len(word) - 1, 3 if left > 0 else 2)
        left -= max(0, n_cuts - 2)
        yield from (f"{word[:cut]} {word[cut:]}" for cut in (-1, 1, 2)[:n_cuts])
