"""The embedded model: this engine and the oracle give what Hugging Face gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from demo import evaluate
from demo.chat_text import reply_text
from demo.engine import answer
from oracle.gemma4 import Gemma4
from oracle.gguf_file import GGUFFile
from pyodide_app.gguf.sources import FileSource
from pyodide_app.run.engine import Engine
from tests.models.native import generate, greedy, logits, opened
from tests.support.compare import relative_l2

DEMO = Path(__file__).resolve().parents[2] / "demo"
MODEL = DEMO / "lapidary-demo.gguf"
MEGABYTE = 1 << 20

# float32 sums in another order, as tests/golden/README.md has it for any file.
TOLERANCE = 5e-5
# Two candidates nearer than this may change places between two float32 sums.
MARGIN = 5e-3


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DEMO / "golden" / "demo.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with opened(MODEL) as engine:
        yield engine


def ids_of(array: np.ndarray) -> list[int]:
    return [int(token) for token in array]


def prompts_with_logits(golden: dict[str, np.ndarray]) -> list[tuple]:
    found = [name for name in golden if name.startswith("logits_ids_")]
    return [(ids_of(golden[n]), golden[n.replace("_ids", "")]) for n in sorted(found)]


def test_file_is_small():
    assert MODEL.stat().st_size < 16 * MEGABYTE
    assert (DEMO / "golden" / "demo.npz").stat().st_size < 2 * MEGABYTE


def test_file_is_a_gemma_4_with_experts():
    file = GGUFFile(MODEL)
    sliding = file.metadata["gemma4.attention.sliding_window_pattern"]
    assert file.metadata["general.name"] == "Lapidary demo"
    assert file.metadata["gemma4.expert_count"] == 8
    assert file.metadata["gemma4.expert_used_count"] == 2
    assert True in sliding and sliding[-1] is False
    layers = range(file.metadata["gemma4.block_count"])
    scales = [
        float(file.tensor(f"blk.{i}.layer_output_scale.weight")[0]) for i in layers
    ]
    assert all(scale != 1 for scale in scales)
    for i in layers:
        # Global layers take their values from the keys' projection.
        assert (f"blk.{i}.attn_v.weight" in file.tensors) == sliding[i]
        assert file.tensors[f"blk.{i}.ffn_gate_up_exps.weight"].format.name == "Q8_0"


def test_logits_are_hugging_faces(engine, golden):
    prompts = prompts_with_logits(golden)
    assert max(len(ids) for ids, _ in prompts) > 64  # a sliding window
    for ids, exact in prompts:
        got = logits(engine, ids)
        assert relative_l2(got, exact) < TOLERANCE
        assert (got.argmax(-1) == exact.argmax(-1)).all()


def test_oracle_gives_the_same_logits(golden):
    oracle = Gemma4.open(MODEL)
    for ids, exact in prompts_with_logits(golden):
        assert relative_l2(oracle.forward(ids).logits, exact) < TOLERANCE


@pytest.mark.parametrize("i", range(20))
def test_greedy_reply_is_hugging_faces(engine, golden, i):
    expected, margins = ids_of(golden[f"greedy_{i}"])[:32], golden[f"margin_{i}"][:32]
    sure = (
        int(np.argmax(margins < MARGIN)) if (margins < MARGIN).any() else len(margins)
    )
    assert sure >= 8
    got = greedy(engine, ids_of(golden[f"ids_{i}"]), len(expected))
    assert got[:sure] == expected[:sure]


def test_chat_prompts_are_those_of_training(engine, golden):
    requests = [json.loads(str(text)) for text in golden["requests"]]
    assert len(requests) == 20
    for i, request in enumerate(requests):
        ids, _ = engine.encode_chat(**request)
        assert ids == ids_of(golden[f"ids_{i}"])


def test_replies_end_by_themselves(engine, golden):
    ends = [
        generate(engine, ids_of(golden[f"ids_{i}"]), max_tokens=160).reason
        for i in range(5)
    ]
    assert ends == ["stop"] * 5


def test_most_held_out_questions_are_answered_right():
    """One of every other kind of task; the card has the figures of thousands."""
    from tests.support.gpu import device

    items = evaluate.questions(len(evaluate.MIX), seed=7)[::2]
    with closing(FileSource(str(MODEL))) as source:
        engine = asyncio.run(Engine.load([source], device()))
        with closing(engine):
            replies = [asyncio.run(answer(engine, item, 0)) for item in items]
    right = [
        evaluate.is_right(item, 0, r) for item, r in zip(items, replies, strict=True)
    ]
    wrong = [
        (reply_text(item, 0), reply)
        for item, reply, good in zip(items, replies, right, strict=True)
        if not good
    ]
    assert len(wrong) <= len(items) // 10, wrong
