"""What the browser's device promises; test_device_node.py runs it inside Pyodide."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import stage
from pyodide.ffi import create_proxy, to_js

from pyodide_app import errors
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.gpu import webgpu, webgpu_js
from pyodide_app.gpu.webgpu_js import WebGPUDevice
from pyodide_app.graph import tuning
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.kernels import Variant
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, Dispatch, Plan, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Tensor
from pyodide_app.run.sampling import SamplingOptions, pack_state
from tests.support.device_faults import FAULTS, check
from tests.web.folded_plan import FoldedPlan
from tests.web.norm_plan import NormPlan

CHUNK = 4 << 20
outputs: dict[str, str] = {}


async def case_a_plan_computes(device: WebGPUDevice) -> None:
    outputs["norm plan"] = (await NormPlan().run(device)).hex()


async def case_products_compute_their_input(device: WebGPUDevice) -> None:
    outputs["folded plan"] = (await FoldedPlan(device).run()).hex()


async def case_a_submit_and_a_read_give_what_run_gives(device: WebGPUDevice) -> None:
    norm = NormPlan()
    prepared, view = await prepare(device, norm)
    device.submit(prepared)
    assert await device.read(view) == await device.run(prepared, view)


async def case_decoding_creates_nothing(device: WebGPUDevice) -> None:
    norm = NormPlan()
    prepared, view = await prepare(device, norm)
    first = await device.run(prepared, view)
    before = device.counters
    for step in range(40):
        device.write(norm.none, 0, bytes([step] * 16))
        assert await device.run(prepared, view) == first
    after = device.counters
    changes = {name: after[name] - before[name] for name in after}
    assert changes == {
        "objects": 0,
        "submits": 40,
        "dispatches": 120,
        "host_calls": 80,
        "bytes_uploaded": 40 * 16,
        "bytes_read": 40 * view.size,
    }, changes


async def case_several_steps_are_one_call(device: WebGPUDevice) -> None:
    draws = await Draws.make(device)
    for n in (1, 5, 16):
        assert await draws.run(n) == draws.expected(n)
        before = device.counters
        assert await draws.run(n) == draws.expected(n)
        after = device.counters
        changes = {name: after[name] - before[name] for name in after}
        assert changes == {
            "objects": 0,
            "submits": 1,
            "dispatches": 2 * n,
            "host_calls": 1 + 2,  # and the writes that begin anew
            "bytes_uploaded": STATE_BYTES + 4 * draws.n_vocab,
            "bytes_read": 4 * n,
        }, changes


async def case_a_second_batch_is_queued_behind_the_first(device: WebGPUDevice) -> None:
    draws = await Draws.make(device)
    draws.restart()
    before = device.counters["submits"]
    first, second = draws.submit(0, 3), draws.submit(3, 2)
    assert device.counters["submits"] == before + 2, "the second waits for the first"
    assert Draws.ids(await second) == draws.expected(5)[3:]
    assert Draws.ids(await first) == draws.expected(3)


async def case_writes_keep_their_order_and_bytes(device: WebGPUDevice) -> None:
    buffer = Buffer("written", 4096)
    device.write(buffer, 0, bytes(range(256)) * 16)
    device.write(buffer, 4, b"abcd")
    device.write(buffer, 8, b"efgh")  # through the array that "abcd" went through
    device.write(buffer, 8, b"EFGH")
    read = await device.read(View(buffer, 0, 4096))
    assert read == bytes([0, 1, 2, 3]) + b"abcdEFGH" + (bytes(range(256)) * 16)[12:]


async def case_reads_overlap(device: WebGPUDevice) -> None:
    buffer = Buffer("read", 16 << 20)
    device.write(buffer, 8 << 20, b"mark")
    parts = [View(buffer, 8 << 20, 4), View(buffer, 0, 4), View(buffer, 8 << 20, 8)]
    got = await asyncio.gather(*(device.read(part) for part in parts * 3))
    assert got == [b"mark", bytes(4), b"mark" + bytes(4)] * 3
    assert await device.read(whole(buffer)) == bytes(8 << 20) + b"mark".ljust(
        8 << 20, b"\0"
    )


async def case_a_read_back_buffer_is_reused_for_its_size(device: WebGPUDevice) -> None:
    buffer = Buffer("read", 8192)
    await device.read(View(buffer, 0, 8192))
    before = device.counters["objects"]
    for size in (8192, 4100, 8000):
        await device.read(View(buffer, 0, size))
    assert device.counters["objects"] == before


async def case_a_stream_arrives_whole(device: WebGPUDevice) -> None:
    # Ends inside a word; begins beyond 4 GiB, as the tensors of a large file do.
    begin, size = (1 << 40) + 12345, 5 * CHUNK + 4097
    source, stats = make_source()
    buffer, told = Buffer("weights", 8 + size + 3), list[int]()
    heap = stage.heapBytes()
    await device.upload(source, begin, begin + size, buffer, 8, told.append)
    assert stage.heapBytes() == heap, "weights went through the WebAssembly heap"
    assert sum(told) == size and len(told) == 6
    assert stats.calls == 6 and stats.mostInFlight == 4
    expected = bytes(8) + pattern(begin, size) + bytes(3)
    assert await device.read(whole(buffer)) == expected


async def case_a_stream_of_a_few_bytes_arrives(device: WebGPUDevice) -> None:
    source, _ = make_source()
    buffer = Buffer("bias", 8)
    await device.upload(source, 7, 12, buffer, 0, lambda n: None)
    assert await device.read(whole(buffer)) == bytes([7, 8, 9, 10, 11, 0, 0, 0])


async def case_many_streams_stay_bounded(device: WebGPUDevice) -> None:
    source, _ = make_source()
    buffer = Buffer("weights", 16 * CHUNK)
    for i in range(16):
        await device.upload(source, 0, CHUNK, buffer, i * CHUNK, lambda n: None)
        assert device._gpu.writes.bytes <= (32 << 20) + CHUNK
    await device.settle()
    last = await device.read(View(buffer, 16 * CHUNK - 4, 4))
    assert last == pattern(CHUNK - 4, 4)


async def case_a_source_without_a_reader_is_read_by_python(
    device: WebGPUDevice,
) -> None:
    data = pattern(0, CHUNK + 5)
    buffer, told = Buffer("weights", CHUNK + 8), list[int]()
    await device.upload(BytesSource(data), 2, CHUNK + 5, buffer, 4, told.append)
    assert told == [CHUNK, 3]
    assert await device.read(whole(buffer)) == bytes(4) + data[2:] + b"\0"


async def case_a_python_reader_is_called_with_plain_numbers(
    device: WebGPUDevice,
) -> None:
    # As browser/blobs.py makes them: Python functions that return a JavaScript promise.
    async def read(begin: int, end: int) -> Any:
        return to_js(pattern(begin, end - begin))

    source = make_source()[0]
    source.reader = create_proxy(read)
    buffer = Buffer("weights", 100)
    await device.upload(source, 1 << 33, (1 << 33) + 100, buffer, 0, lambda n: None)
    assert await device.read(whole(buffer)) == pattern(1 << 33, 100)


async def case_a_failing_read_names_the_source(device: WebGPUDevice) -> None:
    source, stats = make_source("fail", 2 * CHUNK)
    buffer = Buffer("weights", 40 * CHUNK)
    error = await raised(
        errors.SourceError,
        device.upload(source, 0, 40 * CHUNK, buffer, 0, lambda n: None),
    )
    assert "the test's file" in error.what and "the disk is gone" in error.found
    await asyncio.sleep(0.05)
    assert stats.calls < 12, "the other reads went on"
    await device.settle()  # and the device goes on working


async def case_a_short_read_is_refused(device: WebGPUDevice) -> None:
    source, _ = make_source("short", CHUNK)
    buffer = Buffer("weights", 2 * CHUNK)
    upload = device.upload(source, 0, 2 * CHUNK, buffer, 0, lambda n: None)
    error = await raised(errors.SourceError, upload)
    assert error.found == f"{CHUNK - 1} bytes"


async def case_a_python_source_error_keeps_its_text(device: WebGPUDevice) -> None:
    async def read(begin: int, end: int) -> Any:
        raise errors.SourceError("the file has changed")

    source = make_source()[0]
    source.reader = create_proxy(read)
    upload = device.upload(source, 0, 8, Buffer("weights", 8), 0, lambda n: None)
    error = await raised(errors.SourceError, upload)
    assert "the file has changed" in error.found


async def case_what_on_bytes_raises_comes_out(device: WebGPUDevice) -> None:
    def on_bytes(n: int) -> None:
        raise KeyError("mine")

    source, _ = make_source()
    upload = device.upload(source, 0, 8, Buffer("weights", 8), 0, on_bytes)
    error = await raised(KeyError, upload)
    assert error.args == ("mine",)


async def case_cancelling_stops_a_stream(device: WebGPUDevice) -> None:
    source, stats = make_source("stall", 6 * CHUNK)
    buffer, told = Buffer("weights", 40 * CHUNK), list[int]()
    upload = device.upload(source, 0, 40 * CHUNK, buffer, 0, told.append)
    task = asyncio.ensure_future(upload)
    while len(told) < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    await raised(asyncio.CancelledError, task)
    arrived, calls = len(told), stats.calls
    await asyncio.sleep(0.05)
    assert len(told) == arrived, "it was told of bytes after it was cancelled"
    assert stats.calls == calls, "it read on after it was cancelled"


async def case_a_rejected_shader_is_named_with_its_lines(device: WebGPUDevice) -> None:
    # A const of a reserved name: a fault in line 2, seen by the compiler alone.
    good = NormPlan().plan.dispatches[0]
    variant = Variant("rms_norm", (), (("fine", 1), ("let", 2), ("other", 3)))
    dispatch = Dispatch(variant, good.views, good.params, good.workgroups)
    plan = Plan("broken", (good, dispatch))
    error = await raised(errors.ShaderCompileError, device.prepare(plan))
    assert error.what == "shader rms_norm:fine=1:let=2:other=3 was rejected"
    lines = error.found.splitlines()
    assert lines[0].startswith("line 2:"), error.found
    assert [line.partition("| ")[2] for line in lines[1:]] == [
        "const fine = 1u;",
        "const let = 2u;",
        "const other = 3u;",
    ]
    await NormPlan().run(device)  # and the device goes on working


async def case_a_wide_workgroup_is_rejected_by_name(device: WebGPUDevice) -> None:
    good = NormPlan().plan.dispatches[0]
    variant = Variant("rms_norm", overrides=(("WG", 4096), ("HAS_WEIGHT", 1)))
    plan = Plan("wide", (Dispatch(variant, good.views, good.params, (1, 1, 1)),))
    error = await raised(errors.ShaderCompileError, device.prepare(plan))
    assert "rms_norm:WG=4096" in error.what and "4096" in error.found


async def case_a_view_beyond_its_buffer_is_refused_by_prepare(
    device: WebGPUDevice,
) -> None:
    good = NormPlan().plan.dispatches[0]
    views = (*good.views[:2], View(Buffer("small", 16), 0, 4096))
    plan = Plan("beyond", (Dispatch(good.variant, views, good.params, (1, 1, 1)),))
    error = await raised(errors.DeviceError, device.prepare(plan))
    assert error.what == "the GPU refused plan beyond"
    assert type(error) is errors.DeviceError


async def case_an_unscoped_error_is_raised_once(device: WebGPUDevice) -> None:
    buffer = Buffer("small", 16)
    device.write(buffer, 12, bytes(8))
    error = await raised(errors.DeviceError, device.read(whole(buffer)))
    assert error.found and error.what == "the GPU refused what it was asked to do"
    assert await device.read(whole(buffer)) == bytes(16)
    device.write(buffer, 8, bytes(12))
    await raised(errors.DeviceError, device.settle())


async def case_a_buffer_over_the_limit_is_refused(device: WebGPUDevice) -> None:
    size = device.info.limits.max_buffer_bytes + 4
    source, stats = make_source()
    upload = device.upload(source, 0, size, Buffer("huge", size), 0, lambda n: None)
    error = await raised(errors.DeviceLimitError, upload)
    assert error.what == "buffer huge" and str(size) in error.found
    assert stats.calls == 0


async def case_faults_are_told_as_they_are_natively(device: WebGPUDevice) -> None:
    problems = []
    for name, fault in FAULTS.items():
        other = await webgpu_js.open_device()
        try:
            await asyncio.wait_for(check(fault, other, Browser()), 20)
        except Exception:
            problems.append(f"{name}: {traceback.format_exc()}")
        finally:
            other.close()
    assert not problems, "\n".join(problems)


async def case_no_memory_is_said_by_prepare_and_forgotten(device: WebGPUDevice) -> None:
    await prepare(device, NormPlan())  # so that nothing is compiled in between
    norm = NormPlan()
    stage.failScope(device._gpu, "GPUOutOfMemoryError")
    error = await raised(errors.DeviceMemoryError, device.prepare(norm.plan))
    assert (
        error.what == f"the GPU has no memory left for buffer x ({norm.x.size} bytes)"
    )
    before = device.counters["objects"]
    await norm.run(device)
    made = len(norm.buffers) + 1 + len(norm.plan.dispatches)  # uniforms, bind groups
    assert device.counters["objects"] - before >= made, "a failed buffer was used again"


async def case_a_lost_device_ends_what_waits(device: WebGPUDevice) -> None:
    told = list[str]()
    device.on_lost = told.append
    prepared, view = await prepare(device, NormPlan())
    source, _ = make_source("stall", 0)
    buffer = Buffer("weights", 64)
    stalled = device.upload(source, 0, 64, buffer, 0, lambda n: None)
    waiting = [asyncio.ensure_future(stalled)]
    waiting += [asyncio.ensure_future(device.run(prepared, view)) for _ in range(2)]
    await asyncio.sleep(0)
    stage.loseDevice(device._gpu)
    ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    # A run may have been done before the loss; the stalled upload never ends by itself.
    assert isinstance(ends[0], errors.DeviceLostError), ends[0]
    assert all(isinstance(e, bytes | errors.DeviceLostError) for e in ends[1:]), ends
    assert len(told) == 1
    await refuses_everything(device, prepared, view)


async def case_a_lost_device_fails_each_batch_when_it_is_awaited(
    device: WebGPUDevice,
) -> None:
    prepared, view = await prepare(device, NormPlan())
    batches = [device.run(prepared, view) for _ in range(2)]
    stage.loseDevice(device._gpu)
    batches.append(device.run(prepared, view))
    await asyncio.sleep(0.05)  # an unhandled rejection would end Node
    ends = [await asyncio.gather(b, return_exceptions=True) for b in batches]
    assert isinstance(ends[2][0], errors.DeviceLostError), ends
    assert all(isinstance(e[0], bytes | errors.DeviceLostError) for e in ends), ends


async def case_a_closed_device_refuses_calls(device: WebGPUDevice) -> None:
    told = list[str]()
    device.on_lost = told.append
    prepared, view = await prepare(device, NormPlan())
    device.close()
    device.close()
    await refuses_everything(device, prepared, view)
    assert told == [], "closing was told as a loss"


async def case_released_buffers_are_made_anew(device: WebGPUDevice) -> None:
    buffer = Buffer("state", 16)
    device.write(buffer, 0, b"x" * 16)
    await device.settle()
    device.release([buffer, Buffer("never made", 4)])
    assert await device.read(whole(buffer)) == bytes(16)


async def case_a_browser_without_webgpu_is_told_apart(device: WebGPUDevice) -> None:
    texts = set()
    for answer in ("missing", "no adapter", "no device"):
        stage.setWebGPU(answer)
        try:
            error = await raised(errors.DeviceMissingError, webgpu_js.open_device())
        finally:
            stage.restoreWebGPU()
        assert error.found and error.remedy
        texts.add(error.what)
    assert texts == {
        "this browser offers no WebGPU here",
        "the browser offers no GPU adapter",
        "the GPU adapter gives no device",
    }


async def case_the_adapter_is_described(device: WebGPUDevice) -> None:
    info = device.info
    assert info.backend == "WebGPU" and info.name
    assert info.limits.max_threads >= 256 and info.limits.max_groups == 65535
    # More than WebGPU's default of 128 MiB where the adapter has it, as all do here.
    assert info.limits.max_binding_bytes >= 128 << 20
    assert all(isinstance(feature, str) for feature in info.features)
    # What is optional is asked for: the software adapters of Dawn have this.
    assert "subgroups" in info.features and info.subgroup >= 4


async def case_a_software_adapter_is_known(device: WebGPUDevice) -> None:
    # What Chromium says of SwiftShader, Firefox of any, Dawn of llvmpipe, and hardware.
    words = {"vendor": "", "architecture": "", "device": "", "description": ""}
    rest = {"features": [], "subgroup": 0, "limits": [1, 2, 3, 4, 5, 6]}
    named = {"vendor": "google", "architecture": "swiftshader"}
    for facts, name, is_software in (
        ({**named, "is_fallback": True}, "google swiftshader", True),
        ({"is_fallback": True}, "an adapter that the browser does not name", True),
        ({"description": "llvmpipe (LLVM 15.0.6)"}, "llvmpipe (LLVM 15.0.6)", True),
        ({"vendor": "nvidia", "architecture": "ampere"}, "nvidia ampere", False),
    ):
        text = json.dumps({"is_fallback": False} | words | rest | facts)
        info = webgpu.describe(stage.parse(text).to_py())
        assert (info.name, info.is_software) == (name, is_software)
        assert info.limits.max_binding_bytes == 1 and info.limits.max_groups == 6


async def case_a_step_is_fast(device: WebGPUDevice) -> None:
    # Far above what it takes (0.3 ms), but a timer or a tick in its path would show.
    prepared, view = await prepare(device, NormPlan())
    await device.run(prepared, view)
    start = time.perf_counter()
    for _ in range(50):
        await device.run(prepared, view)
    assert time.perf_counter() - start < 50 * 0.05


# What the cases share


class Browser:
    """What can go wrong in a browser; see `tests.support.device_faults.Host`."""

    def lose(self, device: WebGPUDevice) -> None:
        """Destroy what is under the device."""
        stage.loseDevice(device._gpu)

    def run_out_of_memory(self, device: WebGPUDevice) -> None:
        """Answer the next error scope so."""
        stage.failScope(device._gpu, "GPUOutOfMemoryError")

    def fail_internally(self, device: WebGPUDevice) -> None:
        """Answer the next error scope so."""
        stage.failScope(device._gpu, "GPUInternalError")


class Draws:
    """A step that samples alone: each takes the next lower id of a vocabulary."""

    n_vocab = 50

    def __init__(self, device: WebGPUDevice) -> None:
        self.device = device
        self.logits = Buffer("logits", 4 * self.n_vocab)
        self.state = Buffer("state", STATE_BYTES)
        self.tokens = Buffer("tokens", 4)
        self.counts = Buffer("counts", 4 * self.n_vocab)
        self.recent = Buffer("recent", 4 * self.n_vocab)
        self.zeros = Buffer("zeros", 8)
        self.sampled = Buffer("sampled", 4 * self.n_vocab)

    @classmethod
    async def make(cls, device: WebGPUDevice) -> Draws:
        """Prepare it."""
        draws = cls(device)
        device.write(draws.logits, 0, array("f", range(1, 51)).tobytes())
        ops = Ops("draws", tuning.SOFTWARE, Arena(), draws.state, 1)
        zeros, tokens = (
            Tensor((2,), whole(draws.zeros)),
            Tensor((1,), whole(draws.tokens)),
        )
        counts, recent, sampled = (
            Tensor((cls.n_vocab,), whole(buffer))
            for buffer in (draws.counts, draws.recent, draws.sampled)
        )
        logits = Tensor((1, cls.n_vocab), whole(draws.logits))
        ordered = ops.sample_keys(logits, zeros, counts)
        ops.sample(ordered, tokens, zeros, counts, recent, sampled)
        draws.prepared = await device.prepare(ops.finish()[0])
        return draws

    def restart(self) -> None:
        """Begin a request: what was taken before counts little from then on."""
        options = SamplingOptions(temperature=0.0, repetition_penalty=100.0)
        self.device.write(self.state, 0, pack_state(0, options, window=self.n_vocab))
        self.device.write(self.counts, 0, bytes(4 * self.n_vocab))

    def submit(self, begin: int, n: int) -> Awaitable[bytes]:
        """Queue n draws."""
        return self.device.run(self.prepared, View(self.sampled, 4 * begin, 4 * n), n)

    async def run(self, n: int) -> list[int]:
        """Begin anew and return n draws."""
        self.restart()
        return self.ids(await self.submit(0, n))

    @staticmethod
    def ids(data: bytes) -> list[int]:
        """Return the tokens of a read-back."""
        return array("I", data).tolist()

    def expected(self, n: int) -> list[int]:
        """Return the first n draws."""
        return list(range(self.n_vocab - 1, self.n_vocab - 1 - n, -1))


async def prepare(device: WebGPUDevice, norm: NormPlan) -> tuple[Any, View]:
    """Return a prepared plan whose inputs are there, and its output."""
    norm.write(device)
    return await device.prepare(norm.plan), whole(norm.output)


async def raised(kind: type[BaseException], awaitable: Any) -> Any:
    """Return the exception of this kind that awaiting raises."""
    try:
        await asyncio.wait_for(awaitable, 10)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


async def refuses_everything(device: WebGPUDevice, prepared: Any, view: View) -> None:
    """Assert that each call to a lost device says so."""
    source, _ = make_source()
    calls: list[Callable[[], Any]] = [
        lambda: device.write(view.buffer, 0, bytes(4)),
        lambda: device.submit(prepared),
    ]
    for call in calls:
        try:
            call()
        except errors.DeviceLostError as error:
            assert error.remedy == "Load the model again."
        else:
            raise AssertionError("a lost device took a call")

    async def run() -> bytes:  # which may refuse before there is anything to await
        return await device.run(prepared, view)

    for awaitable in (
        run(),
        device.read(view),
        device.settle(),
        device.prepare(prepared.plan),
        device.upload(source, 0, 4, view.buffer, 0, lambda n: None),
    ):
        await raised(errors.DeviceLostError, awaitable)
    device.release([view.buffer])


class JsSource:
    """A source whose reader is JavaScript's."""

    name = "the test's file"
    size = 1 << 50

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    async def read(self, begin: int, end: int) -> bytes:
        raise AssertionError("Python read what JavaScript should have streamed")


def make_source(fault: str = "", at: int = -1) -> tuple[JsSource, Any]:
    """Return a source of the pattern, and the counts of its reader."""
    made = stage.makeReader(fault, at)
    return JsSource(made.reader), made.stats


def pattern(begin: int, size: int) -> bytes:
    """Return the bytes that the JavaScript reader gives."""
    period = bytes(range(251))
    start = begin % 251
    return (period * (size // 251 + 2))[start : start + size]


async def run_case(case: Callable[[WebGPUDevice], Any]) -> str:
    """Run a case on a device of its own; return its traceback, or nothing."""
    device = await webgpu_js.open_device()
    try:
        await case(device)
    except Exception:
        return traceback.format_exc()
    finally:
        device.close()
    return ""


async def main() -> str:
    """Run all cases and return the results as JSON."""
    device = await webgpu_js.open_device()
    adapter = {"name": device.info.name, "is_software": device.info.is_software}
    device.close()
    cases = {
        name.removeprefix("case_"): await run_case(value)
        for name, value in globals().copy().items()
        if name.startswith("case_")
    }
    return json.dumps({"adapter": adapter, "cases": cases, "outputs": outputs})
