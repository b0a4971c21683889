"""Learn a Gemma 4 vocabulary from the corpus: chains of merges from a word's start.

Every merge begins at a space or at a capital letter, so that letters without either
before them, as in "stone" in quotes, stay one token each, and digits always do: a
small model then sees what it must reverse, count or add. A word is the longest chain
that the vocabulary has, and the rest of it letter by letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SPACE = "\u2581"
CONTROL = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|think|>", "<|turn>", "<turn|>"),
    *("<|tool>", "<tool|>", "<|image>", "<|image|>", "<image|>"),
    *("<|audio>", "<|audio|>", "<audio|>", "<|video|>"),
)
MARKERS = (
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
    *("<|tool_response>", "<tool_response|>", '<|"|>'),
)
# Words of the format itself, which no space precedes.
FORMAT = (
    *("user", "model", "system", "thought", "declaration:", "description:"),
    *("parameters:", "properties:", "required:", "response:", "value:", "type:"),
    *("call:", "OBJECT", "STRING", "INTEGER"),
)
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
NEWLINES = tuple("\n" * n for n in range(2, 9))
PRINTABLE = map(chr, range(ord("!"), ord("~") + 1))
LETTERS = (*PRINTABLE, SPACE, "\n", "×", "÷")
JOINABLE = frozenset("+-*=×/")

NORMAL, CONTROL_TYPE, USER_DEFINED, BYTE = 1, 3, 4, 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens with their GGUF types, and the merges, first ones first."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[tuple[str, str], ...]


def chains(text: str) -> Iterable[str]:
    """Yield what could become one token: a space or a capital, and what follows."""
    word = ""
    for letter in text.replace(" ", SPACE):
        if letter == SPACE or (letter.isupper() and word != SPACE):
            yield word
            word = letter
        elif word == SPACE and letter in JOINABLE:
            yield word + letter
            word = ""
        elif word == SPACE and letter == '"':
            yield word + letter
            word = ""
        elif word and (letter.isalpha() or (letter == "'" and len(word) > 1)):
            word += letter
        else:
            yield word
            word = ""
    yield word


def learn(texts: Iterable[str], size: int) -> Vocabulary:
    """Return a vocabulary of `size` tokens or fewer, the commonest chains first."""
    counts = Counter(chain for text in texts for chain in chains(text))
    prefixes: Counter[str] = Counter()
    for chain, n in counts.items():
        for end in range(2, len(chain) + 1):
            prefixes[chain[:end]] += n
    fixed = (*CONTROL, *MARKERS, *FORMAT, *BYTES, *LETTERS, *NEWLINES)
    # A prefix is at least as common as what it begins, so no chain is cut in two.
    ranked = sorted(
        prefixes.items(), key=lambda item: (-item[1], len(item[0]), item[0])
    )
    chosen = [prefix for prefix, n in ranked[: size - len(fixed)] if n > 1]
    # Spaces first: " The" grows from the space, not from the T.
    chosen.sort(key=lambda chain: (chain[0] != SPACE, len(chain), chain))
    types = (
        *[CONTROL_TYPE] * len(CONTROL),
        *[USER_DEFINED] * (len(MARKERS) + len(FORMAT)),
        *[BYTE] * len(BYTES),
        *[NORMAL] * (len(LETTERS) + len(NEWLINES) + len(chosen)),
    )
    newlines = [(run[:-1], "\n") for run in NEWLINES]
    merges = [(chain[:-1], chain[-1]) for chain in chosen]
    return Vocabulary((*fixed, *chosen), types, (*newlines, *merges))
