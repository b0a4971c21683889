"""What is said before loading is what loading takes; a measure of this device."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.adapter.measure import measure, read_rate
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.wgpu_native import NativeDevice
from pyodide_app.graph import tuning
from pyodide_app.graph.plan import Buffer
from pyodide_app.load import loader
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.passes import STEP
from pyodide_app.run.engine import Engine
from tests.models.native import greedy, opened
from tests.samples import realshape
from tests.support.golden_data import Case, committed_cases
from tests.support.gpu import device


@pytest.mark.parametrize("case", committed_cases(), ids=str)
@pytest.mark.parametrize("kv", ["f16", "f32"])
@pytest.mark.parametrize("host_embeddings", [False, True])
def test_loading_takes_what_was_said(
    case: Case, kv: str, host_embeddings: bool
) -> None:
    options = LoadOptions(n_ctx=300, kv=kv, host_embeddings=host_embeddings)
    gpu = device()
    with closing(FileSource(case.gguf)) as source:
        fit = asyncio.run(loader.preflight([source], gpu.info, options)).fit
        before = set(gpu._buffers)
        engine = asyncio.run(Engine.load([source], gpu, options))
        try:
            made = [b for b in gpu._buffers if b not in before]
            held = [b for b in made if not b.label.startswith("staging")]
            plan, _ = engine.passes.record(STEP).finish()
            scratch = sum(buffer.size for buffer in engine.loaded.layout.arena.buffers)
        finally:
            engine.close()
    assert engine.loaded.fit == fit
    assert scratch == fit.scratch_bytes
    assert len(plan.dispatches) == fit.n_dispatches
    assert sum(buffer.size for buffer in held) == fit.total_bytes
    expected = "host-embeddings" if host_embeddings and case.model == "ple" else None
    assert fit.mode == (expected or "resident")


def test_a_model_of_gigabytes_is_refused_unread() -> None:
    layout = realshape.plan("31b", "Q8_0")

    class Watched(realshape.HoleSource):
        furthest = 0

        async def read(self, begin: int, end: int) -> bytes:
            self.furthest = max(self.furthest, end)
            return await super().read(begin, end)

    source, before = Watched(layout), set(device()._buffers)
    with pytest.raises(errors.DeviceLimitError, match=r"34\.\d\d GB needed"):
        asyncio.run(loader.load([source], device(), LoadOptions(memory=24 << 30)))
    assert source.furthest < len(layout.header) + (4 << 20)  # read in large pieces
    assert set(device()._buffers) == before


class Crowded:
    """A device that has room for no more than `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._make = NativeDevice._buffer

    def __call__(self, gpu: NativeDevice, buffer: Buffer) -> Any:
        held = sum(b.size for b in gpu._buffers)
        if buffer not in gpu._buffers and held + buffer.size > self.room:
            raise errors.DeviceMemoryError("the GPU has no memory left")
        return self._make(gpu, buffer)


def crowd(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Leave room for `room` bytes beside what is there."""
    held = sum(buffer.size for buffer in device()._buffers)
    crowded = Crowded(held + room)
    monkeypatch.setattr(
        NativeDevice, "_buffer", lambda gpu, buffer: crowded(gpu, buffer)
    )


def test_a_device_that_fills_up_keeps_the_embeddings_in_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = next(case for case in committed_cases() if case.model == "ple")
    with opened(case.gguf, n_ctx=300) as engine:
        fit, expected = engine.loaded.fit, greedy(engine, case.ids("p20"), 4)
    assert fit.mode == "resident"
    crowd(monkeypatch, fit.total_bytes - 1)
    with opened(case.gguf, n_ctx=300) as engine:
        monkeypatch.undo()
        assert engine.loaded.fit.mode == "host-embeddings"
        assert greedy(engine, case.ids("p20"), 4) == expected


def test_a_device_that_fills_up_refuses_before_weights_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, uploaded = set(device()._buffers), device().counters["bytes_uploaded"]
    crowd(monkeypatch, 1_000_000)
    for case in committed_cases():
        with (
            pytest.raises(errors.DeviceMemoryError),
            opened(case.gguf, n_ctx=300),
        ):
            pass
    assert set(device()._buffers) == before
    # Four bytes into each buffer that was made, of two attempts in one case.
    assert device().counters["bytes_uploaded"] - uploaded < 4 * 4 * 150


def test_a_device_that_fills_up_says_which_context_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = next(case for case in committed_cases() if case.model == "dense")
    with opened(case.gguf, n_ctx=4096) as engine:
        room = engine.loaded.fit.total_bytes - 1
    monkeypatch.setattr(loader, "_RESERVED", 1)  # so that each buffer counts
    crowd(monkeypatch, room)  # all but the values of the one global layer
    with (
        pytest.raises(errors.DeviceMemoryError) as raised,
        opened(case.gguf, n_ctx=4096),
    ):
        pass
    longest, text = raised.value.n_ctx, str(raised.value)
    assert 1024 < longest <= 2048  # its keys and values where its keys were
    assert f"context of {longest:,} tokens" in text
    assert "keys and values of 4096 tokens" in text
    assert "no memory left" in text
    with opened(case.gguf, n_ctx=longest):
        pass


def test_room_is_made_before_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = next(case for case in committed_cases() if case.model == "ple")
    crowd(monkeypatch, 1_000_000)

    def make_room() -> bool:
        monkeypatch.undo()
        return True

    with closing(FileSource(case.gguf)) as source:
        loaded = asyncio.run(loader.load([source], device(), make_room=make_room))
    device().release(loaded.layout.buffers)
    assert loaded.fit.mode == "resident"


def test_all_is_reserved_before_weights_are_read() -> None:
    held: list[set[Buffer]] = []

    class Watched(FileSource):
        async def read(self, begin: int, end: int) -> bytes:
            held.append(set(device()._buffers))
            return await super().read(begin, end)

    for case in committed_cases():
        held.clear()
        before = set(device()._buffers)
        with closing(Watched(case.gguf)) as source:
            loaded = asyncio.run(loader.load([source], device()))
        missing = [buffers for buffers in held if buffers == before]
        full = [b for b in held if b >= before | set(loaded.layout.buffers)]
        assert len(missing) + len(full) == len(held)
        assert missing and full  # the header, then the weights
        device().release(loaded.layout.buffers)


def test_what_was_allocated_is_freed_when_reading_fails() -> None:
    class Failing(FileSource):
        left = 8

        async def read(self, begin: int, end: int) -> bytes:
            self.left -= end - begin > 0
            if not self.left:
                raise errors.SourceError("the disk is gone")
            return await super().read(begin, end)

    before = set(device()._buffers)
    with (
        closing(Failing(committed_cases()[-1].gguf)) as source,
        pytest.raises(errors.SourceError, match="the disk is gone"),
    ):
        asyncio.run(loader.load([source], device(), LoadOptions(host_embeddings=True)))
    assert set(device()._buffers) == before


def test_measures_this_device() -> None:
    gpu, before = device(), set(device()._buffers)
    tune = tuning.choose(gpu.info.is_software)
    with closing(FileSource(committed_cases()[0].gguf)) as source:
        rate = asyncio.run(read_rate(source, seconds=0.1))
    measured = asyncio.run(measure(gpu, tune, seconds=0.4))
    # From a slow software adapter to the fastest memory there is; launches from the
    # tenth of a microsecond to the millisecond.
    assert 1e8 < measured.copy_bytes_per_second < 1e14
    assert 1e-8 < measured.dispatch_seconds < 1e-2
    assert 0 <= measured.submit_seconds < 1
    assert rate > 1e6
    assert set(gpu._buffers) == before
