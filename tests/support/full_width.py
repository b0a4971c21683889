"""The oracle for models of full width: it never holds all experts of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oracle.decoder import Decoder
from oracle.families import FAMILIES
from oracle.gguf_file import GGUFFile

PROMPT = [2, 105, 2364, 107]  # <bos><|turn>user\n


class Experts:
    """An expert tensor whose matrices are dequantised when they are used."""

    def __init__(self, oracle: Decoder[Any], name: str) -> None:
        self.shape = oracle.file.tensors[name].shape
        self._file, self._name = oracle.file, name

    def __getitem__(self, expert: int) -> np.ndarray:
        n_rows = self.shape[1]
        return self._file.rows(self._name, expert * n_rows, (expert + 1) * n_rows)


class Wide(Decoder[Any]):
    """An oracle that never holds all the experts of a layer in float64."""

    def _weight(self, name: str, layer: int | None = None) -> Any:
        if "_exps.weight" in name:
            return Experts(self, self._name(name, layer or 0))
        return super()._weight(name, layer)


def open_wide(path: Path) -> Decoder[Any]:
    """Open a file of any family with such an oracle."""
    file = GGUFFile(path)
    family = FAMILIES[file.metadata["general.architecture"]]
    return type(f"Wide{family.__name__}", (Wide, family), {})(file)
