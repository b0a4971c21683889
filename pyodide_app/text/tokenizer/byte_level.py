"""Byte-level byte-pair encoding: every byte is a character, and no text is unknown.

Tokens and merges write the 256 bytes as printable characters: those that are printable
in Latin-1 as themselves, the other 68 as U+0100 and on, so that a space is `Ġ`.
"""

from __future__ import annotations

from functools import partial

from pyodide_app.text.tokenizer.merges import merge
from pyodide_app.text.tokenizer.pretokenize import pretokenizer
from pyodide_app.text.tokenizer.words import Words

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in set(_PRINTABLE)]
_CODES = {
    **{byte: byte for byte in _PRINTABLE},
    **{byte: 0x100 + i for i, byte in enumerate(_OTHERS)},
}
_SYMBOLS = [chr(_CODES[byte]).encode() for byte in range(256)]
_BYTES = {code: byte for byte, code in _CODES.items()}

WHOLE_WORDS = ("llama-bpe", "tekken")  # a word that is a token is not merged anew


class ByteLevel:
    """Words to ids by merges of bytes."""

    hidden = ()  # there are no byte tokens: bytes are characters

    def __init__(
        self, ids: dict[bytes, int], ranks: dict[bytes, int], pre: str
    ) -> None:
        """Take the tokens that text can become, the merges and the pre-tokenizer."""
        self._ids = ids
        self._merge = partial(merge, rank=ranks.get)
        self._takes_whole = pre in WHOLE_WORDS
        self._words = Words()
        self._cut = pretokenizer(pre)

    def encode(self, text: str, ids: list[int]) -> None:
        """Append the ids of a text; a byte that no token stands for is left out."""
        for word in self._cut(text):
            known = self._words.get(word)
            ids.extend(known or self._words.learn(word, self._encode_word(word)))

    def _encode_word(self, word: str) -> list[int]:
        symbols = [_SYMBOLS[byte] for byte in word.encode()]
        if self._takes_whole:
            whole = self._ids.get(b"".join(symbols))
            if whole is not None:
                return [whole]
        ids: list[int] = []
        for symbol in self._merge(symbols):
            token_id = self._ids.get(symbol)
            if token_id is None:
                single = (self._ids.get(c.encode()) for c in symbol.decode())
                ids.extend(i for i in single if i is not None)
            else:
                ids.append(token_id)
        return ids

    def text_bytes(self, token_id: int, token: bytes) -> bytes:
        """Return the bytes that a token's string stands for."""
        codes = map(ord, token.decode("utf-8", "replace"))
        return b"".join(
            bytes((_BYTES[c],)) if c in _BYTES else chr(c).encode() for c in codes
        )
