"""Every variant of every kernel compiles, under naga and under Tint."""

from __future__ import annotations

import functools
import itertools
import re

import pytest

from pyodide_app.gguf.types import TYPES
from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE
from tests.support import dawn, gpu
from tests.support.attention_plans import ODD, RELEASED, attention_dispatches

FORMATS = sorted({kind.slug for kind in TYPES})
FLOATS = sorted(kind.slug for kind in TYPES if kind.block_size == 1)
DOTS = [*FORMATS, *(f"{slug}_odd" for slug in FLOATS)]
MATRICES = {
    "quant": FORMATS,
    "dot": DOTS,
}  # files of slots that take a format, by folder
SLOTS = {
    "kv": ["f16", "f32"],
    "pairs": ["halves", "neighbours"],
    "unit": ["geglu", "swiglu"],
    "input": ["residual", "splits", "vector"],
    "tile": ["private", "workgroup"],
    # Of kernels that multiply by rows:
    "four": ["looped", "unrolled"],
    "precision": ["f32", "int8"],
}
INPUT_OF_MATVEC = ["plain", "vector"]
CONSTS = {
    "HEAD_DIM": [64, 128, 256, 512],
    "WG": [16, 64],
    "TILE_ROWS": [64],
    "TOKENS": [8, 32],
}
CUT = ("attention_decode", "attention_merge", "attention_prefill")  # by their sizes


def slots_by_folder(kernel: str) -> dict[str, list[str]]:
    """Return the names in braces of a kernel's includes, by folder."""
    found: dict[str, list[str]] = {}
    sources = [kernels.load(kernel).source]
    for source in sources:
        for path, _ in kernels.INCLUDE.findall(source):
            names = re.findall(r"\{(\w+)\}", path)
            if not names:
                sources.append(kernels.read_source(path))
            for name in names:
                if name not in kernels.BASELINE:  # which is what every device runs
                    found.setdefault(path.split("/")[0], []).append(name)
    return found


def values_of(kernel: str, slot: str) -> list[str]:
    """Return the files that a slot for no matrix takes."""
    is_matvec = (kernel, slot) == ("matvec", "input")
    return INPUT_OF_MATVEC if is_matvec else SLOTS[slot]


def variants(kernel: str) -> list[Variant]:
    """Return the product of a kernel's slots and sample values of its consts.

    A slot of several for matrices takes every format once, beside different others.
    """
    if kernel in CUT:
        return [variant for variant in attention_variants() if variant.kernel == kernel]
    folders = slots_by_folder(kernel)
    others = [
        slot for name, of in folders.items() for slot in of if name not in MATRICES
    ]
    others += ["four", "precision"] if "dot" in folders else []
    choices = [[(slot, value) for value in values_of(kernel, slot)] for slot in others]
    formats = formats_of(folders)
    sizes = [
        [(name, value) for value in CONSTS[name]]
        for name in kernels.load(kernel).consts
    ]
    return [
        Variant(kernel, (*chosen, *slots), consts)
        for chosen in formats
        for slots in itertools.product(*choices)
        for consts in itertools.product(*sizes)
    ]


def formats_of(folders: dict[str, list[str]]) -> list[tuple[tuple[str, str], ...]]:
    """Return what a kernel's slots for matrices take together."""
    for folder, values in MATRICES.items():
        if slots := folders.get(folder):
            formats = [
                tuple((name, values[i - 5 * k]) for k, name in enumerate(slots))
                for i in range(len(values))
            ]
            for other in ("none", "given"):
                rest = ((name, other) for name in slots[1:])
                formats += [((slots[0], values[0]), *rest)] * (len(slots) > 1)
            return formats
    return [()]


@functools.cache
def attention_variants() -> tuple[Variant, ...]:
    """Return the kernels whose consts go together, as they are used."""
    launched = (
        dispatch.variant
        for sizes in (*RELEASED, *ODD)
        for tune in (SOFTWARE, HARDWARE)
        for kv in SLOTS["kv"]
        for n_tokens in (1, 2)
        for dispatch in attention_dispatches(tune, sizes, n_tokens, kv=kv)
    )
    return tuple(dict.fromkeys(launched))


@functools.cache
def tint_messages() -> dict[str, list[str]]:
    """Return what Tint says of all variants, in one run of Node."""
    every = [variant for name in kernels.names() for variant in variants(name)]
    once = by_code(every)
    messages = dawn.lint((label, code) for code, label in once.items())
    return {variant.label: messages[once[variant.code]] for variant in every}


def by_code(every: list[Variant]) -> dict[str, str]:
    """Return one label of each text: not every format has a part in every slot."""
    return {variant.code: variant.label for variant in every}


def test_covers_formats_and_cache_types() -> None:
    assert len(variants("matmul")) >= len(FORMATS) >= 16
    assert len(variants("matvec")) == 2 * 2 * 2 * len(DOTS)
    many = [dict(variant.slots) for variant in variants("matvec_many")]
    assert len(many) == 2 * 2 * 3 * (len(DOTS) + 2)
    assert {slots["c"] for slots in many} == {*DOTS, "none", "given"}
    files = {path.stem for path in (kernels.SHADERS / "dot").glob("*.wgsl")}
    assert files == {*DOTS, "none", "given"}
    assert len(variants("head_norm_rope")) == 2 * 2 * 4
    for kernel in CUT:
        assert len(variants(kernel)) > 10


@pytest.mark.parametrize("kernel", kernels.names())
def test_compiles_under_naga(kernel: str) -> None:
    for code, label in by_code(variants(kernel)).items():
        # Raises with the compiler's message if it does not.
        gpu.native_device()._device.create_shader_module(label=label, code=code)


@pytest.mark.parametrize("kernel", kernels.names())
def test_compiles_under_tint_without_a_message(kernel: str) -> None:
    messages = tint_messages()
    said = {v.label: messages[v.label] for v in variants(kernel)}
    assert not {label: texts for label, texts in said.items() if texts}


def test_tint_rejects_a_barrier_that_naga_lets_pass() -> None:
    code = Variant("softcap").code.replace(
        "let i =", "if (thread == 0u) { workgroupBarrier(); }\n  let i ="
    )
    gpu.native_device()._device.create_shader_module(label="divergent", code=code)
    messages = dawn.lint([("divergent", code)])["divergent"]
    assert any("uniform control flow" in message for message in messages)
