"""Every variant of every kernel compiles, under naga and under Tint."""

from __future__ import annotations

import functools
import itertools
import re

import pytest

from pyodide_app.gguf.types import TYPES
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from tests import dawn, gpu

SLOTS = {
    "quant": sorted({kind.slug for kind in TYPES}),
    "kv": ["f16", "f32"],
}
CONSTS = {"HEAD_DIM": [64, 128, 256, 512], "WG": [16, 64], "TOKENS": [8]}


def slot_names(kernel: str) -> list[str]:
    """Return the names in braces of a kernel's includes."""
    includes = re.findall(
        r'^//#include "(.*)"$', kernels.read_source(f"{kernel}.wgsl"), re.M
    )
    return sorted(
        {name for path in includes for name in re.findall(r"\{(\w+)\}", path)}
    )


def variants(kernel: str) -> list[Variant]:
    """Return the product of a kernel's slots and sample values of its consts."""
    choices = [[(name, value) for value in SLOTS[name]] for name in slot_names(kernel)]
    sizes = [
        [(name, value) for value in CONSTS[name]]
        for name in kernels.load(kernel).consts
    ]
    return [
        Variant(kernel, slots, consts)
        for slots in itertools.product(*choices)
        for consts in itertools.product(*sizes)
    ]


@functools.cache
def tint_messages() -> dict[str, list[str]]:
    """Return what Tint says of all variants, in one run of Node."""
    every = [variant for name in kernels.names() for variant in variants(name)]
    return dawn.lint((variant.label, variant.code) for variant in every)


def test_covers_formats_and_cache_types() -> None:
    assert len(variants("matvec")) == len(SLOTS["quant"]) >= 16
    assert len(variants("attention")) == 2 * 4 * 2


@pytest.mark.parametrize("kernel", kernels.names())
def test_compiles_under_naga(kernel: str) -> None:
    for variant in variants(kernel):
        # Raises with the compiler's message if it does not.
        gpu.device()._device.create_shader_module(
            label=variant.label, code=variant.code
        )


@pytest.mark.parametrize("kernel", kernels.names())
def test_compiles_under_tint_without_a_message(kernel: str) -> None:
    messages = tint_messages()
    said = {v.label: messages[v.label] for v in variants(kernel)}
    assert not {label: texts for label, texts in said.items() if texts}


def test_tint_rejects_a_barrier_that_naga_lets_pass() -> None:
    code = Variant("softcap").code.replace(
        "let i =", "if (thread == 0u) { workgroupBarrier(); }\n  let i ="
    )
    gpu.device()._device.create_shader_module(label="divergent", code=code)
    messages = dawn.lint([("divergent", code)])["divergent"]
    assert any("uniform control flow" in message for message in messages)
