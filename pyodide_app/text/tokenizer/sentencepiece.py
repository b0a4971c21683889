"""Vocabularies of characters: SentencePiece's by scores, and Gemma 4's by merges.

A space is written U+2581, and a character that is no token as its bytes: `<0xE2>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from itertools import islice

from pyodide_app.errors import FileFormatError
from pyodide_app.text.tokenizer.merges import Rank, merge
from pyodide_app.text.tokenizer.vocabulary import SPACE
from pyodide_app.text.tokenizer.words import Words

_MARK = SPACE.decode()
_SIGN = 1 << 31
_BORDER = b"\xff\xff"
_BATCH = 1 << 13  # strings that are looked at together


class Characters:
    """Text to ids by merges of characters; a pair's rank is given."""

    def __init__(
        self,
        ids: dict[bytes, int],
        rank: Rank,
        strings: Iterable[bytes],
        *,
        joint: bytes = b"",
        takes_breaks: bool = False,
        adds_space: bool = False,
    ) -> None:
        """Take the tokens that text can become, and all strings that merges make.

        `takes_breaks`: a run of line breaks that is a token is not merged anew.
        `adds_space`: a text gets a space in front.
        """
        self._ids = ids
        self._merge = partial(merge, rank=rank, joint=joint)
        self._takes_breaks = takes_breaks
        self._adds_space = adds_space
        self._unk_id = ids.get(b"<unk>")
        self._byte_ids = [ids.get(b"<0x%02X>" % byte) for byte in range(256)]
        if self._unk_id is None and None in self._byte_ids:
            raise FileFormatError(
                "tokenizer.ggml.tokens",
                found="neither all byte tokens <0x00> to <0xFF> nor <unk>",
                expected="a token for every byte",
            )
        self._bytes = {
            token_id: byte
            for byte, token_id in enumerate(self._byte_ids)
            if token_id is not None
        }
        self.hidden = tuple(self._bytes)
        self._cut = word_pattern(strings).findall
        self._words = Words()

    def encode(self, text: str, ids: list[int]) -> None:
        """Append the ids of a text that begins one or follows a special token."""
        written = (" " + text if self._adds_space else text).replace(" ", _MARK)
        for word in self._cut(written):
            known = self._words.get(word)
            ids.extend(known or self._words.learn(word, self._encode_word(word)))

    def _encode_word(self, word: str) -> list[int]:
        symbols = [*map(str.encode, word)]
        if self._takes_breaks and word[0] == "\n" and word.encode() in self._ids:
            symbols = [word.encode()]
        ids: list[int] = []
        for symbol in self._merge(symbols):
            token_id = self._ids.get(symbol)
            ids.extend(self._fallback(symbol) if token_id is None else (token_id,))
        return ids

    def _fallback(self, symbol: bytes) -> Iterable[int]:
        """Yield one byte token per byte of a symbol that is not in the vocabulary."""
        for byte in symbol:
            token_id = self._byte_ids[byte]
            if token_id is None:
                token_id = self._unk_id
            assert token_id is not None  # __init__ has checked
            yield token_id

    def text_bytes(self, token_id: int, token: bytes) -> bytes:
        """Return the bytes that a token stands for."""
        byte = self._bytes.get(token_id)
        return token.replace(SPACE, b" ") if byte is None else bytes((byte,))


def score_rank(ids: dict[bytes, int], scores: memoryview) -> Rank:
    """Return the rank of a merge by the score of what it makes: the highest is first.

    Floats in the order of their bits need no sorting: those of two negative numbers
    order as their sizes do.
    """
    bits = scores.cast("B").cast("I")

    def rank(string: bytes) -> int | None:
        token_id = ids.get(string)
        if token_id is None:
            return None
        score = bits[token_id]
        return score - _SIGN if score & _SIGN else -score

    return rank


def word_pattern(strings: Iterable[bytes]) -> re.Pattern[str]:
    """Return the pattern of the words of a text that no merge can join.

    A word begins at spaces, unless they follow a character which some string has in
    front of a space; and at line breaks and behind them, unless a string has both line
    breaks and something else.
    """
    befores: set[str] = set()
    splits_lines = True
    rest = iter(strings)
    while batch := [*islice(rest, _BATCH)]:
        # The halves of a merge have a space between them; 0xFF is in no text.
        joined = _BORDER + _BORDER.join(batch).replace(b" ", b"") + _BORDER
        for run in (SPACE, b"\n"):
            while run + run in joined:
                joined = joined.replace(run + run, run)
        befores |= _before_spaces(joined)
        splits_lines &= joined.count(b"\n") == joined.count(b"\xff\n\xff")
    breaks = "\n" if splits_lines else ""
    before = re.escape("".join(sorted(befores)))
    word = f"[^{_MARK}{breaks}]"
    more = f"(?:(?<=[{before}]){_MARK}+{word}*)*" if before else ""
    return re.compile(f"{_MARK}*{word}+{more}|{_MARK}+" + ("|\n+" if breaks else ""))


def _before_spaces(joined: bytes) -> set[str]:
    """Return the characters that stand in front of a space within a string."""
    inner = joined.replace(b"\xff" + SPACE, b"\xff")
    found: set[str] = set()
    at = inner.find(SPACE)
    while at >= 0:
        found.update(inner[max(0, at - 4) : at].decode("utf-8", "ignore")[-1:])
        at = inner.find(SPACE, at + 1)
    return found
