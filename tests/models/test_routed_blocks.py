"""Routers and experts against the modules of Hugging Face, in every kind of batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle import ops as oracle
from pyodide_app.graph.kernels_vectors import GEGLU, SWIGLU
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.tensors import Choice, Residual, Tensor
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.shaders.matrices import bench
from tests.shaders.routings import expert_slots
from tests.support.compare import relative_l2
from tests.support.golden_data import find, load_npz, require

# The golden README: an oracle in float32 is less than 3e-6 away.
BLOCK_L2 = 5e-6
WEIGHT_ATOL = 1e-6
LEAST_WEIGHT = 1e-30  # below it a choice means nothing
Arrays = Mapping[str, Any]

BLOCKS = [
    name
    for name in ("qwen3_moe_norm", "qwen3_moe_nonorm", "mixtral", "gemma4")
    if find(f"moe/blocks/{name}.npz")
]


def cases() -> list[tuple[str, str]]:
    """List every block with each of its cases."""
    found = []
    for block in BLOCKS:
        config = json.loads(load_npz(path_of(block))["config"].item())
        found += [(block, case) for case in config["cases"]]
    return found


def path_of(block: str) -> Path:
    """Return a block's file."""
    return require(f"moe/blocks/{block}.npz")


def of_case(block: str, case: str) -> dict[str, Any]:
    """Return the weights and targets of a case, by their names in the block."""
    arrays = load_npz(path_of(block))
    own = {n.removeprefix(f"{case}_"): v for n, v in arrays.items() if case in n}
    shared = {name: value for name, value in arrays.items() if name.startswith("W_")}
    return {**shared, **own, "top_k": own["ids"].shape[1]}


@pytest.mark.parametrize("tune", [SOFTWARE, HARDWARE], ids=["cpu", "gpu"])
@pytest.mark.parametrize("fused", [False, True], ids=["apart", "fused"])
@pytest.mark.parametrize(("block", "case"), cases())
def test_blocks(block: str, case: str, fused: bool, tune: Tuning) -> None:
    given = of_case(block, case)
    n_experts = given["W_router"].shape[0]
    # Gemma 4's router has a norm of its own, and its experts see something else.
    own_norm = given.get("W_router_scale")
    x = given["x"] if own_norm is None else given["xe"]
    unit = SWIGLU if own_norm is None else GEGLU
    gate_up = [given["W_gate_exps"], given["W_up_exps"]]
    if fused:
        gate_up = [np.concatenate(gate_up, axis=1)]
    with bench(tune) as on:
        slots = expert_slots(on, range(n_experts))
        placed = [on.vector(weight) for weight in gate_up]
        router, down = on.vector(given["W_router"]), on.vector(given["W_down_exps"])
        scale = given.get("W_per_expert_scale")
        choice = Choice(
            given["top_k"],
            renormalised=not block.endswith("nonorm"),
            scale=None if scale is None else on.vector(scale),
        )

        def record(ops: Ops) -> list[Tensor]:
            if own_norm is None:
                scores = ops.linear(on.tensor(x), router)
            else:
                scaled, ones = on.vectors(own_norm, np.ones_like(own_norm))
                _, h = ops.norm(Residual(on.tensor(given["x"]), 1e-6), ones)
                scores, _ = ops.expert_scores(h, router, scaled)
            hidden, routing = ops.expert_hidden(
                on.tensor(x), tuple(placed), scores, choice, slots, unit=unit
            )
            y = ops.expert_output(hidden, down, routing, slots)
            return [y, routing.idx, routing.weight]

        y, idx, weights = on.run(record, dtypes=[np.float32, np.uint32, np.float32])
    means = given["w"] > LEAST_WEIGHT
    np.testing.assert_array_equal(idx[means], given["ids"][means])
    # A rounding of a logit is one of the weight's logarithm.
    rounding = 2**-23 * min(64.0, float(np.abs(given["logits"]).max()))
    np.testing.assert_allclose(weights, given["w"], rtol=rounding, atol=WEIGHT_ATOL)
    assert relative_l2(y, given["y"]) < BLOCK_L2


@pytest.mark.parametrize("block", BLOCKS)
def test_buckets(block: str) -> None:
    arrays = load_npz(path_of(block))
    n_experts = arrays["W_router"].shape[0]
    found = oracle.expert_sort(arrays["T64_ids"], n_experts)
    for name, got in zip(("offsets", "token", "perm"), found, strict=True):
        np.testing.assert_array_equal(got, arrays[f"T64_bucket_{name}"])
