"""The kernel files: headers that agree with the text, and the four places of a name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.house.tree import ROOT, functions

SHADERS = ROOT / "shaders"
KERNELS = sorted(SHADERS.glob("*.wgsl"))
FORMATS = sorted((SHADERS / "quant").glob("*.wgsl"))
ALL = sorted(SHADERS.rglob("*.wgsl"))

REQUIRED = ["shapes", "bindings", "dispatch", "oracle", "tolerance"]
OPTIONAL = ["overrides", "requires", "consts", "notes", "source"]
ENTRY = re.compile(rf"^// ({'|'.join(REQUIRED + OPTIONAL)})\s{{2,}}(\S.*)$")
CONTINUATION = re.compile(r"^// {5,}(\S.*)$")
BINDING = re.compile(r"@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)")
INCLUDE = re.compile(r'^//#include "([^"]+)"(?: as \w+)?$', re.MULTILINE)
TOLERANCE = re.compile(r"exact|rtol=\S+ atol=\S+|nmse=\S+")

per_kernel = pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
per_format = pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
per_file = pytest.mark.parametrize(
    "path", ALL, ids=lambda path: path.relative_to(SHADERS).as_posix()
)


def header_lines(path: Path) -> list[str]:
    """Return the comment lines that a file opens with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("//")), None)
    return lines[:end]


@cache
def header(path: Path) -> dict[str, str]:
    """Return a kernel header's entries, continuation lines joined."""
    entries: dict[str, str] = {}
    key = ""
    for line in header_lines(path):
        if match := ENTRY.match(line):
            key = match[1]
            assert key not in entries, f"{path.name}: two {key!r} entries"
            entries[key] = match[2].strip()
        elif key and (match := CONTINUATION.match(line)):
            entries[key] += " " + match[1].strip()
        else:
            assert not key, f"{path.name}: cannot read the header line {line!r}"
    return entries


def text_with_includes(path: Path) -> str:
    """Return a file's text with those includes that do not depend on a slot."""

    def include(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if "{" in name else text_with_includes(SHADERS / name)

    return INCLUDE.sub(include, path.read_text(encoding="utf-8"))


@per_kernel
def test_header_has_title_and_required_entries(path):
    title = header_lines(path)[0]
    assert re.match(rf"// {path.stem} - \S.*\.$", title), title
    assert [key for key in REQUIRED if key not in header(path)] == []


@per_kernel
def test_header_bindings_are_those_of_the_text(path):
    listed = re.findall(r"(\d+) (\w+)", header(path)["bindings"])
    found = BINDING.findall(text_with_includes(path))
    assert listed == [(number, name) for number, _, name in found]
    assert [int(number) for number, _ in listed] == list(range(len(listed)))
    # The baseline of WebGPU: what has more must ask for it, which no kernel does.
    assert sum("storage" in kind for _, kind, _ in found) <= 8


@per_kernel
def test_header_overrides_are_those_of_the_text(path):
    listed = re.findall(r"\b([A-Z][A-Z0-9_]*):", header(path).get("overrides", ""))
    found = re.findall(
        r"^(?:@id\(\d+\) )?override (\w+)", text_with_includes(path), re.M
    )
    assert sorted(listed) == sorted(found)


@per_kernel
def test_header_tolerance_is_machine_readable(path):
    assert TOLERANCE.match(header(path)["tolerance"])


@per_kernel
def test_every_name_of_the_header_consts_is_used(path):
    text = text_with_includes(path)
    for name in re.findall(r"\b([A-Z][A-Z0-9_]*):", header(path).get("consts", "")):
        assert len(re.findall(rf"\b{name}\b", text)) > 1, name


@per_kernel
def test_kernel_has_a_method(path):
    modules = (ROOT / "pyodide_app/graph").glob("kernels_*.py")
    assert path.stem in set().union(*map(functions, modules))


@per_kernel
def test_kernel_has_a_reference(path):
    # Mostly oracle.ops.<kernel>; the sampler's is the driver's exact host reference.
    reference = re.match(r"[\w.]+", header(path)["oracle"])
    assert reference is not None
    module, _, name = reference[0].rstrip(".").rpartition(".")
    assert name in functions(ROOT / f"{module.replace('.', '/')}.py")


@per_kernel
def test_kernel_has_tests(path):
    assert (ROOT / f"tests/shaders/test_{path.stem}.py").is_file()


@per_format
def test_format_defines_a_block(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^const BLOCK_SIZE\b", text, re.M)
    assert re.search(r"^const BLOCK_BYTES\b", text, re.M)
    assert re.search(r"^fn dequant\(", text, re.M)
    assert re.search(r"^fn dequant4\(", text, re.M)


@per_file
def test_file_opens_with_what_it_is(path):
    first = header_lines(path)[0]
    assert re.match(r"// \S", first), first


@per_file
def test_text_enables_nothing_itself(path):
    # Only the host knows what its compiler wants: the same text must suit both.
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(enable|requires)\b.*;", text, re.M)


@per_file
def test_includes_exist(path):
    for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
        pattern = re.sub(r"\{\w+\}", "*", name)
        assert list(SHADERS.glob(pattern)), name


def test_there_are_kernels_and_formats():
    assert KERNELS
    assert FORMATS
