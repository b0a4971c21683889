"""Kernel texts: what includes, slots, prefixes and consts make of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pyodide_app.graph import kernels
from pyodide_app.graph.kernels import Variant

CACHED = (kernels.read_source, kernels.load, kernels.expand, kernels.slots_of)


@pytest.fixture
def shaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder of kernels of our own."""
    monkeypatch.setattr(kernels, "SHADERS", tmp_path)
    for cached in CACHED:
        cached.cache_clear()
    yield tmp_path
    for cached in CACHED:
        cached.cache_clear()


def write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_puts_includes_in_place_and_consts_in_front(shaders: Path) -> None:
    write(
        shaders,
        {
            "double.wgsl": '//#include "quant/{weight}.wgsl"\nfn main() {}\n',
            "quant/a.wgsl": '//#include "common/b.wgsl"\nfn a() {}',
            "common/b.wgsl": "fn b() {}",
        },
    )
    code = Variant("double", (("weight", "a"),), (("N", 4),)).code
    assert code == "const N = 4u;\nfn b() {}\nfn a() {}\nfn main() {}\n"


def test_prefixes_what_a_file_declares_and_nothing_else(shaders: Path) -> None:
    declarations = (
        "const SIZE: u32 = 8u;\n"
        "alias Word = vec2<u32>;\n"
        "var<workgroup> parts: array<f32, SIZE>;\n"
        "fn read(i: u32) -> f32 {\n"
        "  let size = SIZE + LANES + other.SIZE + SIZES;\n"
        "  return x4(i).x * parts[weight[i]] + f32(Word(i).y) + re_read(size);\n"
        "}"
    )
    write(
        shaders,
        {
            "two.wgsl": '//#include "a.wgsl" as q\n//#include "a.wgsl" as k\n',
            "a.wgsl": declarations,
        },
    )
    first, second = Variant("two").code.split("}\n")[:2]
    assert first == (
        "const q_SIZE: u32 = 8u;\n"
        "alias q_Word = vec2<u32>;\n"
        "var<workgroup> q_parts: array<f32, q_SIZE>;\n"
        "fn q_read(i: u32) -> f32 {\n"
        "  let size = q_SIZE + LANES + other.SIZE + SIZES;\n"
        "  return x4(i).x * q_parts[q_weight[i]] + f32(q_Word(i).y) + re_read(size);\n"
    )
    assert second == first.replace("q_", "k_")


def test_files_of_one_prefix_see_each_other_and_what_they_include(
    shaders: Path,
) -> None:
    write(
        shaders,
        {
            "product.wgsl": (
                '//#include "dot.wgsl" as k\n//#include "{format}.wgsl" as k\nmain\n'
            ),
            "dot.wgsl": "fn dot_row() { dequant(lane()); }",
            "halves.wgsl": '//#include "bytes.wgsl"\nfn dequant() { byte(); }',
            "bytes.wgsl": "fn byte() {}",
        },
    )
    assert Variant("product", (("format", "halves"),)).code == (
        "fn k_dot_row() { k_dequant(lane()); }\n"
        "fn k_byte() {}\nfn k_dequant() { k_byte(); }\nmain\n"
    )


def test_without_a_prefix_names_stay(shaders: Path) -> None:
    write(
        shaders,
        {
            "mixed.wgsl": '//#include "a.wgsl"\n//#include "a.wgsl" as q\nread();\n',
            "a.wgsl": "fn read() { weight[0]; }",
        },
    )
    assert Variant("mixed").code == (
        "fn read() { weight[0]; }\nfn q_read() { q_weight[0]; }\nread();\n"
    )


def test_a_slot_that_is_left_open_is_the_baseline(
    shaders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "BASELINE", {"sum": "plain"})
    write(
        shaders,
        {
            "norm.wgsl": '//#include "common/sum.wgsl"\nmain\n',
            "common/sum.wgsl": '//#include "common/sum_{sum}.wgsl"',
            "common/sum_plain.wgsl": "fn sum() {}",
            "common/sum_quick.wgsl": (
                '// needs subgroups\n//#include "common/half.wgsl"\nfn sum() {}'
            ),
            "common/half.wgsl": "// needs shader-f16\nalias Half = f16;",
        },
    )
    plain, quick = Variant("norm"), Variant("norm", (("sum", "quick"),))
    assert plain.code == plain.code_for(["subgroups", "shader-f16"])
    assert plain.code == "fn sum() {}\nmain\n" and plain.features == ()
    assert quick.features == ("shader-f16", "subgroups")
    assert quick.code_for([]) == quick.code
    assert quick.code_for(["shader-f16", "other"]) == f"enable f16;\n{quick.code}"
    both = quick.code_for(["subgroups", "shader-f16"])
    assert both == f"enable f16;\nenable subgroups;\n{quick.code}"
    assert kernels.slots_of("norm", ()) == {"sum"}
