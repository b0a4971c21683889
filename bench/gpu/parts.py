"""What is run on a GPU, in the order of its worth, and how long each part may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tools.environment import ROOT

_FOLDERS = (ROOT / "tests/golden/moe/models", ROOT / "tests/golden/models")
GOLDEN = [file for folder in _FOLDERS for file in sorted(folder.glob("*.gguf"))]
IDS = "2,10,11,12,13,14,15,16"
SIZES = ("e2b", "26b-a4b", "31b", "12b", "e4b")  # of what a run that is cut off loses


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run."""

    is_quick: bool
    golden: tuple[Path, ...]
    models: tuple[str, ...]  # whole steps of them
    kernels: tuple[str, ...]  # sizes whose kernels are looked at one by one
    replies: tuple[str, ...]  # sizes with weights
    contexts: str
    context: int  # of kernels and profiles
    prompt: int  # tokens of the pass whose kernels are looked at
    n: int  # tokens of a reply
    layers: int | None
    patience: int = 1  # by how much the limits of the parts are longer


FULL = Scale(
    is_quick=False,
    golden=tuple(GOLDEN),
    models=SIZES,
    kernels=("e2b", "26b-a4b"),
    replies=("e2b", "26b-a4b"),
    contexts="16,4096",
    context=4096,
    prompt=256,
    n=128,
    layers=None,
)
QUICK = Scale(
    is_quick=True,
    golden=tuple(GOLDEN[:1]),
    models=("e2b",),
    kernels=("e2b",),
    replies=("e2b",),
    contexts="16",
    context=64,
    prompt=8,
    n=3,
    layers=1,
    patience=4,  # software may share its processor with others
)


@dataclass(frozen=True, slots=True)
class Part:
    """A process: its name in the report, its arguments, and its limit in seconds."""

    name: str
    arguments: tuple[str, ...]
    limit: float
    has_json: bool = True
    on_dawn: bool = False

    def is_called(self, name: str) -> bool:
        """Tell whether a name is this part's, or that of its family."""
        return self.name == name or self.name.startswith(f"{name}-")


ADAPTER = Part("adapter", ("-m", "bench.adapter"), 60)


def every(scale: Scale) -> tuple[Part, ...]:
    """Return all parts, that which the others need first."""
    found = (ADAPTER, *right(scale), *fast(scale), *rest(scale))
    return tuple(replace(p, limit=scale.patience * p.limit) for p in found)


def right(scale: Scale) -> Iterator[Part]:
    """Yield whole models next to the oracle."""
    for file in scale.golden:
        yield _diff(f"diff-{file.stem.partition('-')[0]}", file)


def fast(scale: Scale) -> Iterator[Part]:
    """Yield what needs no weights: steps, kernels, where time goes, what could be."""
    common = ("--context", str(scale.context))
    cut = _cut(scale)
    steps = ("-m", "bench.steps", "--contexts", scale.contexts, *cut)
    kernels = ("-m", "bench.kernels", *scale.kernels, *common)
    yield Part("steps", (*steps, *scale.models), 110)
    yield Part("kernels", kernels, 70)
    yield Part("profile", ("-m", "bench.profile", *scale.kernels, *common, *cut), 45)
    # It ends by itself, for each change is worth as much as the next.
    tried = ("--seconds", "4" if scale.is_quick else "90")
    sweep = ("-m", "bench.sweep", *scale.kernels, *common, *cut, *tried)
    yield Part("sweep", sweep, 100)


def rest(scale: Scale) -> Iterator[Part]:
    """Yield replies with weights, prompts, the page's own GPU code, and the tests."""
    first, *others = (_replies(scale, model) for model in scale.replies)
    yield first
    prompt = ("--context", str(scale.context), "--prompt", str(scale.prompt))
    yield Part("prompt", ("-m", "bench.kernels", *scale.kernels, *prompt), 60)
    yield _diff("dawn-diff", scale.golden[-1], on_dawn=True)
    steps = ("-m", "bench.steps", scale.models[0], "--contexts", scale.contexts)
    yield Part("dawn-steps", (*steps, *_cut(scale)), 75, on_dawn=True)
    yield from others
    tests = ("tests/shaders/test_copy.py",) if scale.is_quick else ("tests/shaders",)
    # The machine's pytest may be another than ours, and know none of our settings.
    options = ("-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib")
    yield Part(
        "shaders",
        (
            *("-m", "pytest", *tests, "-q", "--maxfail=10", *options),
            *("--noconftest", "-p", "no:cacheprovider"),
            "--ignore=tests/shaders/test_dawn.py",
        ),
        300,
        has_json=False,
    )


def _diff(name: str, file: Path, *, on_dawn: bool = False) -> Part:
    command = ("-m", "tests.diff", str(file), "--ids", IDS, "--most", "6")
    return Part(name, command, 45, has_json=False, on_dawn=on_dawn)


def _replies(scale: Scale, model: str) -> Part:
    command = ("-m", "bench.replies", model, "--contexts", scale.contexts)
    many = ("-n", str(scale.n), "--repeats", "1")
    return Part(f"replies-{model}", (*command, *many, *_cut(scale)), 150)


def _cut(scale: Scale) -> tuple[str, ...]:
    return () if scale.layers is None else ("--layers", str(scale.layers))
