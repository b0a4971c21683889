"""What is said to web/engine/gpu.js and heard from it, whatever carries it there."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.graph.kernels import FEATURES, Variant
from pyodide_app.graph.plan import Buffer, Plan

CHUNK = 4 << 20  # bytes of one upload write through Python
# Asked of the adapter beyond WebGPU's defaults; each at the adapter's own value.
ASKED_LIMITS = (
    "maxStorageBufferBindingSize",
    "maxBufferSize",
    "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup",
    "maxComputeWorkgroupSizeX",
    "maxStorageBuffersPerShaderStage",
)
REPORTED_LIMITS = (  # in the order of `Limits`
    "maxStorageBufferBindingSize",
    "maxBufferSize",
    "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup",
    "maxStorageBuffersPerShaderStage",
    "maxComputeWorkgroupsPerDimension",
)
# Asked of the adapter where it has them; what needs one must enable it in its text.
ASKED_FEATURES = tuple(FEATURES)
# Adapters that compute on the CPU, by a word in what they say of themselves.
_SOFTWARE = ("swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render")


def describe(known: Mapping[str, Any]) -> AdapterInfo:
    """Return what the adapter says of itself.

    Chromium names SwiftShader (vendor google, architecture swiftshader); Firefox gives
    no text at all. Both mark a software adapter as the fallback adapter.
    """
    keys = ("vendor", "architecture", "device", "description")
    words = [known[key] for key in keys]
    text = " ".join(words).lower()
    name = known["description"] or " ".join(word for word in words if word)
    return AdapterInfo(
        name=name or "an adapter that the browser does not name",
        backend="WebGPU",
        is_software=known["is_fallback"] or any(word in text for word in _SOFTWARE),
        features=frozenset(known["features"]),
        limits=Limits(*known["limits"]),
        subgroup=known["subgroup"],
    )


def flatten(
    plan: Plan, variants: Sequence[Variant], buffers: Sequence[Buffer]
) -> tuple[bytes, array[float]]:
    """Return the uniforms of a plan, and its dispatches for `prepare` of replay.js.

    Doubles hold every offset below 2^53.
    """
    arena, offsets = plan.pack_params()
    variant_index = {variant: i for i, variant in enumerate(variants)}
    buffer_index = {buffer: i for i, buffer in enumerate(buffers)}
    commands = array("d")
    for dispatch, offset in zip(plan.dispatches, offsets, strict=True):
        commands.append(variant_index[dispatch.variant])
        commands.extend(dispatch.workgroups)
        commands.extend((offset, max(16, len(dispatch.params)), len(dispatch.views)))
        for view in dispatch.views:
            commands.extend((buffer_index[view.buffer], view.offset, view.size))
    return arena, commands
