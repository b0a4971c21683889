"""Gemma byte-pair encoding: text to token ids, and ids to text as they stream in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import pairwise

from pyodide_app.errors import FileFormatError, RequestError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.text.chat import Prompt
from pyodide_app.text.special_tokens import SpecialTokens

SPACE = "\u2581".encode()  # how a token writes U+0020

# Types of `tokenizer.ggml.token_type`.
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4

# Converters disagree about the types, so these are decided by their strings.
CONTROL_TOKENS = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>"),
    *("<|think|>", "<|tool>", "<tool|>", "<|tool_response>"),
    *("<|image>", "<|image|>", "<image|>"),
    *("<|audio>", "<|audio|>", "<audio|>", "<|video|>"),
)
MARKER_TOKENS = (  # user-defined: the output parser reads them
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"),
    *("<tool_response|>", '<|"|>'),
)
# The model ends its call with this one and waits, so it stops and still is parsed.
PARSED_TOKENS = (*MARKER_TOKENS, "<|tool_response>")
STOP_TOKENS = ("<pad>", "<eos>", "<turn|>", "<|tool_response>")
STOP_KEYS = ("eos_token_id", "eos_token_ids", "eot_token_id", "eom_token_id")

LINE = re.compile(r"[^\n]+|\n+")
MARKUP = re.compile(rb"<\|.*>|<.*\|>", re.DOTALL)


class Special(Enum):
    """Which special tokens their strings in a text stand for."""

    ALL = "markup that we wrote: control and user-defined tokens"
    USER_DEFINED = "user-defined tokens, as llama.cpp without special parsing"
    NONE = "text from outside: no control token, no marker"


class StreamDecoder:
    """Turn token ids into text, one by one, holding back incomplete characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that this token completes.

        Control tokens have none; the markers of thoughts and tool calls appear
        literally, for the output parser.
        """
        tokenizer = self._tokenizer
        if token_id in tokenizer.special_ids and token_id not in tokenizer.parsed_ids:
            return ""
        return self._utf8.decode(tokenizer.piece_bytes(token_id))

    def finish(self) -> str:
        """Return what is left: U+FFFD for a character that was never completed."""
        text = self._utf8.decode(b"", True)
        self._utf8.reset()
        return text


class Tokenizer:
    """The vocabulary and merges of a GGUF.

    Attributes: `n_vocab`; `bos_id`; `stop_ids` end the generation; `suppress_ids` must
    not be sampled; `special_ids` are no text; `parsed_ids`, a subset of them, mean
    something to the output parser.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        token_types: Sequence[int],
        ranks: dict[bytes, int],
        *,
        bos_id: int | None = None,
        stop_ids: Iterable[int] = (),
        suppress_ids: Iterable[int] = (),
    ) -> None:
        self.n_vocab = len(tokens)
        self._tokens = tokens
        self._ranks = ranks  # b"left right" -> priority; tuple keys cost 68 MB more
        # Backwards, so that the first of two equal tokens wins.
        ids = dict(zip(reversed(tokens), reversed(range(len(tokens))), strict=True))
        self._ids = ids
        self.bos_id = _bos_id(ids, bos_id)
        self.stop_ids = frozenset(_find(ids, STOP_TOKENS)) | frozenset(stop_ids)
        self.suppress_ids = tuple(suppress_ids)
        self.parsed_ids = frozenset(_find(ids, PARSED_TOKENS))
        self._classify(token_types)
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
        self._hide_from_merging()
        self._splits_lines = not any(
            b"\n" in pair and pair.strip(b"\n ") for pair in ranks
        )

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Tokenizer:
        """Build the tokenizer of a GGUF's header.

        Raises: FileFormatError if the header contradicts itself,
        UnsupportedFormatError if it has no merges.
        """
        tokens = metadata.get_strings("tokenizer.ggml.tokens").raw_list()
        if "tokenizer.ggml.merges" not in metadata:
            raise UnsupportedFormatError(
                "tokenizer.ggml.merges",
                found="a vocabulary without merges",
                expected="byte-pair merges, as Gemma 4 files have",
            )
        bos_ids = _metadata_ids(metadata, "bos_token_id", len(tokens))
        return cls(
            tokens,
            _token_types(metadata, len(tokens)),
            metadata.get_strings("tokenizer.ggml.merges").raw_index(),
            bos_id=bos_ids[0] if bos_ids else None,
            stop_ids=_metadata_stop_ids(metadata, len(tokens)),
            suppress_ids=_metadata_ids(metadata, "suppress_tokens", len(tokens)),
        )

    def _classify(self, token_types: Sequence[int]) -> None:
        """Decide which strings become special tokens at each level."""
        control = _find(self._ids, CONTROL_TOKENS) | self.stop_ids | {self.bos_id}
        markers = _find(self._ids, MARKER_TOKENS)
        plain: set[int] = set()  # user-defined, yet nothing but text, such as <table>
        for token_id, token_type in enumerate(token_types):
            if token_type == USER_DEFINED and token_id not in control:
                is_markup = MARKUP.fullmatch(self._tokens[token_id]) is not None
                (markers if is_markup else plain).add(token_id)
            elif token_type in (CONTROL, UNKNOWN) and token_id not in markers:
                control.add(token_id)
        self.special_ids = frozenset(control | markers)
        self._special = self._strings(control | markers | plain)
        self._patterns = {
            Special.ALL: SpecialTokens(self._special),
            Special.USER_DEFINED: SpecialTokens(self._strings(markers | plain)),
            Special.NONE: SpecialTokens(self._strings(plain)),
        }

    def _strings(self, ids: set[int]) -> dict[str, int]:
        """Return the strings of tokens, as far as they can occur in a text."""
        strings: dict[str, int] = {}
        for token_id in sorted(ids):
            string = self._tokens[token_id].decode("utf-8", "ignore")
            if string and string.encode() == self._tokens[token_id]:
                strings.setdefault(string, token_id)
        return strings

    def _hide_from_merging(self) -> None:
        """Keep merges, however odd, from spelling a special token or a byte token."""
        for token_id in (*self.special_ids, *self._bytes):
            self._ids.pop(self._tokens[token_id], None)

    def encode(
        self, text: str, *, special: bool = True, bos: bool = False
    ) -> list[int]:
        """Return the token ids of `text`.

        `special=False` leaves control tokens as text and still reads user-defined ones
        (thought and tool-call markers), exactly as llama.cpp does. For text that is not
        trusted use `encode_prompt`, where neither can be forged.
        """
        ids = [self.bos_id] if bos else []
        level = Special.ALL if special else Special.USER_DEFINED
        for piece in self._split_special(_well_formed(text), level):
            self._encode_piece(piece, ids)
        return ids

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a rendered prompt, with exactly one BOS in front.

        Plain text on both sides of a segment border is joined before it is encoded:
        merges go across, as they did in training. Untrusted text never becomes a
        control token or a marker.
        """
        ids: list[int] = []
        plain: list[str] = []
        for segment in prompt.segments:
            if not segment.trusted:
                plain.append(segment.text)
                continue
            for piece in self._split_special(segment.text, Special.ALL):
                if isinstance(piece, str):
                    plain.append(piece)
                    continue
                self._encode_untrusted(plain, ids)
                ids.append(piece)
        self._encode_untrusted(plain, ids)
        return ids if ids[:1] == [self.bos_id] else [self.bos_id, *ids]

    def _encode_untrusted(self, plain: list[str], ids: list[int]) -> None:
        """Append the ids of the collected text and empty the collection."""
        text = _well_formed("".join(plain))
        plain.clear()
        for piece in self._split_special(text, Special.NONE):
            self._encode_piece(piece, ids)

    def _split_special(self, text: str, level: Special) -> Iterable[str | int]:
        """Yield plain text and the ids of special tokens, in order."""
        for i, piece in enumerate(self._patterns[level].split(text)):
            if i % 2:
                yield self._special[piece]
            elif piece:
                yield piece

    def _encode_piece(self, piece: str | int, ids: list[int]) -> None:
        """Append the ids of plain text, or the id that a special string stands for."""
        if isinstance(piece, int):
            ids.append(piece)
        elif self._splits_lines:
            for line in LINE.findall(piece):
                self._encode_line(line, ids)
        else:
            self._encode_line(piece, ids)

    def _encode_line(self, line: str, ids: list[int]) -> None:
        """Append the ids of text without line breaks, or of line breaks alone."""
        symbols = [*map(str.encode, line.replace(" ", "\u2581"))]
        if line[0] == "\n" and line.encode() in self._ids:
            symbols = [line.encode()]
        for symbol in merge(symbols, self._ranks):
            token_id = self._ids.get(symbol)
            ids.extend(self._fallback(symbol) if token_id is None else (token_id,))

    def _fallback(self, symbol: bytes) -> Iterable[int]:
        """Yield one byte token per byte of a symbol that is not in the vocabulary."""
        for byte in symbol:
            token_id = self._byte_ids[byte]
            if token_id is None:
                token_id = self._unk_id
            assert token_id is not None  # __init__ has checked
            yield token_id

    def decoder(self) -> StreamDecoder:
        """Return a decoder for one reply."""
        return StreamDecoder(self)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, the strings of special tokens included."""
        return b"".join(map(self.piece_bytes, ids)).decode("utf-8", "replace")

    def piece(self, token_id: int) -> str:
        """Return a token's own text, U+FFFD for bytes that are no whole character."""
        return self.piece_bytes(token_id).decode("utf-8", "replace")

    def piece_bytes(self, token_id: int) -> bytes:
        """Return the UTF-8 bytes that a token adds; special tokens add their string."""
        if not 0 <= token_id < self.n_vocab:
            raise RequestError(
                "token id",
                found=str(token_id),
                expected=f"0 to {self.n_vocab - 1}",
            )
        byte = self._bytes.get(token_id)
        if byte is not None:
            return bytes((byte,))
        token = self._tokens[token_id]
        return token if token_id in self.special_ids else token.replace(SPACE, b" ")


