"""A header of the real size in the browser, within the promised memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import golden_data
from tests.app.gguf_bytes import build_gguf
from tests.web.conftest import replace_worker, use_model
from tests.web.test_end_to_end import KEEP_MESSAGES

WORKER = Path(__file__).with_name("header_worker.js")
REAL = golden_data.find("tokenizer/vocab-262144.gguf")
N_TOKENS, N_MERGES = 262_144, 514_906  # of the released models
MAX_HEAP = 130e6  # bytes; WebAssembly's memory never shrinks, so this is the peak


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
def test_a_real_sized_vocabulary_fits_in_the_heap(
    page: Page, site: str, tmp_path: Path, real: bool
) -> None:
    file = REAL if real and REAL else synthetic(tmp_path / "vocabulary.gguf")
    replace_worker(page, WORKER.read_text(encoding="utf-8"))
    use_model(page, None)
    page.add_init_script(KEEP_MESSAGES)
    page.goto(site)
    page.set_input_files("#file", file)
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
    info = page.evaluate("messages.find(({ kind }) => kind === 'done').info")
    print(info)  # the seconds too: about one on an idle machine
    assert info["n_vocab"] == N_TOKENS
    assert info["n_ids"] > 5
    assert info["heap"] < MAX_HEAP
