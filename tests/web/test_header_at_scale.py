"""A header of the real size in Pyodide: it is parsed within the promised memory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.app.gguf_bytes import build_gguf
from tests.golden_data import find
from tools import environment

HERE = Path(__file__).parent
N_TOKENS, N_MERGES = 262_144, 514_906  # of the released models
MOST_HEAP = 130 << 20  # bytes of wasm memory, which never shrinks
REAL = find("tokenizer/vocab-262144.gguf")


def synthetic(path: Path) -> Path:
    """Write a vocabulary of the real size: every token is a merge of two others."""
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += ["<bos>", "<eos>", "<pad>", "<unk>", "▁"]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,.! "
    tokens += [letter for letter in letters if letter != " "]
    merges, level = [], [token for token in tokens if len(token) == 1]
    while len(tokens) < N_TOKENS:
        pairs = [(a, b) for a in level[:600] for b in level[:600]]
        level = []
        for a, b in pairs[: N_TOKENS - len(tokens)]:
            merges.append(f"{a} {b}")
            level.append(a + b)
        tokens += level
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"<unused{i}>" for i in range(N_TOKENS - len(tokens))]
    merges += [f"{a} {b}x" for a, b in zip(tokens[300:], tokens[5000:], strict=False)]
    metadata = {
        "general.architecture": "gemma4",
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges[:N_MERGES],
        "tokenizer.ggml.scores": [0.0] * N_TOKENS,
        "tokenizer.ggml.token_type": [1] * N_TOKENS,
    }
    path.write_bytes(build_gguf(metadata, []))
    return path


@pytest.mark.parametrize("real", [False, True] if REAL else [False])
def test_a_real_sized_header_fits_in_the_heap(real: bool, tmp_path: Path) -> None:
    environment.ensure_node_modules(dev=True)
    file = REAL if real and REAL else synthetic(tmp_path / "vocabulary.gguf")
    reply = subprocess.run(
        [environment.node(), HERE / "node_header.mjs", environment.ROOT, file],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(reply.stdout)
    print(result)
    assert result["n_vocab"] == N_TOKENS
    assert result["heap"] < MOST_HEAP
    assert 0 < result["n_ids"] < 2400