def merge(symbols: list[bytes], ranks: dict[bytes, int]) -> list[bytes]:
    """Merge neighbours, lowest rank first and leftmost first, until none are left.

    n log n: a heap of rank and position over a linked list. An entry is stale when the
    pair that is now at its position has another rank.
    """
    n = len(symbols)
    shift = n.bit_length()
    heap = _mergeable(symbols, ranks, shift)
    following = list(range(1, n + 1))
    preceding = list(range(-1, n))  # one more, so that the last has a neighbour
    while heap:
        entry = heappop(heap)
        left = entry & ((1 << shift) - 1)
        right = following[left]
        if right >= n or not symbols[left]:
            continue
        if ranks.get(symbols[left] + b" " + symbols[right]) != entry >> shift:
            continue
        symbols[left] += symbols[right]
        symbols[right] = b""
        after = following[left] = following[right]
        preceding[after] = left
        before = preceding[left]
        if before >= 0:
            rank = ranks.get(symbols[before] + b" " + symbols[left])
            if rank is not None:
                heappush(heap, rank << shift | before)
        if after < n:
            rank = ranks.get(symbols[left] + b" " + symbols[after])
            if rank is not None:
                heappush(heap, rank << shift | left)
    return [symbol for symbol in symbols if symbol]


def _mergeable(symbols: list[bytes], ranks: dict[bytes, int], shift: int) -> list[int]:
    """Return a heap of `rank << shift | position` of the pairs that can merge."""
    found = [ranks.get(a + b" " + b) for a, b in pairwise(symbols)]
    heap = [rank << shift | i for i, rank in enumerate(found) if rank is not None]
    heapify(heap)
    return heap


