"""Kernels and a whole model on Dawn, on an llvmpipe that has f16 and subgroups.

The page's own gpu.js and replay.js run there, under the compiler of Chromium. This
llvmpipe takes seconds for a kernel of many barriers: not every pair is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, whole
from pyodide_app.graph.tuning import HARDWARE, SOFTWARE, Tuning
from tests.models.native import logits, opened
from tests.models.test_golden import F32_L2, F32_MAX
from tests.shaders import test_matvec, test_variants
from tests.shaders.kernel_cases import CASES
from tests.support import gpu
from tests.support.compare import relative_l2
from tests.support.dawn_device import DawnDevice, DawnPlan
from tests.support.golden_data import Case
from tools import lavapipe
from tools.environment import SetupError
from tools.lavapipe import FEATURES, ensure_lavapipe

# As on a GPU, but with sums no wider than subgroups of four take.
WIDE = replace(HARDWARE, threads=128)
TILED = ("expert_matmul", "matmul")  # have twins that round: compared otherwise
QUICK = ("matmul", "matvec f16", "matvec q4_k", "rms_norm")
BASELINE = [
    ("attention_decode", SOFTWARE),
    ("attention_prefill", HARDWARE),
    ("expert_matmul", HARDWARE),
    *((case, tune) for case in QUICK for tune in (SOFTWARE, HARDWARE)),
]


class Watched(DawnDevice):
    """A device that knows which variants it was asked to run."""

    ran: set[Variant]

    async def prepare(self, plan: Plan) -> DawnPlan:
        """Note what the plan launches."""
        self.ran.update(dispatch.variant for dispatch in plan.dispatches)
        return await super().prepare(plan)

    def features(self, kernel: str) -> set[str]:
        """Return what the variants of a kernel that ran need."""
        ran = (variant for variant in self.ran if variant.kernel == kernel)
        return {feature for variant in ran for feature in variant.features}

    def forced(self, tune: Tuning, *options: str) -> Tuning:
        """Return a tuning with these options, whatever they gain."""
        for option in kernel_options.OPTIONS:
            if option.name in options:
                assert not option.lacks(self.info)
                tune = option.apply(tune, self.info)
        return tune


@pytest.fixture(scope="module", name="opened_dawn")
def open_dawn() -> Iterator[Watched]:
    device = Watched(ensure_lavapipe())
    yield device
    device.close()


@pytest.fixture
def dawn(opened_dawn: Watched) -> Iterator[Watched]:
    """Have the benches and models of a test run on Dawn."""
    opened_dawn.ran = set()
    with gpu.using(opened_dawn):
        yield opened_dawn


def test_the_adapter_has_what_the_twins_need(dawn: Watched) -> None:
    assert dawn.info.features >= FEATURES
    assert dawn.info.subgroup > 1


@pytest.mark.parametrize(
    ("case", "tune"), BASELINE, ids=lambda x: getattr(x, "tile", x)
)
def test_the_baseline_matches_the_oracle(
    dawn: Watched, case: str, tune: Tuning
) -> None:
    CASES[case](tune)
    assert case.partition(" ")[0] in {variant.kernel for variant in dawn.ran}
    assert not any(variant.features for variant in dawn.ran)


@pytest.mark.parametrize("case", [case for case in CASES if case not in TILED])
def test_twins_match_the_oracle(dawn: Watched, case: str) -> None:
    CASES[case](dawn.forced(WIDE, "subgroup", "f16-kv"))
    needed = "shader-f16" if case.startswith("attention") else "subgroups"
    assert needed in dawn.features(case.partition(" ")[0])


def test_native_halves_are_the_bytes_of_packed_ones(dawn: Watched) -> None:
    test_variants.test_native_halves_are_the_bytes_of_packed_ones()
    assert dawn.features("head_norm_rope") == {"shader-f16"}


def test_a_tile_in_halves_rounds_its_weights_alone(dawn: Watched) -> None:
    test_variants.test_a_tile_in_halves_rounds_its_weights_alone("Q4_K")
    assert dawn.features("matmul") == {"shader-f16"}


def test_products_of_int8_match_the_oracle(dawn: Watched) -> None:
    test_matvec.test_multiplies_what_is_quantised_to_int8("Q4_K", "unrolled")
    assert all(("precision", "int8") in variant.slots for variant in dawn.ran)


def test_a_device_tries_its_twins_and_finds_them_right(dawn: Watched) -> None:
    # Without the keys and values, whose trial compiles many kernels: they are above.
    asked = [name for name in kernel_options.NAMES if name != "f16-kv"]
    chosen = asyncio.run(kernel_options.choose(dawn, asked))
    assert list(chosen.options) == asked and not chosen.refused


def test_a_whole_model_gives_the_golden_logits(dawn: Watched) -> None:
    case, tune = Case("moe8", "q4_k_m"), dawn.forced(WIDE, "subgroup")
    with opened(case.gguf, tune=tune) as engine:
        got, exact = logits(engine, case.ids("p20")), case.exact("p20")
    assert relative_l2(got, exact) < F32_L2
    assert np.abs(got - exact).max() < F32_MAX
    assert (got.argmax(axis=-1) == exact.argmax(axis=-1)).all()
    assert {"subgroups"} == set().union(*(variant.features for variant in dawn.ran))


def test_failures_have_the_types_of_the_page(dawn: Watched) -> None:
    buffer = Buffer("state", 16)
    broken = Variant("softcap", consts=(("let", 1),))  # a reserved word
    dispatch = Dispatch(broken, (), bytes(16), (1, 1, 1))
    with pytest.raises(errors.ShaderCompileError, match=r"let.*rejected"):
        asyncio.run(dawn.prepare(Plan("broken", (dispatch,))))
    dawn.write(buffer, 12, bytes(8))  # beyond its end
    with pytest.raises(errors.DeviceError):
        asyncio.run(dawn.settle())
    dawn.write(buffer, 0, b"x" * 16)
    assert asyncio.run(dawn.read(whole(buffer))) == b"x" * 16
    dawn.release([buffer])


def test_a_process_that_ends_is_a_lost_device() -> None:
    device = DawnDevice(ensure_lavapipe())
    try:
        device._page._process.kill()
        with pytest.raises(errors.DeviceLostError):
            asyncio.run(device.settle())
    finally:
        device.close()


def test_without_a_source_people_are_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lavapipe, "KEYS", "/no/such/keys")
    with pytest.raises(SetupError, match=r"Install Mesa 25 .* VK_DRIVER_FILES"):
        lavapipe._fetch()
