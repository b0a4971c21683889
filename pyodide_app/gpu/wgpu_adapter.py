"""wgpu's adapters: which is taken, what is asked of it, and what it says of itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import wgpu

from pyodide_app.gpu import failures
from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.gpu.wgpu_faults import RAISED

# Asked of the adapter beyond WebGPU's defaults; each at the adapter's own value.
_ASKED_LIMITS = (
    "max-storage-buffer-binding-size",
    "max-buffer-size",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroup-size-x",
    "max-storage-buffers-per-shader-stage",
)
_REPORTED_LIMITS = (  # in the order of `Limits`
    "max-storage-buffer-binding-size",
    "max-buffer-size",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-storage-buffers-per-shader-stage",
    "max-compute-workgroups-per-dimension",
)
# Asked of the adapter where it has them: wgpu's names, by WebGPU's.
_FEATURES = {"subgroups": "subgroup", "shader-f16": "shader-f16"}


def choose(name: str = "") -> Any:
    """Return the best adapter, or the first whose description contains `name`.

    Raises: DeviceMissingError.
    """
    # Without it Mesa and the Vulkan loader complain on stderr, several times.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    called = f"called {name!r}" if name else "here"
    try:
        adapters = wgpu.gpu.enumerate_adapters_sync()
    except RAISED as error:
        raise failures.as_error(
            "AdapterMissing", str(error), called, natively=True
        ) from error
    chosen = [a for a in adapters if name.lower() in a.summary.lower()]
    if not chosen:
        seen = ", ".join(sorted(a.summary for a in adapters)) or "no adapter"
        raise failures.as_error("AdapterMissing", seen, called, natively=True)
    return min(chosen, key=_rank)


def request_device(adapter: Any) -> Any:
    """Return an adapter's device. Raises DeviceMissingError when it gives none."""
    try:
        return adapter.request_device_sync(
            required_features=[f for f in _FEATURES.values() if f in adapter.features],
            required_limits={name: adapter.limits[name] for name in _ASKED_LIMITS},
        )
    except RAISED as error:
        raise _refused(error) from error


def describe(adapter: Any) -> AdapterInfo:
    """Return what the adapter says of itself.

    Raises: DeviceMissingError when it does not say what it can do.
    """
    names = {native: name for name, native in _FEATURES.items()}
    try:
        return AdapterInfo(
            name=adapter.info["device"],
            backend=f"wgpu {adapter.info['backend_type']}",
            is_software=adapter.info["adapter_type"] == "CPU",
            features=frozenset(names.get(f, f) for f in adapter.features),
            limits=Limits(*(adapter.limits[name] for name in _REPORTED_LIMITS)),
            subgroup=_smallest_subgroup(adapter.info),
        )
    except RAISED as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Exception:
    found = f"nothing about {error}" if isinstance(error, KeyError) else str(error)
    return failures.as_error("DeviceRefused", found, natively=True)


def _rank(adapter: Any) -> int:
    order = ["DiscreteGPU", "IntegratedGPU", "VirtualGPU", "CPU"]
    kind = adapter.info["adapter_type"]
    # OpenGL adapters come last: their limits lack what compute needs.
    penalty = 10 if adapter.info["backend_type"] == "OpenGL" else 0
    return penalty + (order.index(kind) if kind in order else len(order))


def _smallest_subgroup(info: Mapping[str, Any]) -> int:
    """Return what wgpu-py calls `stackgroup_min_size`, for subgroup."""
    return int(info.get("subgroup_min_size") or info.get("stackgroup_min_size") or 0)
