"""Conversations as token ids: rendered as Gemma 4's template does, replies marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from demo.corpus import Conversation, generate
from demo.vocabulary import CONTROL_TYPE, SPACE, USER_DEFINED, Vocabulary, learn
from pyodide_app.text.chat.gemma4 import render

VOCABULARY_SIZE = 2304
VOCABULARY_SAMPLES = 40_000
VOCABULARY_SEED = 1


def learn_vocabulary() -> Vocabulary:
    """Return the demonstration model's vocabulary, the same on every run."""
    corpus = generate(VOCABULARY_SEED, VOCABULARY_SAMPLES, "train")
    texts = (
        text
        for item in corpus
        for message in item.messages
        for text in (message["content"], message.get("reasoning", ""))
    )
    return learn(texts, VOCABULARY_SIZE)


def tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Return Hugging Face's byte-pair encoder over a vocabulary."""
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    encoder = Tokenizer(
        models.BPE(
            ids,
            [*vocabulary.merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    encoder.normalizer = normalizers.Replace(" ", SPACE)
    encoder.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    typed = [*zip(vocabulary.tokens, vocabulary.types, strict=True)]
    special = [AddedToken(t, special=True) for t, kind in typed if kind == CONTROL_TYPE]
    plain = [
        AddedToken(t, normalized=False) for t, kind in typed if kind == USER_DEFINED
    ]
    encoder.add_special_tokens(special)
    encoder.add_tokens(plain)
    return encoder


class Encoder:
    """Turns conversations into ids, and tells the model's own tokens."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer(vocabulary)
        ids = {token: i for i, token in enumerate(vocabulary.tokens)}
        self.ids = ids
        self._opening = (ids["<|turn>"], ids["model"], ids["\n"])
        self._stops = (ids["<turn|>"], ids["<|tool_response>"])
        self._resume = ids["<tool_response|>"]

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read a vocabulary that `save` has written."""
        fields = json.loads(path.read_text("utf-8"))
        merges = tuple((left, right) for left, right in fields["merges"])
        tokens, types = tuple(fields["tokens"]), tuple(fields["types"])
        return cls(Vocabulary(tokens, types, merges))

    def save(self, path: Path) -> None:
        """Write the vocabulary."""
        v = self.vocabulary
        fields = {"tokens": v.tokens, "types": v.types, "merges": v.merges}
        path.write_text(json.dumps(fields), "utf-8")

    def encode(self, text: str) -> list[int]:
        """Return the ids of rendered text."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, item: Conversation, n_replies: int = 0) -> list[int]:
        """Return the ids of what precedes a reply, `n_replies` already given."""
        messages = item.prompt + item.replies[:n_replies]
        return self.encode(render(messages, tools=item.tools, think=item.think).text)

    def whole(self, item: Conversation) -> list[int]:
        """Return the ids of a conversation, up to the end of its last turn."""
        rendered = render(
            item.messages,
            tools=item.tools,
            think=item.think,
            add_generation_prompt=False,
        )
        return self.encode(rendered.text.rstrip("\n"))

    def learned(self, item: Conversation, ids: Sequence[int]) -> list[bool]:
        """Mark the tokens to learn: all that the model writes, as it would write it.

        Rendering drops the thoughts of earlier turns. Where thinking is on, those turns
        would teach not to think, so only what follows the last question is learned.
        """
        marks = self.spoken(ids)
        if item.think:
            n = len(self.prompt(item))
            marks[:n] = [False] * n
        return marks

    def spoken(self, ids: Sequence[int]) -> list[bool]:
        """Mark the tokens that the model writes: its turns, with what ends them."""
        marks, speaking = [], False
        for i, token in enumerate(ids):
            marks.append(speaking)
            if token in self._stops:
                speaking = False
            elif (
                token == self._resume
                or tuple(ids[max(i - 2, 0) : i + 1]) == self._opening
            ):
                speaking = True
        return marks
