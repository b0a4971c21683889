"""What a model needs on an adapter, said from headers of real size.

The expected numbers are worked out from the published sizes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.graph.tuning import HARDWARE
from pyodide_app.load import layout, loader
from pyodide_app.load.fit import Fit, arrange
from pyodide_app.load.header import read_header
from pyodide_app.load.options import LoadOptions
from pyodide_app.models.config import Config
from tests.samples import realshape
from tests.samples.gguf_bytes import string, u32

V = 262_144
Q4, Q5_0, Q6, Q8 = 144 / 256, 22 / 32, 210 / 256, 34 / 32  # bytes of an element
BASELINE = Limits(128 << 20, 256 << 20, 16384, 256, 8, 65535)
LARGE = Limits(2**32 - 4, 2**32, 32768, 1024, 10, 65535)


def adapter(limits: Limits = BASELINE) -> AdapterInfo:
    """Return an adapter that is no machine's."""
    return AdapterInfo("paper", "none", False, frozenset(), limits)


@cache
def source(model: str, file_type: str) -> realshape.HoleSource:
    """Return a file of full size; the vocabulary plays no part here."""
    return realshape.HoleSource(realshape.plan(model, file_type))


def fit(model: str, file_type: str = "Q4_K_M", **options: Any) -> tuple[Config, Fit]:
    """Ask how a model would run."""
    limits = options.pop("limits", BASELINE)
    options = {"n_ctx": 8192, **options}
    sources = [source(model, file_type)]
    checked = asyncio.run(
        loader.preflight(sources, adapter(limits), LoadOptions(**options))
    )
    return checked.config, checked.fit


# By hand: the matrices that a step reads, those of six bits as in test_realshape.py,
# one row of embeddings and the vectors. The layers of e2b and e4b that share keys and
# values do not read their own attn_k, attn_k_norm and attn_v.
EXPERTS_26B = 8 * 2816 * (30 * 1408 * Q4 + 704 * (16 * Q5_0 + 14 * Q8))
STEP_BYTES = {
    "12b": V * 3840 * Q6
    + 3840 * Q6
    + 40 * 3840 * (2 * 4096 + 2048) * Q4
    + 8 * 3840 * (2 * 8192 + 512) * Q4
    + 20 * 3840 * 2048 * (Q4 + Q6)
    + 48 * 2 * 3840 * 15360 * Q4
    + 24 * 3840 * 15360 * (Q4 + Q6)
    + 4 * (48 * (4 * 3840 + 1) + 40 * 2 * 256 + 8 * 2 * 512 + 3840),
    "31b": V * 5376 * Q6
    + 5376 * Q6
    + 50 * 5376 * (2 * 8192 + 4096) * Q4
    + 10 * 5376 * (2 * 16384 + 2048) * Q4
    + 25 * 5376 * 4096 * (Q4 + Q6)
    + 60 * 2 * 5376 * 21504 * Q4
    + 30 * 5376 * 21504 * (Q4 + Q6)
    + 4 * (60 * (4 * 5376 + 1) + 50 * 2 * 256 + 10 * 2 * 512 + 5376),
    "26b-a4b": EXPERTS_26B
    + V * 2816 * Q6
    + 2816 * Q6
    + 25 * 2816 * (2 * 4096 + 2048) * Q4
    + 5 * 2816 * (2 * 8192 + 1024) * Q4
    + 12 * 2816 * 2048 * Q4
    + 13 * 2816 * 2048 * Q6
    + 30 * 2 * 2816 * 2112 * Q4
    + 2816 * 2112 * (16 * Q5_0 + 14 * Q8)
    + 4 * 30 * (7 * 2816 + 1 + 2816 + 128 + 128 * 2816)
    + 4 * (25 * 2 * 256 + 5 * 2 * 512 + 2816),
    # Layers 0-14 own keys and values, three of them global: 4, 9 and 14. Of the six-bit
    # attn_v there are seven: 0-3, 6, 9, 12; of these 9 is global.
    "e2b": V * 1536 * Q6
    + (1536 + 8960) * Q6
    + 2 * 1536 * 8960
    + 28 * 1536 * 2 * 2048 * Q4
    + 7 * 1536 * 2 * 4096 * Q4
    + 12 * 1536 * 256 * Q4
    + 3 * 1536 * 512 * Q4
    + 1536 * 256 * (6 * Q6 + 6 * Q4)
    + 1536 * 512 * (1 * Q6 + 2 * Q4)
    + 2 * 1536 * (15 * 6144 + 20 * 12288) * Q4
    + 1536 * 6144 * (7 * Q6 + 8 * Q4)
    + 1536 * 12288 * (10 * Q6 + 10 * Q4)
    + 35 * 2 * 1536 * 256 * Q4
    + 4 * (35 * (5 * 1536 + 1) + 28 * 256 + 7 * 512 + 12 * 256 + 3 * 512)
    + 4 * (1536 + 256),
    # Layers 0-23 own them, four of them global: 5, 11, 17, 23. Six-bit: 0-4, 7, 10,
    # 13, 16, 19, 22, none of them global.
    "e4b": V * 2560 * Q6
    + (2560 + 10752) * Q6
    + 2 * 2560 * 10752
    + 35 * 2560 * 2 * 2048 * Q4
    + 7 * 2560 * 2 * 4096 * Q4
    + 20 * 2560 * 512 * Q4
    + 4 * 2560 * 1024 * 2 * Q4
    + 2560 * 512 * (11 * Q6 + 9 * Q4)
    + 2 * 42 * 2560 * 10240 * Q4
    + 21 * 2560 * 10240 * (Q6 + Q4)
    + 42 * 2 * 2560 * 256 * Q4
    + 4 * (42 * (5 * 2560 + 1) + 35 * 256 + 7 * 512 + 20 * 256 + 4 * 512)
    + 4 * (2560 + 256),
}


