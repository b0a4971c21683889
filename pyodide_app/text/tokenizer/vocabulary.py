"""What a GGUF says of its tokens: strings, types, and which of them have a task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain

from pyodide_app.errors import FileFormatError, ShapeError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Metadata

# Types of `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SPACE = "\u2581".encode()  # how tokens of characters write U+0020

TOKENS = "tokenizer.ggml.tokens"
STOP_KEYS = ("eos_token_id", "eos_token_ids", "eot_token_id", "eom_token_id")

_TAG = re.compile(rb"(?!<0x..>)<.*>|\[.*\]", re.DOTALL)
_MOST_PADDING = 1 << 16  # rows without a token; released models have some hundreds


@dataclass(slots=True, eq=False)
class Vocabulary:
    """The tokens of a model, one for each row of its embeddings."""

    tokens: list[bytes]
    types: list[int]  # empty where the file has none
    ids: dict[bytes, int]  # what text can become; of equal strings the first counts
    bos_id: int | None  # as the header names it
    stop_ids: frozenset[int]  # as the header names them
    suppress_ids: tuple[int, ...]  # never to be sampled

    @classmethod
    def read(cls, metadata: Metadata, n_rows: int | None = None) -> Vocabulary:
        """Read a header's vocabulary, for a model with `n_rows` embeddings.

        Tokens beyond the rows are left out: the model has no numbers for them. Rows
        beyond the tokens are padding, which must not be sampled.

        Raises: FileFormatError if the header contradicts itself, ShapeError if text
        would need tokens that have no row.
        """
        strings = metadata.get_strings(TOKENS)
        n_tokens = len(strings)
        types = _token_types(metadata, n_tokens)
        n = n_tokens if n_rows is None else n_rows
        check_rows(metadata, n)
        tokens = strings.raw_list()[:n]
        # Backwards, so that the first of two equal tokens wins.
        ids = dict(zip(reversed(tokens), reversed(range(len(tokens))), strict=True))
        tokens += [b""] * (n - n_tokens)
        bos_ids = token_ids(metadata, "bos_token_id", n)
        suppressed = token_ids(metadata, "suppress_tokens", n)
        return cls(
            tokens,
            types[:n],
            ids,
            bos_ids[0] if bos_ids else None,
            frozenset(chain(*(token_ids(metadata, key, n) for key in STOP_KEYS))),
            (*suppressed, *range(n_tokens, n)),
        )

    def find(self, strings: Iterable[str]) -> set[int]:
        """Return the ids of those strings that are tokens."""
        keys = (string.encode() for string in strings)
        return {self.ids[key] for key in keys if key in self.ids}

    def typed(self, *types: int) -> set[int]:
        """Return the ids of the tokens of some types."""
        return {i for i, token_type in enumerate(self.types) if token_type in types}


def check_rows(metadata: Metadata, n_rows: int) -> None:
    """Refuse a vocabulary that cannot be that of a model with so many embeddings.

    Ollama's Gemma 3 has a token for images more than it has rows; files of Qwen's have
    rows that no token uses. A file without a vocabulary is fine.

    Raises: ShapeError, and FileFormatError if the header contradicts itself.
    """
    if TOKENS not in metadata:
        return
    strings = metadata.get_strings(TOKENS)
    n_tokens = len(strings)
    types = _token_types(metadata, n_tokens) if n_tokens > n_rows else []
    needed = (
        i
        for i in range(n_rows, n_tokens)
        if (not types or types[i] in (NORMAL, BYTE))
        and not _TAG.fullmatch(strings.raw(i))
    )
    if next(needed, None) is None and n_rows - n_tokens <= _MOST_PADDING:
        return
    raise ShapeError(
        "tensor token_embd.weight",
        found=f"{n_rows} rows",
        expected=f"{n_tokens}, the number of tokens in the metadata",
        remedy="The file is damaged or was written by a faulty converter",
    )


def restore_gemma3(vocabulary: Vocabulary, scores: memoryview) -> None:
    """Undo what Ollama's converter does to the tokens that were added to Gemma 3.

    Runs of white space and tags of HTML are user-defined, and their spaces are spaces.
    It types them as normal and writes U+2581, and then merging does not find them as
    the published tokenizer does. They have the score of added tokens, at ids where no
    other token has it.
    """
    types, tokens, ids = vocabulary.types, vocabulary.tokens, vocabulary.ids
    for i in (*range(494), *range(255968, len(types))):
        if i < len(types) and types[i] == NORMAL and scores[i] == -1000.0:
            types[i] = USER_DEFINED
            if ids.get(tokens[i]) == i:
                del ids[tokens[i]]
            tokens[i] = tokens[i].replace(SPACE, b" ")
            ids.setdefault(tokens[i], i)


def read_merges(metadata: Metadata) -> dict[bytes, int]:
    """Return the rank of every merge, by its line: `left right`.

    Lines stay as they are: half a million pairs as keys would cost 68 MB more.

    Raises: UnsupportedFormatError if there are none.
    """
    if "tokenizer.ggml.merges" not in metadata:
        raise UnsupportedFormatError(
            "tokenizer.ggml.merges",
            found="a vocabulary without merges",
            expected="byte-pair merges, as this kind of vocabulary needs",
            remedy="Choose another file of this model, or convert it again",
        )
    return metadata.get_strings("tokenizer.ggml.merges").raw_index()


def token_ids(metadata: Metadata, name: str, n_vocab: int) -> list[int]:
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


def _token_types(metadata: Metadata, n_vocab: int) -> list[int]:
    """Return the type of every token; without the key, or a sound one, none."""

    def read(key: str) -> list[int]:
        types = metadata.get_ints(key, most=n_vocab)
        if types and len(types) != n_vocab:
            raise FileFormatError(
                key, found=f"{len(types)} entries", expected=f"{n_vocab}, one per token"
            )
        return types

    return metadata.advised("tokenizer.ggml.token_type", read, [])
