"""One comparison of each large kernel with the oracle, for any tuning and device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyodide_app.graph.tuning import Tuning
from tests.shaders import (
    test_attention_decode,
    test_attention_prefill,
    test_expert_down,
    test_expert_gate_up,
    test_expert_matmul,
    test_matmul,
    test_matvec,
    test_matvec_glu,
    test_matvec_many,
    test_rms_norm,
    test_router,
)

PREFILL = test_attention_prefill.Case(37, 12, kv="f16")
DECODE = test_attention_decode.Case(300, kv="f16")

CASES: dict[str, Callable[[Tuning], object]] = {
    "attention_decode": partial(test_attention_decode.check, DECODE),
    "attention_prefill": partial(test_attention_prefill.check, PREFILL),
    "expert_down": partial(test_expert_down.test_matches_the_oracle, "Q8_0"),
    "expert_gate_up": partial(test_expert_gate_up.test_matches_the_oracle, "Q4_K"),
    "expert_matmul": partial(test_expert_matmul.test_matches_the_oracle, "Q4_K"),
    "matmul": partial(test_matmul.test_matches_the_oracle, "Q4_K"),
    "matvec f16": partial(test_matvec.test_matches_the_oracle, "F16"),
    "matvec iq2_s": partial(test_matvec.test_matches_the_oracle, "IQ2_S"),
    "matvec q4_k": partial(test_matvec.test_matches_the_oracle, "Q4_K"),
    "matvec q6_k": partial(test_matvec.test_matches_the_oracle, "Q6_K"),
    "matvec_glu": partial(
        test_matvec_glu.test_multiplies_a_given_vector,
        given=False,
        unit="swiglu",
    ),
    "matvec_many": partial(test_matvec_many.test_workgroups_of_any_shape, "Q4_K"),
    "rms_norm": partial(test_rms_norm.test_matches_the_oracle, 2816),
    "router": partial(test_router.test_matches_the_oracle, "F32"),
}