@pytest.mark.parametrize("model", list(realshape.MODELS))
def test_bytes_of_a_step_follow_from_the_published_sizes(model: str) -> None:
    _, found = fit(model)
    assert found.step_bytes == STEP_BYTES[model]


def test_experts_are_a_share_of_what_is_loaded() -> None:
    _, found = fit("26b-a4b")
    assert round(found.step_bytes / 1e9, 2) == 2.6
    assert round(EXPERTS_26B / 1e9, 2) == 0.95
    assert round(found.weight_bytes / 1e9, 2) == 16.78


# Elements of keys and values per token and kind of layer: 2 * heads * head_dim.
# A sliding layer keeps its window and a chunk of 256 more, a global one the context.
@pytest.mark.parametrize(
    ("model", "elements"),
    [
        ("e2b", 12 * 768 * 2 * 256 + 3 * 8192 * 2 * 512),
        ("e4b", 20 * 768 * 2 * 2 * 256 + 4 * 8192 * 2 * 2 * 512),
        ("12b", 40 * 1280 * 2 * 8 * 256 + 8 * 8192 * 2 * 512),
        ("26b-a4b", 25 * 1280 * 2 * 8 * 256 + 5 * 8192 * 2 * 2 * 512),
        ("31b", 50 * 1280 * 2 * 16 * 256 + 10 * 8192 * 2 * 4 * 512),
    ],
)
def test_cache_has_its_published_size(model: str, elements: int) -> None:
    _, f16 = fit(model)
    _, f32 = fit(model, kv="f32", limits=LARGE)
    assert f16.kv_bytes == 2 * elements
    assert f32.kv_bytes == 4 * elements


@pytest.mark.parametrize("model", list(realshape.MODELS))
@pytest.mark.parametrize("file_type", list(realshape.FILE_TYPES))
def test_resident_weights_are_those_of_the_file(model: str, file_type: str) -> None:
    _, found = fit(model, file_type, limits=LARGE)
    entries = realshape.plan(model, file_type).entries
    left_out = {"rope_freqs.weight"}
    for first, last in {"e2b": [(15, 35)], "e4b": [(24, 42)]}.get(model, []):
        left_out |= {
            f"blk.{layer}.{name}.weight"
            for layer in range(first, last)
            for name in ("attn_k", "attn_k_norm", "attn_v")
        }
    assert found.mode == "resident"
    assert found.host_bytes == 0
    sizes = [entry.size for entry in entries if entry.name not in left_out]
    # Each may begin on a multiple of 256 bytes within a buffer that it shares.
    assert sum(sizes) <= found.weight_bytes < sum(sizes) + 256 * len(sizes)
    # Far less than the weights, and there.
    assert 1e6 < found.scratch_bytes < 0.05 * found.weight_bytes


