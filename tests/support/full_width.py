"""The oracle for models of full width: it never holds all experts of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.gemma4 import Gemma4

PROMPT = [2, 105, 2364, 107]  # <bos><|turn>user\n


class Experts:
    """An expert tensor whose matrices are dequantised when they are used."""

    def __init__(self, oracle: Gemma4, name: str) -> None:
        self.shape = oracle.file.tensors[name].shape
        self._file, self._name = oracle.file, name

    def __getitem__(self, expert: int) -> np.ndarray:
        n_rows = self.shape[1]
        return self._file.rows(self._name, expert * n_rows, (expert + 1) * n_rows)


class WideGemma4(Gemma4):
    """The oracle, never holding all the experts of a layer in float64."""

    def _weight(self, name: str, layer: int | None = None) -> Any:
        if "_exps.weight" in name:
            return Experts(self, self._name(name, layer or 0))
        return super()._weight(name, layer)
