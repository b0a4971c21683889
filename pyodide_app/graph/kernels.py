"""Kernels: a .wgsl file's parsed header, and the text of one specialised variant.

The header of a kernel file is read by the machine (bindings, overrides, consts), so it
cannot rot. Four things may vary, in this order of preference: a field of `Params`, an
`override`, an include slot (`//#include "quant/{weight}.wgsl"`), another kernel file.

A slot that a variant leaves open stands for what every device can run: see BASELINE. A
file that needs more says so in its header, as in `// needs subgroups`. The `enable`
lines for that are the device's affair: compilers differ in which they want.

A kernel that needs one file twice includes it `as` something: what such files declare,
and the binding `weight` that formats read, is then named with that prefix. So
`//#include "quant/{q}.wgsl" as q` reads `q_weight` and gives `q_dequant`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache

from pyodide_app.resources import SHADERS

# Slots that say how a kernel works, not on what; see graph/tuning.py for the others.
BASELINE = {
    "lanes": "workgroup",
    "reduce": "workgroup",
    "element": "f32",
    "four": "looped",
    "precision": "f32",
}
# What WGSL calls the features that files may need, by WebGPU's names for them.
FEATURES = {"subgroups": "subgroups", "shader-f16": "f16"}
INCLUDE = re.compile(r'^//#include "([^"]+)"(?: as (\w+))?$', re.MULTILINE)
_BINDING = re.compile(
    r"@group\(0\) @binding\((\d+)\)\s+var<(uniform|storage, read_write|storage, read)>"
    r"\s+(\w+)\s*:"
)
_PARAMS = re.compile(r"struct Params \{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+): (u32|i32|f32),", re.MULTILINE)
_OVERRIDE = re.compile(r"^override (\w+): (?:u32|f32|bool)", re.MULTILINE)
_DECLARED = re.compile(
    r"^(?:fn|const|override|alias|struct|var(?:<[^>]*>)?)\s+(\w+)", re.MULTILINE
)
_NEEDS = re.compile(r"^// needs (\S+)$", re.MULTILINE)
_SLOT = re.compile(r"\{(\w+)\}")
_CODES = {"u32": "I", "i32": "i", "f32": "f"}


@dataclass(frozen=True, slots=True)
class Binding:
    """One resource of a kernel: its number, its name, and how it is accessed."""

    number: int
    name: str
    access: str  # "uniform" | "read" | "read_write"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel file, parsed."""

    name: str
    source: str
    bindings: tuple[Binding, ...]
    fields: tuple[tuple[str, str], ...]  # of struct Params: (name, struct code)
    overrides: tuple[str, ...]
    consts: tuple[str, ...]

    def pack(self, values: Mapping[str, int | float]) -> bytes:
        """Pack the uniform `Params`; every field must be given and no other."""
        if set(values) != {name for name, _ in self.fields}:
            raise ValueError(
                f"{self.name}: params {sorted(values)}, "
                f"needs {sorted(n for n, _ in self.fields)}"
            )
        codes = "".join(code for _, code in self.fields)
        packed = struct.pack(f"<{codes}", *(values[name] for name, _ in self.fields))
        return packed + bytes(-len(packed) % 16)


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel with its slots, consts and overrides chosen: the pipeline's key."""

    kernel: str
    slots: tuple[tuple[str, str], ...] = ()
    consts: tuple[tuple[str, int], ...] = ()
    overrides: tuple[tuple[str, int], ...] = ()

    @property
    def label(self) -> str:
        """Return the variant's name, as in `matvec:q4_k:LANES=8`."""
        parts = [self.kernel, *(value for _, value in self.slots)]
        numbers = [*self.consts, *self.overrides]
        return ":".join([*parts, *(f"{name}={value}" for name, value in numbers)])

    @property
    def code(self) -> str:
        """Return the WGSL text after include expansion, consts in front."""
        return expand(self.kernel, self.slots, self.consts)

    @property
    def features(self) -> tuple[str, ...]:
        """Return the features of WebGPU that it needs and not every device has."""
        return tuple(sorted(set(_NEEDS.findall(self.code))))

    def code_for(self, enabled: Container[str]) -> str:
        """Return the text for a compiler that wants these features enabled in it."""
        wanted = [FEATURES[name] for name in self.features if name in enabled]
        return "".join(f"enable {name};\n" for name in wanted) + self.code


def header_value(source: str, key: str) -> str:
    """Return what stands behind `key` in a kernel's header comment, or ''."""
    found = re.search(rf"^//   ?{key}\s+(.*)$|^// {key}\s+(.*)$", source, re.MULTILINE)
    return (found.group(1) or found.group(2)).strip() if found else ""


@cache
def read_source(path: str) -> str:
    """Return the text of a file below shaders/."""
    return (SHADERS / path).read_text(encoding="utf-8")


@cache
def load(name: str) -> Kernel:
    """Parse one kernel file."""
    source = read_source(f"{name}.wgsl")
    params = _PARAMS.search(source)
    consts = header_value(source, "consts")
    return Kernel(
        name,
        source,
        tuple(
            Binding(int(number), binding, access.removeprefix("storage, "))
            for number, access, binding in _BINDING.findall(source)
        ),
        tuple(
            (field, _CODES[kind])
            for field, kind in (_FIELD.findall(params.group(1)) if params else ())
        ),
        tuple(_OVERRIDE.findall(source)),
        tuple(re.findall(r"(\w+):", consts)),
    )


@cache
def expand(
    name: str, slots: tuple[tuple[str, str], ...], consts: tuple[tuple[str, int], ...]
) -> str:
    """Return a kernel's text with includes in place and consts in front."""
    source, values = load(name).source, BASELINE | dict(slots)
    declared: dict[str, set[str]] = {}  # by prefix, over all files of that prefix
    for path, prefix in INCLUDE.findall(source):
        found = _DECLARED.findall(_with_includes(path, values))
        declared.setdefault(prefix, {"weight"}).update(found)

    def include(match: re.Match[str]) -> str:
        path, prefix = match.groups()
        text = _with_includes(path, values)
        return _with_prefix(text, prefix, declared[prefix]) if prefix else text

    lines = [f"const {const} = {value}u;" for const, value in consts]
    return "\n".join([*lines, INCLUDE.sub(include, source)])


@cache
def slots_of(name: str, slots: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """Return the names of the slots in a kernel's files, which these choose."""
    values, found, left = BASELINE | dict(slots), set[str](), [f"{name}.wgsl"]
    while left:
        for path, _ in INCLUDE.findall(read_source(left.pop())):
            found.update(_SLOT.findall(path))
            left.append(path.format(**values))
    return frozenset(found)


def _with_includes(path: str, slots: Mapping[str, str]) -> str:
    """Return a file's text with the files that it includes, by the same slots."""
    source = read_source(path.format(**slots))
    return INCLUDE.sub(lambda match: _with_includes(match[1], slots), source)


def _with_prefix(text: str, prefix: str, names: set[str]) -> str:
    """Name these identifiers with a prefix, all others (and members) as they are."""
    pattern = rf"(?<![.\w])(?=(?:{'|'.join(sorted(names))})\b)"
    return re.sub(pattern, f"{prefix}_", text)


def names() -> list[str]:
    """Return the names of all kernels, sorted."""
    return sorted(path.stem for path in SHADERS.glob("*.wgsl"))