def test_embeddings_stay_in_the_file_when_nothing_else_fits() -> None:
    _, resident = fit("e4b")
    table = V * 42 * 256 * 210 // 256
    assert fit("e4b", memory=resident.total_bytes)[1] == resident
    _, found = fit("e4b", memory=resident.total_bytes - 1)
    assert found.mode == "host-embeddings"
    assert found.host_bytes == table
    # On the GPU each of its parts, a binding or little less, ends with a whole load.
    rounded = resident.weight_bytes - found.weight_bytes - table
    assert 0 <= rounded < 16 * (table // BASELINE.max_binding_bytes + 2)
    # In place of the table: a row and its number per token of a chunk.
    gathered = HARDWARE.chunk * (42 * 210 + 4)
    assert found.table_bytes == resident.table_bytes + gathered
    assert found.step_bytes == resident.step_bytes
    assert fit("e4b", host_embeddings=True)[1] == found


def test_embeddings_of_other_models_cannot_stay() -> None:
    assert fit("12b", host_embeddings=True)[1].mode == "resident"


@pytest.mark.parametrize(
    ("model", "options", "texts"),
    [
        (
            "26b-a4b",
            {"memory": 8_000_000_000},
            ["weights 16.78 GB", "at most 8.00 GB", "streaming experts", "not support"],
        ),
        (
            "12b",
            {"memory": 8_000_000_000, "n_ctx": 131072, "limits": LARGE},
            ["keys and values of 131072 tokens 2.57 GB", "tokens or fewer"],
        ),
        ("e2b", {"memory": 1_000_000_000}, ["weights 1.47 GB", "smaller model"]),
        (
            "31b",
            {"n_ctx": 262144},
            ["blk.5.k_cache", "1073741824 bytes", "134217728", "32,768 tokens"],
        ),
    ],
)
def test_refuses_with_the_numbers(
    model: str, options: dict[str, Any], texts: list[str]
) -> None:
    with pytest.raises(errors.DeviceLimitError) as raised:
        fit(model, **options)
    for text in texts:
        assert text in str(raised.value)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("12b", {"memory": 8_000_000_000, "n_ctx": 131072, "limits": LARGE}),
        ("31b", {"n_ctx": 262144}),
        ("e4b", {"memory": 3_100_000_000, "n_ctx": 131072}),
    ],
)
def test_offers_the_longest_context_that_fits(
    model: str, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.DeviceLimitError) as raised:
        fit(model, **options)
    longest = raised.value.n_ctx
    assert 0 < longest < options["n_ctx"]
    assert f"{longest:,} tokens" in raised.value.remedy
    assert fit(model, **{**options, "n_ctx": longest})[1].n_ctx == longest
    with pytest.raises(errors.DeviceLimitError) as raised:
        fit(model, **{**options, "n_ctx": longest + 256})
    assert raised.value.n_ctx == longest


def test_offers_no_context_where_none_fits() -> None:
    with pytest.raises(errors.DeviceLimitError) as raised:
        fit("e2b", memory=1_000_000_000)
    assert raised.value.n_ctx == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 8192),
        ({"default_ctx": 4096}, 4096),
        ({"default_ctx": 10**7}, 131072),
        ({"default_ctx": 4096, "n_ctx": 2048}, 2048),
    ],
)
def test_context_is_the_one_asked_for_or_the_default(
    options: dict[str, Any], expected: int
) -> None:
    assert fit("e2b", **{"n_ctx": None, **options}, limits=LARGE)[1].n_ctx == expected


def test_refuses_an_unknown_type_of_cache() -> None:
    with pytest.raises(errors.RequestError, match="kv type: found q8; expected f16"):
        fit("e2b", kv="q8")


def test_passes_get_narrower_until_a_binding_holds_their_scratch() -> None:
    wide = arranged("12b", LARGE)
    widest = max(buffer.size for buffer in wide.arena.buffers)
    assert wide.tuning.chunk == HARDWARE.chunk
    narrow = arranged("12b", replace(LARGE, max_binding_bytes=widest - 4))
    assert narrow.tuning.chunk == HARDWARE.chunk // 2
    assert narrow.plans.keys() == {1, HARDWARE.chunk // 2}
    assert max(buffer.size for buffer in narrow.arena.buffers) < widest


def test_refuses_scratch_that_no_binding_holds() -> None:
    # The logits of one token are a mebibyte; a row of any matrix is far less.
    limits = replace(LARGE, max_binding_bytes=(1 << 20) - 4)
    with pytest.raises(errors.DeviceLimitError, match="buffer scratch") as raised:
        arranged("12b", limits)
    assert "1048576 bytes" in raised.value.found
    assert (raised.value.n_ctx, raised.value.remedy) == (
        0,
        "Use a GPU with a larger limit.",
    )


def arranged(model: str, limits: Limits) -> layout.Layout:
    """Return where everything would go."""
    file = realshape.HoleSource(realshape.plan(model, "Q4_K_M", layers=2))
    header = asyncio.run(read_header([file]))
    return arrange(header, adapter(limits), LoadOptions(n_ctx=256))[1]


def retyped(name: str, type_id: int) -> realshape.HoleSource:
    """Return e2b's file with a tensor of another type."""
    plan = realshape.plan("e2b", "Q4_K_M")
    marked = string(name)
    at = plan.header.index(marked) + len(marked)
    n_dims = plan.header[at]
    at += 4 + 8 * n_dims
    header = plan.header[:at] + u32(type_id) + plan.header[at + 4 :]
    return realshape.HoleSource(replace(plan, header=header))


@pytest.mark.parametrize("type_id", [31, 4, 99])
def test_types_count_only_where_a_pass_reads_them(type_id: int) -> None:
    _, expected = fit("e2b")
    request = loader.preflight([retyped("blk.20.attn_k.weight", type_id)], adapter())
    assert asyncio.run(request).fit == expected  # it reads layer 13's keys
    request = loader.preflight([retyped("blk.2.attn_k.weight", type_id)], adapter())
    with pytest.raises(errors.UnsupportedFormatError) as raised:
        asyncio.run(request)
    text = f"tensor 'blk.2.attn_k.weight': found ggml type {type_id}"
    assert text in str(raised.value)


def test_refuses_a_context_that_the_model_was_not_made_for() -> None:
    with pytest.raises(errors.RequestError, match="context length"):
        fit("e2b", n_ctx=131073)
