"""The twins of kernels that need a feature compile, and give what the oracle does.

They are tried on the adapter under test. Its own subgroups may be wider than the least
that it says they are; what lies between goes through workgroup memory.
"""

from __future__ import annotations

import asyncio
import functools
import re
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.gguf.sources import FileSource
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Heads
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from pyodide_app.load import loader
from pyodide_app.load.options import LoadOptions
from tests.shaders import caches, test_matvec
from tests.shaders.kernel_cases import CASES
from tests.shaders.matrices import bench, matrix
from tests.support import dawn, gpu
from tests.support.compare import tolerance
from tests.support.golden_data import committed_cases
from tests.support.gpu import random_input

FOLDING = replace(SOFTWARE, fold_bytes=HARDWARE.fold_bytes)
SUBGROUP = 4  # no adapter has narrower ones
# Rows shared by as many lanes as a subgroup has, by fewer, and by many more.
TUNINGS = {
    "cpu": replace(FOLDING, subgroup=SUBGROUP, kv_f16="native"),
    "gpu": replace(HARDWARE, subgroup=SUBGROUP, kv_f16="native"),
    "narrow": replace(HARDWARE, subgroup=SUBGROUP, lanes=SUBGROUP),
    "pairs": replace(FOLDING, subgroup=SUBGROUP, lanes=2, rows=3),
}


@functools.cache
def twins() -> tuple[Variant, ...]:
    """Return the variants that need a feature, of the models that are committed."""
    found = []
    for case in committed_cases():
        for tune in TUNINGS.values():
            options = LoadOptions(n_ctx=300, tune=replace(tune, element="f16"))
            with closing(FileSource(case.gguf)) as source:
                request = loader.preflight([source], gpu.device().info, options)
                plans = asyncio.run(request).layout.plans
            found += [d.variant for plan in plans.values() for d in plan.dispatches]
    return tuple(variant for variant in dict.fromkeys(found) if variant.features)


def test_every_file_that_needs_a_feature_is_tried() -> None:
    text = "".join(twin.code for twin in twins())
    needing = [
        path
        for path in kernels.SHADERS.rglob("*.wgsl")
        if re.search(r"^// needs ", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(needing) >= 4
    for path in needing:
        head, _, _ = path.read_text(encoding="utf-8").partition("//#include")
        assert head in text, path.name


def test_they_compile_under_naga() -> None:
    device = gpu.native_device()
    for twin in twins():
        assert set(twin.features) <= device.info.features
        code = twin.code_for(["shader-f16"])
        # Raises with the compiler's message if it does not.
        device._device.create_shader_module(label=twin.label, code=code)


def test_they_compile_under_tint_without_a_message() -> None:
    needs = {twin.features for twin in twins()}
    assert len(needs) == 3  # one of the two, or both
    for features in needs:
        wanted = [twin for twin in twins() if twin.features == features]
        messages = dawn.lint(((v.label, v.code) for v in wanted), features)
        assert not {label: texts for label, texts in messages.items() if texts}


@pytest.mark.parametrize("tune", TUNINGS.values(), ids=TUNINGS)
@pytest.mark.parametrize("case", CASES)
def test_matches_the_oracle(case: str, tune: Tuning) -> None:
    CASES[case](tune)


def test_a_subgroup_serves_a_sum_of_any_width() -> None:
    # Those of a workgroup of 128 x 2, with 32 sums of subgroups; then too many.
    for lanes in (1, 16, 32, 128):
        tune = replace(HARDWARE, subgroup=SUBGROUP, lanes=lanes, rows=2)
        with bench(tune) as on:
            test_matvec.check(on, matrix("F32", 9, 515))
    assert tune.special_slots({"LANES": 128})["lanes"] == "subgroup"
    assert not {"lanes", "reduce"} & set(tune.special_slots({"LANES": 256, "WG": 96}))


def test_native_halves_are_the_bytes_of_packed_ones() -> None:
    n, dim = 5, 64
    rows = [random_input(i, n, dim, scale=3.0) for i in range(3)]
    norms = random_input(3, dim), random_input(4, dim)
    stored = []
    for kv_f16 in ("f16", "native"):
        with bench(replace(SOFTWARE, kv_f16=kv_f16)) as on:
            cache = caches.make_cache(on, "f16", 8, 5, 0, 1, dim)
            rope = caches.make_rope(on, 1e4, dim, dim // 2, 8)
            weights = on.vectors(*norms)
            heads = Heads(*caches.pieces(on, rows), *weights, rope, caches.EPS)
            op = functools.partial(Ops.head_norm_rope, heads=heads, cache=cache)
            on.run(op, n_tokens=n)
            stored += [(on.read(cache.k, np.uint16), on.read(cache.v, np.uint16))]
    for packed, native in zip(*stored, strict=True):
        assert packed.any() and (packed == native).all()


@pytest.mark.parametrize("type_name", ["F32", "Q4_K", "Q8_0"])
def test_a_tile_in_halves_rounds_its_weights_alone(type_name: str) -> None:
    weights = matrix(type_name, 70, 512)
    assert np.abs(weights.values).max() < np.finfo(np.float16).max
    x = random_input(1, 9, 512, scale=1e5)  # beyond what halves hold
    results = []
    for element in ("f32", "f16"):
        with bench(replace(HARDWARE, element=element)) as on:
            placed = weights.place(on)
            op = functools.partial(Ops.matmul, x=on.tensor(x), weight=placed)
            results += on.run(op, n_tokens=9)
    rtol, atol = tolerance("matmul")
    # What element_f16 says of a weight, and the kernel's own bound.
    magnitude = oracle.matmul(np.abs(x), np.abs(weights.values))
    flushed = 2.0**-14 * np.abs(x).sum(axis=-1, keepdims=True)
    bound = (2.0**-11 + rtol) * magnitude + flushed + atol
    error = np.abs(results[1].astype(np.float64) - oracle.matmul(x, weights.values))
    assert (error <= bound).all()
    if type_name == "F32":  # of which a half keeps eleven bits
        assert (results[0] != results[1]).any()
