"""What is carried to a machine without network: names, folders, sizes."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.environment import NODE_WHEEL, ROOT

FOLDER = ROOT / ".gpu"
WHEELS, DAWN = FOLDER / "wheels", FOLDER / "dawn"
LIBRARIES = FOLDER / "libraries.zip"
COMMIT = FOLDER / "commit"
NODE, DAWN_NODE = DAWN / "node.xz", DAWN / "dawn.node.xz"
DAWN_TEXTS = ("index.js", "package.json")

MEGABYTE = 1 << 20
MOST = 64 * MEGABYTE  # of what travels, the repository's own files included
PYTHON = (3, 12)  # of the machine, besides the one that runs here
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)),
    *("manylinux2014_x86_64", "manylinux1_x86_64"),
)
# Vulkan's loader, and what NVIDIA's driver is linked to.
DEBS = tuple("libvulkan1 libegl1 libglvnd0 libopengl0 libgl1 libglx0 libgles2".split())


def commit() -> str:
    """Return the commit whose files these are, where it was carried."""
    return COMMIT.read_text("utf-8").strip() if COMMIT.exists() else "unknown"


def requirements(*, numpy: bool) -> list[str]:
    """Return the packages to be carried, as pyproject.toml pins them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    of_dev = project["optional-dependencies"]["dev"]
    more = [each for each in of_dev if numpy and each.startswith("numpy==")]
    return [*project["dependencies"], *more]


def node_wheel() -> str:
    """Return the wheel that holds Node itself."""
    name, _, version = NODE_WHEEL.partition("==")
    return f"{name}-binaries=={version}"


def pythons() -> list[tuple[int, int]]:
    """Return the versions to carry packages for."""
    return list(dict.fromkeys([PYTHON, sys.version_info[:2]]))


def download(wanted: Sequence[str], version: tuple[int, int], to: Path) -> list[str]:
    """Return pip's arguments that fetch wheels, and what they need, for a Python."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    return [
        *("--disable-pip-version-check", "download", "-qq"),
        *("--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", ".".join(map(str, version)), *platforms),
        *("--dest", str(to), *wanted),
    ]


def fitting(names: Sequence[str], version: tuple[int, int]) -> list[str]:
    """Return the wheels that a Python on Linux can use, by their tags."""
    return [name for name in names if _fits(name, version)]


def _fits(name: str, version: tuple[int, int]) -> bool:
    python, abi = name.removesuffix(".whl").split("-")[-3:-1]
    exact = "cp{}{}".format(*version)
    tags = python.split(".")
    if abi == "abi3":  # of that minor version or an older one
        oldest = min(int(tag.removeprefix(f"cp{version[0]}")) for tag in tags)
        return oldest <= version[1]
    return exact in tags or f"py{version[0]}" in tags


def sizes() -> dict[str, int]:
    """Return what lies in the folder, by name."""
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    return {p.relative_to(FOLDER).as_posix(): p.stat().st_size for p in files}


def missing(found: Sequence[str], *, dawn: bool, numpy: bool) -> Iterator[str]:
    """Yield what should be in the folder and is not."""
    wheels = [Path(name).name for name in found if name.endswith(".whl")]
    for version in pythons():
        here = {re.split(r"-", name)[0] for name in fitting(wheels, version)}
        for wanted in requirements(numpy=numpy):
            name = wanted.partition("==")[0]
            if name not in here:
                yield f"{name} for Python {version[0]}.{version[1]}"
    others = [LIBRARIES, COMMIT]
    if dawn:
        others += [NODE, DAWN_NODE, *(DAWN / name for name in DAWN_TEXTS)]
    for path in others:
        if path.relative_to(FOLDER).as_posix() not in found:
            yield path.name


def summary(found: dict[str, int], tree: int) -> str:
    """Say what is to be carried, and whether it is too much."""
    lines = [f"{size / MEGABYTE:8.2f} MiB  .gpu/{name}" for name, size in found.items()]
    carried = sum(found.values())
    lines.append(
        f"carry .gpu: {carried / MEGABYTE:.1f} MiB; with the repository's own files "
        f"{(carried + tree) / MEGABYTE:.1f} MiB"
    )
    if carried + tree > MOST:
        lines.append(f"that is more than the {MOST // MEGABYTE} MiB that may travel")
    return "\n".join(lines)
