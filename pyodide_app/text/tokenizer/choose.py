"""Which way of turning text into ids a file's vocabulary needs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pyodide_app.errors import FileFormatError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.gguf.strings import quote
from pyodide_app.text.tokenizer import pretokenize
from pyodide_app.text.tokenizer.byte_level import ByteLevel
from pyodide_app.text.tokenizer.roles import (
    Roles,
    gemma4_roles,
    typed_roles,
)
from pyodide_app.text.tokenizer.sentencepiece import Characters, score_rank
from pyodide_app.text.tokenizer.vocabulary import (
    Vocabulary,
    read_merges,
    restore_gemma3,
)

_ADDS_BOS = ("llama-bpe", "tekken")  # pre-tokenizers of models that begin so
_LLAMA3_EOT = 128009


class Coder(Protocol):
    """A way of turning text that holds no special tokens into ids."""

    @property
    def hidden(self) -> Sequence[int]:
        """Return the tokens that no merge of text may make."""

    def encode(self, text: str, ids: list[int]) -> None:
        """Append the ids of a text that begins one or follows a special token."""

    def text_bytes(self, token_id: int, token: bytes) -> bytes:
        """Return the bytes that a token's string stands for."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What is particular to a kind of vocabulary."""

    coder: Coder
    roles: Roles
    bos_id: int | None  # what every prompt begins with
    adds_space: bool = False  # in front of a text


def choose(metadata: Metadata, vocabulary: Vocabulary) -> Kind:
    """Return the kind of a header's vocabulary.

    Raises: UnsupportedFormatError for a kind that is not known.
    """
    architecture = metadata.get_str("general.architecture", "")
    if architecture == "gemma4":  # Ollama's converter calls it "llama"
        return _gemma4(metadata, vocabulary)
    model = metadata.get_str("tokenizer.ggml.model")
    makers = {"gemma4": _gemma4, "llama": _sentencepiece, "gpt2": _byte_level}
    if model not in makers:
        raise UnsupportedFormatError(
            "this model's vocabulary is of a kind that is not supported",
            found=f"tokenizer.ggml.model {quote(model)}",
            expected=f"one of {', '.join(sorted(makers))}",
            remedy="Choose another model",
        )
    return makers[model](metadata, vocabulary)


def _gemma4(metadata: Metadata, vocabulary: Vocabulary) -> Kind:
    ranks = read_merges(metadata)
    bos_id = vocabulary.ids.get(b"<bos>", vocabulary.bos_id)
    if bos_id is None:
        raise FileFormatError(
            "tokenizer.ggml.tokens", found="no <bos>", expected="a begin-of-text token"
        )
    roles = gemma4_roles(vocabulary, bos_id)
    coder = Characters(vocabulary.ids, ranks.get, ranks, joint=b" ", takes_breaks=True)
    return Kind(coder, roles, bos_id)


def _sentencepiece(metadata: Metadata, vocabulary: Vocabulary) -> Kind:
    scores = _scores(metadata, len(metadata.get_strings("tokenizer.ggml.tokens")))
    if metadata.get_str("general.architecture", "") == "gemma3":
        restore_gemma3(vocabulary, scores)
    ids, bos_id = vocabulary.ids, vocabulary.bos_id
    if bos_id is None:
        bos_id = ids.get(b"<bos>", ids.get(b"<s>"))
    if not _flag(metadata, "add_bos_token", True):
        bos_id = None
    roles = typed_roles(vocabulary, bos_id)
    adds_space = _flag(metadata, "add_space_prefix", True)
    coder = Characters(ids, score_rank(ids, scores), ids, adds_space=adds_space)
    return Kind(coder, roles, bos_id, adds_space)


def _byte_level(metadata: Metadata, vocabulary: Vocabulary) -> Kind:
    pre = _pre(metadata, vocabulary)
    coder = ByteLevel(vocabulary.ids, read_merges(metadata), pre)
    adds_bos = _flag(metadata, "add_bos_token", pre in _ADDS_BOS)
    bos_id = vocabulary.bos_id if adds_bos else None
    return Kind(coder, typed_roles(vocabulary, bos_id), bos_id)


def _pre(metadata: Metadata, vocabulary: Vocabulary) -> str:
    """Return the pre-tokenizer; old files of Llama 3 do not name theirs."""
    named = metadata.get_str("tokenizer.ggml.pre", "")
    pre = pretokenize.canonical(named or "default")
    is_llama3 = vocabulary.ids.get(b"<|eot_id|>") == _LLAMA3_EOT
    return "llama-bpe" if pre == "default" and is_llama3 else pre


def _flag(metadata: Metadata, name: str, default: bool) -> bool:
    def read(key: str) -> bool:
        return metadata.get_bools(key, most=1) == [True]

    return metadata.advised(f"tokenizer.ggml.{name}", read, default)


def _scores(metadata: Metadata, n_tokens: int) -> memoryview:
    """Return the score of every token, as float32."""
    key = "tokenizer.ggml.scores"
    if key not in metadata:
        raise UnsupportedFormatError(
            key,
            found="a vocabulary without scores",
            expected="a score for every token, as this kind of vocabulary needs",
            remedy="Choose another file of this model, or convert it again",
        )
    scores = metadata[key]
    if not isinstance(scores, memoryview) or len(scores) != n_tokens:
        raise FileFormatError(
            f"{metadata.name}, metadata key {key}",
            found=f"{len(scores)} entries" if hasattr(scores, "__len__") else "a value",
            expected=f"{n_tokens} numbers, one per token",
        )
    if scores.format == "f":
        return scores
    return memoryview(array("f", map(float, scores)))
