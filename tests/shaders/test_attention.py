"""attention against the oracle: windows, rings, grouped heads, both element types."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph import tuning
from pyodide_app.kv_cache import LayerCache, make_layer
from tests.compare import close
from tests.gpu import Bench, random_input


def fill(bench: Bench, cache: LayerCache, keys: np.ndarray, values: np.ndarray) -> None:
    """Store positions 0.. in their slots; later ones overwrite, as in a ring."""
    kind = np.float16 if cache.kv == "f16" else np.float32
    shape = (cache.n_slots, cache.n_kv_heads, cache.head_dim)
    for buffer, rows in ((cache.k, keys), (cache.v, values)):
        slots = np.zeros(shape, kind)
        for position, row in enumerate(rows):
            slots[position % cache.n_slots] = row
        bench.device.write(buffer, 0, slots.tobytes())
        bench.buffers.append(buffer)


def check(
    *,
    n: int,
    position: int,
    window: int,
    head_dim: int,
    heads: int,
    kv_heads: int,
    kv: str,
    tune: tuning.Tuning | None = None,
) -> None:
    bench = Bench(tune)
    n_keys = position + n
    keys = random_input(1, n_keys, kv_heads, head_dim, scale=head_dim**-0.5 * 3)
    values = random_input(2, n_keys, kv_heads, head_dim)
    q = random_input(3, n, heads, head_dim, scale=2.0)
    if kv == "f16":  # both sides start from what the cache can hold
        keys, values = (a.astype(np.float16).astype(np.float32) for a in (keys, values))
    cache = make_layer(
        "test",
        kv,
        n_ctx=n_keys,
        chunk=n,
        window=window,
        n_kv_heads=kv_heads,
        head_dim=head_dim,
    )
    fill(bench, cache, keys, values)
    (y,) = bench.run(
        lambda ops: ops.attention(bench.tensor(q.reshape(n, -1)), cache),
        n_tokens=n,
        position=position,
    )
    expected = oracle.attention(
        q, keys, values, np.arange(position, n_keys), window or None
    )
    close("attention", y.reshape(n, heads, head_dim), expected)
    bench.close()


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("position", [0, 1, 15, 16, 17, 100])
def test_decodes_against_everything_before(position: int, kv: str) -> None:
    check(n=1, position=position, window=0, head_dim=64, heads=4, kv_heads=2, kv=kv)


@pytest.mark.parametrize("position", [0, 30, 31, 32, 33, 150])
def test_masks_beyond_the_window(position: int) -> None:
    check(n=1, position=position, window=32, head_dim=16, heads=2, kv_heads=1, kv="f32")


@pytest.mark.parametrize(("n", "position"), [(20, 0), (82, 0), (7, 40), (50, 45)])
def test_prefills_through_the_ring(n: int, position: int) -> None:
    check(n=n, position=position, window=32, head_dim=8, heads=4, kv_heads=2, kv="f16")


@pytest.mark.parametrize("head_dim", [8, 24, 128, 256, 512])
@pytest.mark.parametrize("tune", [tuning.SOFTWARE, tuning.HARDWARE], ids=["cpu", "gpu"])
def test_any_head_size(head_dim: int, tune: tuning.Tuning) -> None:
    check(
        n=3,
        position=70,
        window=0,
        head_dim=head_dim,
        heads=8,
        kv_heads=1,
        kv="f32",
        tune=tune,
    )


def test_large_scores_do_not_overflow() -> None:
    """The first key scores far above the rest: exp of the plain score is infinite."""
    bench = Bench()
    keys = np.zeros((40, 1, 8), np.float32)
    keys[3], values = 30.0, random_input(1, 40, 1, 8)
    q = np.full((1, 1, 8), 5.0, np.float32)
    cache = make_layer(
        "test", "f32", n_ctx=40, chunk=1, window=0, n_kv_heads=1, head_dim=8
    )
    fill(bench, cache, keys, values)
    (y,) = bench.run(
        lambda ops: ops.attention(bench.tensor(q.reshape(1, -1)), cache), position=39
    )
    close("attention", y[None], values[3][None])
    bench.close()
