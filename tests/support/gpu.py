"""Run ops on the adapter under test: what the kernel tests and the diff share."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pyodide_app.gguf.reader import FileTensor
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gguf.types import BY_NAME
from pyodide_app.gpu.device import Device
from pyodide_app.gpu.wgpu_native import NativeDevice, open_device
from pyodide_app.graph import tuning
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Input, Tensor, Weight
from pyodide_app.load import weights
from tests.support.dawn_device import DawnDevice

_OTHERS: list[Device] = []


def device() -> Any:
    """Return the device under test: that of the run, except in `using`."""
    if _OTHERS:
        return _OTHERS[-1]
    on_dawn = os.environ.get("LAPIDARY_DEVICE") == "dawn"
    return _dawn_device() if on_dawn else native_device()


@functools.cache
def native_device() -> NativeDevice:
    """Return the one native device of a test run."""
    return open_device()


@functools.cache
def _dawn_device() -> DawnDevice:
    return DawnDevice()


@contextmanager
def using(other: Device) -> Iterator[None]:
    """Test another device for a while."""
    _OTHERS.append(other)
    try:
        yield
    finally:
        _OTHERS.pop()


class Bench:
    """One kernel test: inputs on the GPU, ops recorded, outputs read back."""

    def __init__(self, tune: tuning.Tuning | None = None) -> None:
        self.device = device()
        self.tuning = tune or tuning.choose(self.device.info.is_software)
        self.buffers: list[Buffer] = []

    def tensor(self, array: np.ndarray, label: str = "input") -> Tensor:
        """Put a float32 or uint32 array on the GPU."""
        array = np.ascontiguousarray(array)
        assert array.dtype in (np.float32, np.uint32), array.dtype
        buffer = self.buffer(label, max(array.nbytes, 4))
        self.device.write(buffer, 0, array.tobytes())
        return Tensor(array.shape, View(buffer, 0, array.nbytes))

    def buffer(self, label: str, size: int) -> Buffer:
        """Describe a buffer that the bench frees."""
        self.buffers.append(Buffer(label, size))
        return self.buffers[-1]

    def weight(
        self,
        type_name: str,
        dims: Sequence[int],
        raw: bytes,
        max_bytes: int | None = None,
    ) -> Weight:
        """Upload raw blocks as the loader does; dims in ggml order.

        `max_bytes` stands for a device whose bindings hold no more.
        """
        kind = BY_NAME[type_name]
        info = FileTensor(
            "test.weight", tuple(dims), kind, BytesSource(raw), 0, len(raw)
        )
        limits = self.device.info.limits
        if max_bytes is not None:
            limits = dataclasses.replace(limits, max_binding_bytes=max_bytes)
        placed = weights.place(info, limits)
        self.buffers += [part.view.buffer for part in placed.parts]
        asyncio.run(
            weights.upload(self.device, self.tuning, [(placed, info)], lambda n: None)
        )
        return placed

    def vector(self, array: np.ndarray) -> Weight:
        """Upload a float32 vector as a weight."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        return self.weight("F32", tuple(reversed(array.shape)), array.tobytes())

    def vectors(self, *arrays: np.ndarray) -> list[Weight]:
        """Upload vectors as the loader does, as float32: one buffer holds them all."""
        kind, infos = BY_NAME["F32"], {}
        for i, array in enumerate(arrays):
            raw, name = array.astype("<f4").tobytes(), str(i)
            source = BytesSource(raw)
            infos[name] = FileTensor(name, (array.size,), kind, source, 0, len(raw))
        placed = weights.place_all(infos, self.device.info.limits)
        self.buffers.append(placed["0"].parts[0].view.buffer)
        tensors = [(placed[name], info) for name, info in infos.items()]
        asyncio.run(weights.upload(self.device, self.tuning, tensors, lambda n: None))
        return list(placed.values())

    def run(
        self,
        record: Callable[[Ops], Input | Sequence[Input]],
        *,
        n_tokens: int = 1,
        position: int = 0,
        dtypes: Sequence[type] | None = None,
    ) -> list[np.ndarray]:
        """Record, replay and read back: one array per tensor that `record` returns."""
        state = self.buffer("state", STATE_BYTES)
        self.device.write(state, 0, struct.pack("<I", position))
        arena = Arena()
        ops = Ops("test", self.tuning, arena, state, n_tokens, trace=True)
        outputs = record(ops)
        inputs = list(outputs) if isinstance(outputs, Sequence) else [outputs]
        tensors = [ops.settle(x) for x in inputs]
        for i, tensor in enumerate(tensors):
            ops.name(str(i), tensor)
        plan, views = ops.finish()
        prepared = asyncio.run(self.device.prepare(plan))
        self.device.submit(prepared)
        kinds = dtypes or [np.float32] * len(tensors)
        arrays = [
            np.frombuffer(asyncio.run(self.device.read(views[t])), dtype).reshape(
                t.shape
            )
            for t, dtype in zip(tensors, kinds, strict=True)
        ]
        self.buffers += arena.buffers
        return arrays

    def read(self, buffer: Buffer, dtype: type = np.float32) -> np.ndarray:
        """Return a whole buffer."""
        return np.frombuffer(asyncio.run(self.device.read(whole(buffer))), dtype)

    def close(self) -> None:
        """Free everything."""
        self.device.release(self.buffers)


def random_input(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Return reproducible float32 gaussians."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * scale).astype(np.float32)
