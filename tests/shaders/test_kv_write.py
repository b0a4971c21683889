"""kv_write against the oracle: both element types, and the ring's wrap."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Tensor
from pyodide_app.kv_cache import LayerCache, make_layer
from tests.compare import tolerance
from tests.gpu import Bench, random_input
from tests.shaders.test_head_norm_rope import make_rope

STORAGE = {"f32": 0.0, "f16": 2.0**-11}  # half a unit in the last place, relative


def read_cache(bench: Bench, cache: LayerCache) -> tuple[np.ndarray, np.ndarray]:
    kind = np.float16 if cache.kv == "f16" else np.float32
    shape = (cache.n_slots, cache.n_kv_heads, cache.head_dim)
    k, v = (bench.read(buffer, kind).reshape(shape) for buffer in (cache.k, cache.v))
    return k.astype(np.float64), v.astype(np.float64)


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize(
    ("head_dim", "n_pairs", "theta"), [(8, 4, 1e4), (256, 128, 1e4), (512, 64, 1e6)]
)
def test_writes_what_the_oracle_stores(
    head_dim: int, n_pairs: int, theta: float, kv: str
) -> None:
    bench = Bench()
    n, heads, position, n_slots = 5, 2, 1021, 7  # wraps around within the chunk
    k, v = (random_input(i, n, heads * head_dim, scale=3.0) for i in (1, 2))
    weight = random_input(3, head_dim)
    cache = make_layer(
        "test", kv, n_ctx=4096, chunk=5, window=2, n_kv_heads=heads, head_dim=head_dim
    )
    assert cache.n_slots == n_slots
    bench.buffers += [cache.k, cache.v]
    rope = make_rope(bench, theta, head_dim, n_pairs, 4096)

    def record(ops: Ops) -> list[Tensor]:
        ops.kv_write(
            bench.tensor(k), bench.tensor(v), bench.vector(weight), rope, cache, 1e-6
        )
        return []

    bench.run(record, n_tokens=n, position=position)
    positions = np.arange(position, position + n)
    shape = (n, heads, head_dim)
    expected = oracle.kv_write(
        k.reshape(shape), v.reshape(shape), weight, positions, theta, n_pairs, 1e-6
    )
    rtol, atol = tolerance("kv_write")
    for stored, wanted in zip(read_cache(bench, cache), expected, strict=True):
        got = stored[positions % n_slots]
        scale = np.abs(wanted).max(axis=-1, keepdims=True)
        # Below 2^-14 an f16 is subnormal: its spacing is 2^-24 there.
        bound = atol + rtol * scale + STORAGE[kv] * np.abs(wanted)
        bound = bound + (2.0**-24 if kv == "f16" else 0.0)
        assert (np.abs(got - wanted) <= bound).all()
    untouched = set(range(n_slots)) - set((positions % n_slots).tolist())
    assert not read_cache(bench, cache)[0][sorted(untouched)].any()
    bench.close()
