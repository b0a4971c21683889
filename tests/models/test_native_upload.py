"""What the native device holds of a load: what is queued, and no more."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gpu import wgpu_native
from pyodide_app.graph.plan import Buffer, whole
from tests.support.gpu import native_device

CHUNK, QUEUED, PARTS = 1 << 14, 1 << 16, 8


def test_an_upload_waits_for_the_device_now_and_then(monkeypatch: pytest.MonkeyPatch):
    # wgpu keeps a copy of every write until a submit that comes after it is done.
    monkeypatch.setattr(wgpu_native, "_CHUNK", CHUNK)
    monkeypatch.setattr(wgpu_native, "_QUEUED", QUEUED)
    device = native_device()
    asyncio.run(device.settle())
    data = np.random.default_rng(1).bytes(PARTS * QUEUED + CHUNK)
    buffer, source = Buffer("uploaded", len(data)), BytesSource(data)
    before = device.counters["submits"]
    seen: list[int] = []

    def look(n_bytes: int) -> None:
        seen.append(device.counters["submits"] - before)

    try:
        asyncio.run(device.upload(source, 0, len(data), buffer, 0, look))
        per_part = QUEUED // CHUNK
        assert seen == [(i + 1) // per_part for i in range(PARTS * per_part + 1)]
        assert asyncio.run(device.read(whole(buffer))) == data
    finally:
        device.release([buffer])
