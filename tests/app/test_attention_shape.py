"""How attention is cut: within what every WebGPU device has, and into whole parts."""

from __future__ import annotations

import re

import pytest

from pyodide_app.graph.kernels import Variant, load
from pyodide_app.graph.plan import Dispatch
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE
from tests.support.attention_plans import attention_dispatches, every_dispatch

BYTES = {"u32": 4, "f32": 4, "vec4<f32>": 16}
WORKGROUP_BYTES, THREADS, GROUPS = 16384, 256, 65535  # WebGPU's defaults


def python(expression: str) -> str:
    """Turn a constant expression of WGSL into one of Python."""
    return re.sub(r"\b(\d+|0x[0-9a-f]+)u\b", r"\1", expression).replace("/", "//")


def evaluated(variant: Variant) -> tuple[dict[str, int], int]:
    """Return a variant's constants, and the bytes of workgroup memory."""
    known: dict[str, int] = {}
    functions = {"max": max, "select": lambda no, yes, which: yes if which else no}
    for name, value in re.findall(
        r"^const (\w+)(?:: u32)? = ([^;]+);", variant.code, re.M
    ):
        if "." not in value:
            known[name] = eval(python(value), functions, known)
    used = 0
    for kind, length in re.findall(
        r"^var<workgroup> \w+: (?:array<)?(u32|f32|vec4<f32>)(?:, (.+)>)?;",
        variant.code,
        re.M,
    ):
        used += BYTES[kind] * eval(python(length or "1"), functions, known)
    return known, used


def attentions() -> list[Dispatch]:
    """Return one launch of each variant of the kernels that are cut."""
    found = {d.variant: d for d in every_dispatch() if "attention" in d.variant.kernel}
    return list(found.values())


def test_stays_within_every_device() -> None:
    tested = attentions()
    assert len(tested) > 60
    for dispatch in tested:
        known, used = evaluated(dispatch.variant)
        assert 0 < used <= WORKGROUP_BYTES, dispatch.name
        assert 0 < known["WG"] <= THREADS, dispatch.name
        assert max(dispatch.workgroups) <= GROUPS, dispatch.name


def test_parts_are_whole() -> None:
    for dispatch in attentions():
        known, _ = evaluated(dispatch.variant)
        if dispatch.variant.kernel == "attention_decode":
            assert known["GROUP"] % known["HEADS"] == 0
            assert known["WORDS"] % known["LANES"] == 0
            assert known["WG"] >= known["GROUP"]
            assert known["ROUND"] >= 1
        if dispatch.variant.kernel == "attention_prefill":
            assert known["HEADS"] * known["TOKENS"] <= known["ROWS"]
            assert known["WG"] % known["COLUMNS"] == 0
            assert known["ROWS"] % 4 == known["KEYS"] % 4 == 0
            assert known["V_GROUPS"] <= known["ROW_BLOCKS"]


@pytest.mark.parametrize("n_kv_heads", [1, 2, 8])
def test_a_gpu_is_kept_busy_at_long_contexts(n_kv_heads: int) -> None:
    sizes = (8 * n_kv_heads, n_kv_heads, 512, 0)
    first, merge = attention_dispatches(HARDWARE, sizes, 1, 16384)
    assert first.workgroups[0] * first.workgroups[1] == HARDWARE.attention_groups
    assert merge.variant.kernel == "attention_merge"


def test_a_window_is_split_only_as_far_as_it_pays() -> None:
    """A split writes its sums: no more than a quarter of the keys that it reads."""
    first, _ = attention_dispatches(HARDWARE, (8, 1, 256, 512), 1)
    assert first.workgroups == (1, 16, 1)
    (only,) = attention_dispatches(HARDWARE, (8, 1, 256, 40), 1)
    assert only.workgroups == (1, 1, 1)


def test_the_demonstration_is_not_split_on_a_processor() -> None:
    for sizes in ((4, 2, 32, 64), (4, 1, 64, 0)):
        for n_tokens, n_launches in ((1, 1), (64, 2)):
            launched = attention_dispatches(SOFTWARE, sizes, n_tokens, 2048)
            assert len(launched) == n_launches


def test_a_prefill_is_split_by_absolute_positions() -> None:
    """Whole tiles to a split, and one more where a window may begin within one."""
    sizes = (8, 1, 512, 0)
    *_, tiles, _ = attention_dispatches(SOFTWARE, sizes, 16, 16384)
    known, _ = evaluated(tiles.variant)
    fields = [name for name, _ in load("attention_prefill").fields]
    split_keys = memoryview(tiles.params).cast("I")[fields.index("split_keys")]
    assert split_keys % known["KEYS"] == 0
    assert tiles.workgroups[2] == -(-16384 // split_keys)
    *_, sliding, _ = attention_dispatches(SOFTWARE, (8, 1, 512, 8192), 16, 16384)
    reach = 8192 + known["ROWS"]
    assert sliding.workgroups[2] == -(-reach // split_keys) + 1
