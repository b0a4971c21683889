"""The specification's toy models: odd sizes in F32, down to heads of eight."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.gemma4 import Gemma4
from tests.compare import relative_l2
from tests.models.native import logits, opened, trace
from tests.oracle.toy_models import IDS, TOY_A, TOY_B, Toy, write_toy

F32_L2 = 5e-5


@pytest.mark.parametrize("toy", [TOY_A, TOY_B], ids=["A", "B"])
def test_toys_equal_the_oracle(toy: Toy, tmp_path: Path) -> None:
    path = write_toy(tmp_path / "toy.gguf", toy)
    oracle = Gemma4.open(path).forward(list(IDS))
    with opened(path) as engine:
        assert relative_l2(logits(engine, IDS), oracle.logits) < F32_L2
        for name, array in trace(engine, IDS).items():
            expected = oracle.nodes[name].reshape(array.shape)
            assert relative_l2(array, expected) < F32_L2, name
