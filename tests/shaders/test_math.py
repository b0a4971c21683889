"""The exponentials of shaders/common/math.wgsl against float64, in ulp."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import wgpu

from pyodide_app.graph import kernels
from tests.support import gpu

FLOAT32_MAX = np.finfo(np.float32).max
# The most that was seen on two software adapters is 1.3, and 2.4 for log1p_f32, whose
# sum 1 + f rounds before its logarithm is taken.
MAX_ULP = {"exp_f32": 2.0, "log_f32": 2.0, "log1p_f32": 3.0, "tanh_f32": 2.0}
# A test-only entry point: common files are included by kernels and have none.
ENTRY = """
@group(0) @binding(0) var<storage, read> bits: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  if (id.x < arrayLength(&bits)) {{
    y[id.x] = {function}({argument});
  }}
}}
"""


@functools.cache
def pipeline(function: str) -> object:
    """Compile one function behind the test's entry point."""
    device = gpu.native_device()._device
    argument = "bits[id.x]" if function == "exponential" else "bitcast<f32>(bits[id.x])"
    common = [kernels.read_source(f"common/{name}.wgsl") for name in ("math", "random")]
    code = "".join(common) + ENTRY.format(function=function, argument=argument)
    module = device.create_shader_module(label=function, code=code)
    return device.create_compute_pipeline(
        layout="auto", compute={"module": module, "entry_point": "main"}
    )


def apply(function: str, x: np.ndarray) -> np.ndarray:
    """Return the function of float32 (or uint32) values as the adapter computes it."""
    device = gpu.native_device()._device
    assert x.dtype in (np.float32, np.uint32)
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
    source = device.create_buffer_with_data(data=x.tobytes(), usage=usage)
    y = device.create_buffer(size=x.nbytes, usage=usage)
    compiled = pipeline(function)
    buffers = [
        {"binding": i, "resource": {"buffer": b}} for i, b in enumerate([source, y])
    ]
    group = device.create_bind_group(
        layout=compiled.get_bind_group_layout(0), entries=buffers
    )
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(compiled)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(-(-x.size // 64))
    compute.end()
    device.queue.submit([encoder.finish()])
    result = np.frombuffer(device.queue.read_buffer(y), np.float32).copy()
    source.destroy()
    y.destroy()
    return result


def ulps(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return |got - expected| in units of the last place of the expected float32."""
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return np.abs(got.astype(np.float64) - expected) / ulp


def both_signs(low: float, high: float, n: int) -> np.ndarray:
    """Return magnitudes even in their logarithm, with either sign."""
    values = np.geomspace(low, high, n).astype(np.float32)
    return np.concatenate([values, -values])


CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], list[np.ndarray]]] = {
    "exp_f32": (
        np.exp,
        [
            np.linspace(-87.3, 88.72, 100_001, dtype=np.float32),
            both_signs(1e-30, 87.0, 20_000),
        ],
    ),
    "log_f32": (
        np.log,
        [
            np.geomspace(1.2e-38, FLOAT32_MAX, 100_000).astype(np.float32),
            np.linspace(0.5, 2.0, 100_001, dtype=np.float32),
            1.0 - np.geomspace(1e-7, 0.3, 10_000).astype(np.float32),
        ],
    ),
    "log1p_f32": (
        np.log1p,
        [
            both_signs(1e-30, 0.5, 50_000),
            np.linspace(-0.5, 1.0, 50_001, dtype=np.float32),
        ],
    ),
    "tanh_f32": (
        np.tanh,
        [
            np.linspace(-10.0, 10.0, 100_001, dtype=np.float32),
            both_signs(1e-30, FLOAT32_MAX, 20_000),
        ],
    ),
}


@pytest.mark.parametrize("function", CASES)
def test_is_within_ulps_of_float64(function: str) -> None:
    exact, inputs = CASES[function]
    x = np.concatenate(inputs)
    error = ulps(apply(function, x), exact(x.astype(np.float64)))
    worst = int(np.argmax(error))
    assert error[worst] <= MAX_ULP[function], (
        f"{function}({x[worst]!r}) is {error[worst]:.2f} ulp off"
    )


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (
            "exp_f32",
            [0.0, -0.0, -1000.0, 1000.0, INF, -INF, NAN],
            [1, 1, 0, INF, INF, 0, NAN],
        ),
        (
            "log_f32",
            [1.0, 0.0, -0.0, INF, -1.0, -INF, NAN],
            [0, -INF, -INF, INF, NAN, NAN, NAN],
        ),
        ("tanh_f32", [0.0, 20.0, -1e30, INF, -INF, NAN], [0, 1, -1, 1, -1, NAN]),
    ],
)
def test_ends_of_the_range_are_exact(
    function: str, x: list[float], expected: list[float]
) -> None:
    got = apply(function, np.array(x, np.float32))
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


def test_exp_may_only_flush_what_is_subnormal() -> None:
    x = np.linspace(-105.0, -87.34, 2001, dtype=np.float32)
    got, exact = apply("exp_f32", x), np.exp(x.astype(np.float64))
    assert np.all((got == 0) | (np.abs(got - exact) <= 2.0**-148))


def test_log_of_subnormals_does_not_depend_on_flushing() -> None:
    bits = np.unique(np.geomspace(1, 0x7FFFFF, 1000).astype(np.uint32))
    got = apply("log_f32", bits.view(np.float32))
    exact = np.log(bits.astype(np.float64)) - 149 * np.log(2.0)
    assert np.max(ulps(got, exact)) <= MAX_ULP["log_f32"]


def test_exponential_keeps_its_precision_at_both_ends() -> None:
    ends = np.unique(np.geomspace(1, 2**31, 5000).astype(np.uint32)) - 1
    bits = np.concatenate([ends, ~ends, [2**31 - 1, 2**31]]).astype(np.uint32)
    exact = -np.log1p(-(2.0**32 - bits.astype(np.float64) - 0.5) / 2.0**32)
    small = bits < 2**31
    exact[small] = -np.log((bits[small] + 0.5) / 2.0**32)
    # 3 ulp of log1p_f32, and what rounding bits + 1/2 to 24 bits does to a logarithm.
    np.testing.assert_allclose(apply("exponential", bits), exact, rtol=4e-7)
