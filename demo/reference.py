"""The embedded model in Hugging Face's Gemma 4, read back from its GGUF."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Gemma4ForCausalLM

from demo import model
from demo.chat_tokens import Encoder
from demo.export import tensors
from demo.vocabulary import Vocabulary
from oracle.gguf_file import GGUFFile


def read(path: Path) -> tuple[Gemma4ForCausalLM, Encoder]:
    """Return the model with the file's weights, dequantised, and its tokenizer."""
    file = GGUFFile(path)
    prefix = "tokenizer.ggml."
    tokens, types, merges = (
        file.metadata[prefix + name] for name in ("tokens", "token_type", "merges")
    )
    pairs = tuple((left, right) for left, right in (m.split(" ") for m in merges))
    encoder = Encoder(Vocabulary(tuple(tokens), tuple(types), pairs))
    gemma = model.build(model.config(len(tokens), encoder.ids)).eval()
    state = gemma.state_dict()
    with torch.no_grad():
        for ours, theirs, _ in tensors(gemma):
            if theirs is not None:
                state[theirs].copy_(torch.from_numpy(file.tensor(ours)))
    return gemma, encoder
