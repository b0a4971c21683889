"""Models of full width, cut to a layer of each kind, against the oracle."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from tests.models.native import logits, opened
from tests.samples import real_vocabulary, realshape
from tests.support.compare import relative_l2
from tests.support.full_width import PROMPT, open_wide


def compare(
    path: Path, model: str, layers: Sequence[int], n_vocab: int, *, file_type: str
) -> None:
    """Write a model, run a prompt at once and its first token alone, and compare."""
    begin = perf_counter()
    size = realshape.write(
        path, model, file_type, layers=layers, n_vocab=n_vocab, fill=lambda name: True
    ).size
    written = perf_counter()
    with opened(path, n_ctx=64) as engine:
        loaded = perf_counter()
        got, first = logits(engine, PROMPT), logits(engine, PROMPT[:1])
    ran = perf_counter()
    expected = open_wide(path).forward(PROMPT).logits
    print(
        f"\n{model} {file_type}, layers {layers}, {size / 1e9:.2f} GB: written in "
        f"{written - begin:.1f} s, loaded in {loaded - written:.1f} s, 4 + 1 tokens in "
        f"{ran - loaded:.1f} s, the oracle in {perf_counter() - ran:.1f} s; at most "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB of memory"
    )
    assert np.abs(expected).max() > 3
    assert relative_l2(got, expected) < 5e-5
    assert relative_l2(first, expected[:1]) < 5e-5
    np.testing.assert_array_equal(got.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize(
    ("model", "layers", "n_vocab", "file_type"),
    [
        # Per-layer embeddings, a global layer that shares keys and values.
        ("e2b", (13, 14, 34), 8192, "Q4_K_M"),
        # The experts' down in Q5_0, then in Q8_0; V = K in the global layer; the whole
        # vocabulary, split over bindings.
        ("26b-a4b", (3, 29), real_vocabulary.N_TOKENS, "Q4_K_M"),
        # 128 experts alone: down in Q6_K, then in Q4_K.
        ("qwen3-30b-a3b", (5, 6), 8192, "Q4_K_M"),
    ],
)
def test_full_width_equals_the_oracle(
    model: str, layers: tuple[int, ...], n_vocab: int, file_type: str, tmp_path: Path
) -> None:
    path = tmp_path / "wide.gguf"
    try:
        compare(path, model, layers, n_vocab, file_type=file_type)
    finally:
        path.unlink(missing_ok=True)  # up to 1.7 GB
