"""Models with routed layers: toys of every kind against the oracle, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oracle.families import open_model
from pyodide_app import errors
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.models.native import greedy, logits, opened, trace
from tests.samples import routed_toys
from tests.samples.routed_toys import RoutedToy, Tensors
from tests.samples.toy_models import IDS
from tests.support.compare import relative_l2

F32_L2 = 5e-5
TOYS = {
    "apart": RoutedToy(),
    "fused": RoutedToy(fused=True),
    "llama": RoutedToy("llama", n_experts=8),
    "llama fused": RoutedToy("llama", fused=True),
    "one expert": RoutedToy(n_experts=1, n_used=1),
    "one of many": RoutedToy(n_experts=31, n_used=1),
    "all of five": RoutedToy(n_experts=5, n_used=5),
    "1024 experts": RoutedToy(n_experts=1024, n_used=32, ffn_dim=4),
    "an odd width": RoutedToy(n_experts=5, ffn_dim=7),
    "dense layers too": RoutedToy(n_experts=7, dense=(0, 2)),
    "raw weights": RoutedToy(keys={"expert_weights_norm": False}),
    "no width said": RoutedToy(keys={"expert_feed_forward_length": None}),
    "a scale of 0 is none": RoutedToy(keys={"expert_weights_scale": 0.0}),
    "what changes nothing": RoutedToy(
        keys={"expert_gating_func": 1, "expert_group_count": 1}
    ),
}


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])
@pytest.mark.parametrize("name", TOYS)
def test_toys_equal_the_oracle(name: str, tune: Tuning, tmp_path: Path) -> None:
    path = routed_toys.write(tmp_path / "toy.gguf", TOYS[name])
    oracle = open_model(path)
    expected = oracle.forward(IDS)
    with opened(path, tune=tune) as engine:
        assert relative_l2(logits(engine, IDS), expected.logits) < F32_L2
        assert greedy(engine, IDS, 12) == oracle.greedy(IDS, 12)
        for ids in (IDS, IDS[:1]):
            nodes = oracle.forward(ids).nodes
            for node, array in trace(engine, ids).items():
                wanted = nodes[node].reshape(array.shape)
                if "topk" in node:
                    np.testing.assert_array_equal(array, wanted)
                else:
                    assert relative_l2(array, wanted) < F32_L2, node


@pytest.mark.parametrize("name", ["apart", "fused", "llama"])
def test_prompts_in_pieces_give_the_same(name: str, tmp_path: Path) -> None:
    path = routed_toys.write(tmp_path / "toy.gguf", TOYS[name])
    ids = [1 + i * 7 % 61 for i in range(40)]
    results = []
    for chunk in (64, 7, 1):
        with opened(path, tune=replace(SOFTWARE, chunk=chunk)) as engine:
            results.append(logits(engine, ids))
    assert relative_l2(results[1], results[0]) < 1e-6  # the same kernels
    assert relative_l2(results[2], results[0]) < F32_L2


@pytest.mark.parametrize("fused", [True, False])
def test_one_expert_whose_dimension_is_left_out(fused: bool, tmp_path: Path) -> None:
    # As llama.cpp's own tools write it: a last dimension of one is no dimension.
    toy = RoutedToy(n_experts=1, n_used=1, fused=fused)
    values = routed_toys.tensors(toy)
    flat = {n: v[0] if v.shape[0] == 1 else v for n, v in values.items()}
    results = []
    for name, tensors in (("whole", values), ("flat", flat)):
        path = routed_toys.write(tmp_path / name, toy, tensors)
        with opened(path) as engine:
            results.append((logits(engine, IDS), greedy(engine, IDS, 4)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_a_router_of_zeros_takes_the_first_experts(tmp_path: Path) -> None:
    toy = RoutedToy(n_experts=6, n_used=3)
    values = routed_toys.tensors(toy)
    for name in values:
        if "ffn_gate_inp" in name:
            values[name] *= 0
    path = routed_toys.write(tmp_path / "toy.gguf", toy, values)
    with opened(path) as engine:
        found = trace(engine, IDS)
    for layer in range(routed_toys.N_LAYERS):
        assert (found[f"ffn_moe_topk-{layer}"] == [0, 1, 2]).all()
        np.testing.assert_allclose(found[f"ffn_moe_weights-{layer}"], 1 / 3, rtol=1e-6)


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "error", "text"),
    [
        (
            {"expert_used_count": 7},
            errors.FileFormatError,
            "expert_used_count: found 7; expected 1 to 6",
        ),
        ({"expert_used_count": 0}, errors.FileFormatError, "expert_used_count"),
        ({"expert_used_count": None}, errors.FileFormatError, "expert_used_count"),
        (
            {"expert_count": 1025, "expert_used_count": 8},
            errors.UnsupportedArchitectureError,
            "expert_count: found 1025; expected at most 1024",
        ),
        ({"expert_count": None}, errors.FileFormatError, "blk.0 has a router"),
        ({"expert_count": 5}, errors.ShapeError, "blk.0.ffn_gate_inp.weight"),
        ({"expert_feed_forward_length": 8}, errors.ShapeError, "blk.0.ffn_down_exps"),
        *(
            (
                {key: value},
                errors.UnsupportedArchitectureError,
                rf"{key}: found {value}; expected experts chosen by softmax",
            )
            for key, value in (
                ("expert_gating_func", 2),
                ("expert_weights_scale", 2.5),
                ("expert_group_count", 8),
                ("expert_group_used_count", 4),
                ("expert_shared_count", 1),
            )
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["qwen3moe", "llama"])
def test_sizes_and_routers_that_do_not_fit(
    architecture: str,
    keys: dict[str, int | None],
    error: type[errors.EngineError],
    text: str,
    tmp_path: Path,
) -> None:
    toy = RoutedToy(architecture, keys=keys)
    path = routed_toys.write(tmp_path / "toy.gguf", toy)
    with pytest.raises(error, match=text), opened(path):
        pass


def one_by_one(values: Tensors) -> Tensors:
    """Give each expert tensors of its own, as files of before April 2024 have."""
    apart = {n: v for n, v in values.items() if "_exps" not in n}
    for name in values.keys() - apart.keys():
        first, _, rest = name.partition("_exps")
        apart |= {f"{first}.{i}{rest}": v for i, v in enumerate(values[name])}
    return apart


def add(name: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda values: values | {name: np.ones(shape, np.float32)}


def drop(name: str) -> Callable[[Tensors], Tensors]:
    return lambda values: {n: v for n, v in values.items() if n != name}


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            one_by_one,
            errors.UnsupportedFormatError,
            r"blk.0.ffn_gate.0.weight: found a tensor for each expert, .*; expected "
            r"one for all .*ffn_gate_exps.weight. Choose a newer conversion",
        ),
        (drop("blk.1.ffn_down_exps.weight"), errors.ShapeError, "ffn_down_exps"),
        (drop("blk.2.ffn_up_exps.weight"), errors.ShapeError, "blk.2.ffn_up_exps"),
        # Without its router a layer is dense, and has no MLP.
        (drop("blk.1.ffn_gate_inp.weight"), errors.ShapeError, "blk.1.ffn_gate.weight"),
        (
            add("blk.0.exp_probs_b.bias", 6),
            errors.UnsupportedFormatError,
            "exp_probs_b",
        ),
        (
            add("blk.0.ffn_gate_inp.bias", 6),
            errors.UnsupportedFormatError,
            "ffn_gate_inp.bias",
        ),
        (
            add("blk.1.ffn_up_shexp.weight", 12, 32),
            errors.UnsupportedFormatError,
            "ffn_up_shexp",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["qwen3moe", "llama"])
def test_tensors_that_do_not_fit(
    architecture: str,
    change: Callable[[Tensors], Tensors],
    error: type[errors.EngineError],
    text: str,
    tmp_path: Path,
) -> None:
    toy = RoutedToy(architecture)
    values = change(routed_toys.tensors(toy))
    path = routed_toys.write(tmp_path / "toy.gguf", toy, values)
    with pytest.raises(error, match=text), opened(path):
        pass