def _find(ids: dict[bytes, int], strings: Iterable[str]) -> set[int]:
    """Return the ids of those strings that the vocabulary has."""
    keys = (string.encode() for string in strings)
    return {ids[key] for key in keys if key in ids}


def _bos_id(ids: dict[bytes, int], fallback: int | None) -> int:
    """Return the id of `<bos>`, looked up by its string first."""
    token_id = ids.get(b"<bos>", fallback)
    if token_id is None:
        raise FileFormatError(
            "tokenizer.ggml.tokens", found="no <bos>", expected="a begin-of-text token"
        )
    return token_id


def _well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        units = text.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace")
    return text


def _token_types(metadata: Metadata, n_vocab: int) -> list[int]:
    """Return the type of every token; without the key, or a sound one, all are normal.

    The tokens that matter are known by their strings.
    """

    def read(key: str) -> list[int]:
        types = metadata.get_ints(key, most=n_vocab)
        if types and len(types) != n_vocab:
            raise FileFormatError(
                key, found=f"{len(types)} entries", expected=f"{n_vocab}, one per token"
            )
        return types

    return metadata.advised("tokenizer.ggml.token_type", read, [])


def _metadata_ids(metadata: Metadata, name: str, n_vocab: int) -> list[int]:
    """Return the token ids of an optional key, a number or an array.

    Ids that are no tokens are left out: many files write -1 or 2^32 - 1 for "none".
    """
    key = f"tokenizer.ggml.{name}"
    ids = metadata.advised(key, partial(metadata.get_ints, most=n_vocab), [])
    tokens = [token_id for token_id in ids if 0 <= token_id < n_vocab]
    if len(tokens) < len(ids):
        wrong = next(token_id for token_id in ids if not 0 <= token_id < n_vocab)
        metadata.note(key, f"names {wrong}, which is none of the {n_vocab} tokens")
    return tokens


def _metadata_stop_ids(metadata: Metadata, n_vocab: int) -> set[int]:
    """Return every id that the header names as an end of generation."""
    lists = [_metadata_ids(metadata, name, n_vocab) for name in STOP_KEYS]
    return {token_id for ids in lists for token_id in ids}
