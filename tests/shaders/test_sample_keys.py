"""The order of the logits: what the sampler compares, and where it may look for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Tensor
from pyodide_app.run import sampling
from pyodide_app.run.sampling import SamplingOptions
from tests.support import gpu

INF, NAN = np.inf, np.nan
# At the edges of a word, of a workgroup and of a chunk, for both sizes of these.
SIZES = [1, 31, 32, 33, 128, 129, 257, 513, 2048, 4099, 16_384, 16_385, 262_144]


def sample_keys(
    logits: np.ndarray,
    *,
    suppressed: Sequence[int] = (),
    counts: np.ndarray | None = None,
    penalties: tuple[float, float, float] = (1.0, 0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Run the kernel."""
    bench = gpu.Bench()
    names = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    options = SamplingOptions(**dict(zip(names, penalties, strict=True)))
    counts = np.zeros(len(logits)) if counts is None else counts

    def record(ops: Ops) -> Sequence[Tensor]:
        state = sampling.pack_state(0, options, options.window(len(logits)))
        bench.device.write(ops.state.fixed.buffer, 0, state)
        packed = np.frombuffer(sampling.pack_ids(suppressed, len(logits)), np.uint32)
        found = bench.tensor(counts.astype(np.uint32))
        return ops.sample_keys(bench.tensor(logits[None]), bench.tensor(packed), found)

    try:
        keys, maxima = bench.run(record, dtypes=[np.uint32, np.uint32])
    finally:
        bench.close()
    return keys, maxima


def chunk_of(n_vocab: int) -> int:
    """Return how many ids share a maximum: few enough for 128, or 1024, maxima."""
    chunk = 1
    while chunk * (128 if n_vocab <= 16_384 else 1024) < n_vocab:
        chunk *= 2
    return chunk


@pytest.mark.parametrize("n_vocab", SIZES)
@pytest.mark.parametrize(
    "penalties", [(1.0, 0.0, 0.0), (1.3, 0.0, 0.0), (1.0, 1.5, -0.25)]
)
def test_matches_oracle(n_vocab: int, penalties: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(n_vocab)
    logits = (rng.standard_normal(n_vocab) * 10).astype(np.float32)
    logits[rng.random(n_vocab) < 0.1] = NAN
    logits[rng.random(n_vocab) < 0.1] = -NAN
    logits[rng.random(n_vocab) < 0.1] = -INF
    logits[rng.random(n_vocab) < 0.1] = INF
    suppressed = np.unique(rng.integers(0, n_vocab, 20))
    counts = np.bincount(rng.integers(0, n_vocab, 40), minlength=n_vocab)
    got = sample_keys(logits, suppressed=suppressed, counts=counts, penalties=penalties)
    expected = oracle.sample_keys(
        logits, suppressed, counts, penalties, chunk_of(n_vocab)
    )
    # A division may be an ulp off, and a key with it; what is subtracted here is exact.
    for a, b in zip(got, expected, strict=True):
        off = np.abs(a.astype(np.int64) - b)
        assert off.max() <= (penalties[0] != 1.0)


def test_keys_sort_as_the_numbers_do() -> None:
    numbers = [-3.4028235e38, -1.0, -1e-30, 0.0, 1e-30, 1.0, 3.4028235e38, INF, NAN]
    keys, maxima = sample_keys(np.array(numbers, np.float32))
    assert list(keys) == sorted(set(keys.tolist()))
    assert maxima.tolist() == keys.tolist()  # a chunk for each


def test_what_counts_alike_has_one_key() -> None:
    keys, _ = sample_keys(np.array([0.0, -0.0, -INF, INF], np.float32))
    assert keys[0] == keys[1] and keys[2] == keys[3]


def test_a_suppressed_token_is_below_all() -> None:
    logits = np.array([9.0, -3.4028235e38], np.float32)
    keys, maxima = sample_keys(
        logits, suppressed=[0], counts=np.array([0, 1]), penalties=(2.0, 9.0, 9.0)
    )
    assert keys[0] == 0 < keys[1] and maxima.max() == keys[1]


def test_suppressing_a_token_does_not_hide_that_it_is_no_number() -> None:
    keys, _ = sample_keys(np.array([INF, NAN, 1.0], np.float32), suppressed=[0, 1])
    assert keys[2] < keys[0] < keys[1]
