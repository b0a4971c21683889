"""Finds golden data: the committed part, and a larger set where there is one."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from oracle.gguf_file import GGUFFile

GOLDEN_COMMITTED = Path(__file__).resolve().parents[1] / "golden"
PROMPTS = ("p1", "p20", "p80")

# Files whose numbers are those of another: the same values in another type, or other
# metadata around the same tensors.
SAME_NUMBERS = {"f16": "f32", "bf16": "f32", "ollama-q8_0": "q8_0"}


def golden_roots() -> list[Path]:
    """Return the folders that hold golden data, the committed one first.

    Raises: FileNotFoundError when LAPIDARY_GOLDEN names no folder.
    """
    named = os.environ.get("LAPIDARY_GOLDEN")
    if named and not Path(named).is_dir():
        raise FileNotFoundError(f"LAPIDARY_GOLDEN={named} is no folder")
    beside = GOLDEN_COMMITTED.parents[2] / "shared" / "golden"
    larger = Path(named) if named else beside
    return [GOLDEN_COMMITTED] + ([larger] if larger.is_dir() else [])


def find(relative: str) -> Path | None:
    """Return the first file of that name under a root, None without one."""
    candidates = (root / relative for root in golden_roots())
    return next((path for path in candidates if path.is_file()), None)


def require(relative: str) -> Path:
    """Return the first file of that name under a root.

    Raises: FileNotFoundError.
    """
    path = find(relative)
    if path is None:
        raise FileNotFoundError(f"{relative} is in none of {golden_roots()}")
    return path


@functools.lru_cache(maxsize=8)
def load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of a file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@dataclass(frozen=True, slots=True)
class Case:
    """A golden model in one type: its file, and the numbers it must give."""

    model: str
    type: str

    @property
    def id(self) -> str:
        """Return the stem of the file's name."""
        return f"{self.model}-{self.type}"

    @property
    def gguf(self) -> Path:
        """Return the model's file."""
        return require(f"models/{self.id}.gguf")

    @property
    def npz_name(self) -> str:
        """Return where its numbers lie, under a root."""
        numbers = SAME_NUMBERS.get(self.type, self.type)
        return f"logits/{self.model}-{numbers}.npz"

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all its numbers (golden/README.md says which)."""
        return load_npz(require(self.npz_name))

    def ids(self, prompt: str) -> list[int]:
        """Return a prompt's token ids."""
        return [int(i) for i in self.arrays[f"ids_{prompt}"]]

    def exact(self, prompt: str) -> npt.NDArray[np.float32]:
        """Return the target logits of a prompt, [n_tokens, n_vocab]."""
        return self.arrays[f"exact_{prompt}"]

    def greedy(self, prompt: str) -> list[int]:
        """Return the 32 greedy tokens after p20 or p80."""
        return [int(i) for i in self.arrays[f"exact_greedy_{prompt}"]]

    def __str__(self) -> str:
        return self.id


def cases(model: str | None = None) -> list[Case]:
    """List every model and type that has a file and numbers, sorted."""
    names = {p.stem for root in golden_roots() for p in root.glob("models/*.gguf")}
    found = [Case(*name.split("-", 1)) for name in sorted(names)]
    wanted = [case for case in found if model in (None, case.model)]
    return [case for case in wanted if find(case.npz_name)]


def committed_cases() -> list[Case]:
    """List the cases that every clone has: one of each model family."""
    names = sorted(p.stem for p in (GOLDEN_COMMITTED / "models").glob("*.gguf"))
    return [Case(*name.split("-", 1)) for name in names]


@dataclass(frozen=True, slots=True)
class FamilyCase:
    """A toy model of another architecture, and the numbers it must give."""

    name: str
    PROMPTS: ClassVar[tuple[str, ...]] = ("p1", "p24", "p100")
    GREEDY: ClassVar[tuple[str, str]] = ("greedy_{}", "greedy_margin_{}")

    @property
    def gguf(self) -> Path:
        """Return the model's file."""
        return require(f"families/{self.name}-q8_0.gguf")

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all its numbers (golden/README.md says which)."""
        return load_npz(require(f"families/{self.name}-q8_0.npz"))

    @property
    def architecture(self) -> str:
        """Return what the file says."""
        return str(GGUFFile(self.gguf).metadata["general.architecture"])

    @property
    def chat(self) -> str:
        """Return the prompt of middle length."""
        return self.PROMPTS[1]

    @property
    def long(self) -> str:
        """Return the longest prompt."""
        return self.PROMPTS[2]

    def ids(self, prompt: str) -> list[int]:
        """Return a prompt's token ids."""
        return [int(i) for i in self.arrays[f"ids_{prompt}"]]

    def exact(self, prompt: str) -> npt.NDArray[np.float32]:
        """Return the target logits of a prompt, [n_tokens, n_vocab]."""
        return self.arrays[f"exact_{prompt}"]

    def greedy(self) -> tuple[list[int], npt.NDArray[np.float32]]:
        """Return 32 greedy tokens after `chat`, and by how much each is the best."""
        tokens, margins = (self.arrays[key.format(self.chat)] for key in self.GREEDY)
        return [int(i) for i in tokens], margins

    def __str__(self) -> str:
        return self.name


class RoutedCase(FamilyCase):
    """A toy model with experts, in one type: `name` has it."""

    PROMPTS = PROMPTS
    GREEDY = ("exact_greedy_{}", "exact_greedy_{}_margin")

    @property
    def gguf(self) -> Path:
        """Return the model's file."""
        return require(f"moe/models/{self.name}.gguf")

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all its numbers (golden/README.md says which)."""
        return load_npz(require(f"moe/golden/{self.name}.npz"))


def families() -> list[FamilyCase]:
    """List every toy model of another architecture that there is, sorted."""
    return _families(golden_roots())


def committed_families() -> list[FamilyCase]:
    """List those that every clone has."""
    return _families([GOLDEN_COMMITTED])


def _families(roots: Sequence[Path]) -> list[FamilyCase]:
    dense = {path.stem for root in roots for path in root.glob("families/*.gguf")}
    routed = {path.stem for root in roots for path in root.glob("moe/models/*.gguf")}
    return [
        *(FamilyCase(name.removesuffix("-q8_0")) for name in sorted(dense)),
        *(RoutedCase(name) for name in sorted(routed)),
    ]


def nodes(model: str) -> dict[str, npt.NDArray[Any]] | None:
    """Return llama.cpp's graph nodes of a model's p20, None where they are absent."""
    path = find(f"logits/{model}-f32.nodes-p20.npz")
    return None if path is None else load_npz(path)


def mutations() -> dict[str, dict[str, dict[str, Any]]] | None:
    """Return how far deliberate mistakes move the logits, None where absent."""
    path = find("mutations.json")
    return None if path is None else json.loads(path.read_text("utf-8"))
