"""Messages from the page → Engine calls → messages back, all inside a worker.

The types of the messages are described in web/engine/messages.js.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from js import navigator

from pyodide_app.adapter import kernel_options
from pyodide_app.adapter.measure import Measured, measure, read_rate
from pyodide_app.browser import templates
from pyodide_app.browser.figures import allowed_memory, described
from pyodide_app.browser.messages import (
    RUNTIME,
    post,
    post_error,
    post_progress,
    tell_lost,
)
from pyodide_app.browser.options import load_options, options_of
from pyodide_app.browser.replies import answer
from pyodide_app.browser.sources import (
    close_all,
    list_models,
    names_source,
    open_sources,
)
from pyodide_app.errors import DeviceError, RequestError
from pyodide_app.gguf.directories import OpenFile
from pyodide_app.gpu.webgpu_js import WebGPUDevice, open_device
from pyodide_app.graph import tuning
from pyodide_app.load.advice import model_name, sampling_defaults
from pyodide_app.load.loader import Fitted, Progress, preflight
from pyodide_app.load.predict import USUAL_KEYS, predict
from pyodide_app.ollama.digest import verify_blobs
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.pace import Fixed
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat.choice import Brought

Request = Coroutine[Any, Any, dict[str, Any]]


class Worker:
    """The one engine of this worker, its device, and the requests under way."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._device: WebGPUDevice | None = None
        self._losses = 0  # of devices, as far as the page knows of them
        self._sources: Sequence[OpenFile] = ()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._generating = RUNTIME
        self._turn = asyncio.Lock()
        self._measured: Measured | None = None  # of the device

    def handle(self, message: Any) -> None:
        """Take one message; requests are served in order, a stop acts at once."""
        number, kind = int(message.id), str(message.kind)
        if kind == "stop":
            self._stop(number)
        elif kind == "load":
            self._start(number, self._load(number, message))
        elif kind == "preflight":
            # Beside a reply: it is not to end for a file that cannot be loaded.
            idle = self._generating == RUNTIME
            self._start(number, self._preflight(number, message, idle), in_turn=idle)
        elif kind == "adapter":
            self._start(number, self._adapter(message))
        elif kind == "list":
            self._start(number, list_models(message), in_turn=False)
        elif kind == "verify":
            self._start(number, self._verify(number, message), in_turn=False)
        elif kind == "generate":
            self._start(number, self._generate(number, message))
        else:
            post_error(number, RequestError("unknown message", found=kind))

    def tell_ready(self) -> None:
        """Tell the page that it is served, and how tokens are chosen unless it says."""
        sampling = asdict(SamplingOptions())
        del sampling["seed"]  # where none is set it is random
        post_progress(RUNTIME, "runtime", 1, sampling=sampling)

    def _start(self, number: int, request: Request, in_turn: bool = True) -> None:
        task = asyncio.ensure_future(self._serve(number, request, in_turn))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._end(number, request))

    def _end(self, number: int, request: Request) -> None:
        """Forget a request; one that was taken back may not even have begun."""
        task = self._tasks.pop(number)
        if task.cancelled():
            request.close()
            post(number, "done", reason="stopped")

    def _stop(self, number: int) -> None:
        """End a request; a load is taken back, a reply ends after its token."""
        if number == self._generating and self.engine is not None:
            self.engine.stop()
        elif number in self._tasks:
            self._tasks[number].cancel()

    async def _serve(self, number: int, request: Request, in_turn: bool) -> None:
        """Serve one request when its turn comes; it ends in `done` or `error`."""
        try:
            async with self._turn if in_turn else contextlib.nullcontext():
                done = await request
        except Exception as error:
            post_error(number, error, kept=self.engine is not None)
        else:
            post(number, "done", **done)

    async def _load(self, number: int, message: Any) -> dict[str, Any]:
        """Load a model; the one before stays until this one is complete, if it can."""
        options = options_of(message)
        sources = await self._open(number, message)
        try:
            device = await self._open_device(options)
            engine, notes = await self._load_engine(number, sources, options, device)
        except BaseException:
            close_all(sources)
            raise
        self._unload()
        self.engine, self._sources = engine, sources
        if options.get("batch"):
            engine.pace = Fixed(options["batch"])
        sampling = sampling_defaults(engine.loaded.file.metadata)
        info = engine.info | {"notes": [*engine.info["notes"], *notes]}
        done = {"info": info, "sampling": sampling}
        if not options.get("kernels"):
            done["chosen"] = kernel_options.record(engine.loaded.choice, device.info)
        return done

    async def _load_engine(
        self,
        number: int,
        sources: Sequence[OpenFile],
        options: Mapping[str, Any],
        device: WebGPUDevice,
    ) -> tuple[Engine, Sequence[str]]:
        """Load a model that knows how to chat, with notes of what that took."""
        engine = await Engine.load(
            sources,
            device,
            load_options(options, device.info, memory_hint()),
            progress=lambda progress: self._progress(number, progress, options),
            make_room=lambda: self._make_room(number),
        )
        brought = Brought(options.get("template") or "", options.get("large"))
        try:
            return engine, await templates.learn(engine, brought)
        except BaseException:
            engine.close()
            raise

    async def _open(self, number: int, message: Any) -> Sequence[OpenFile]:
        """Open what a message names, and tell how much of it is fetched."""
        return await open_sources(
            message, lambda done, total: post_progress(number, "fetch", done, total)
        )

    async def _open_device(self, options: Mapping[str, Any]) -> WebGPUDevice:
        """Open the device; the page may know what was measured of it earlier."""
        known = options.get("measured") or {}
        if self._device is None:
            self._losses = max(self._losses, int(options.get("lost") or 0))
            had_one = bool(self._losses or known or options.get("chosen"))
            self._device = await open_device(on_lost=self._lose, had_one=had_one)
        if self._measured is None:
            self._measured = Measured.kept(known.get(self._device.info.name))
        return self._device

    async def _adapter(self, message: Any) -> dict[str, Any]:
        """Say what the adapter is: on one in software a large model is slow."""
        info = (await self._open_device(options_of(message))).info
        return {"adapter": {"name": info.name, "is_software": info.is_software}}

    def _lose(self, reason: str) -> None:
        """Let go of a device that is lost; what waits for it is told by itself."""
        assert self._device is not None
        self._unload()
        # Not at once: this is called by the device.
        asyncio.get_event_loop().call_soon(self._device.close)
        self._device = self._measured = None
        self._losses += 1
        tell_lost(reason, self._losses)

    async def _preflight(self, number: int, message: Any, idle: bool) -> dict[str, Any]:
        """Say what a model takes here, or the loaded one, and how fast it may be.

        A device is measured when it is idle.
        """
        options = options_of(message)
        if self.engine is not None and not names_source(message):
            return await self._report(number, self.engine.loaded, options, idle)
        sources = await self._open(number, message)
        try:
            post_progress(number, "header")
            device = await self._open_device(options)
            fitted = await preflight(
                sources, device.info, load_options(options, device.info, memory_hint())
            )
            post_progress(number, "measure")
            rate = await read_rate(sources[0])
            return await self._report(number, fitted, options, idle, rate)
        finally:
            close_all(sources)

    async def _report(
        self,
        number: int,
        fitted: Fitted,
        options: Mapping[str, Any],
        idle: bool,
        rate: float | None = None,
    ) -> dict[str, Any]:
        device = await self._open_device(options)
        if self._measured is None and idle:
            post_progress(number, "measure")
            tune = tuning.choose(device.info.is_software)
            self._measured = await measure(device, tune)
        file, config, fit = fitted.file, fitted.config, fitted.fit
        report = {
            "name": model_name(file.metadata),
            "n_bytes": file.n_bytes,
            "n_ctx_train": config.n_ctx_train,
            "adapter": device.info.name,
            "fit": described(fit, memory_hint()),
        }
        if self._measured is not None:
            n_keys = int(options.get("n_keys") or USUAL_KEYS)
            prediction = predict(fit, config, self._measured, n_keys, rate)
            report["prediction"] = asdict(prediction)
            report["measured"] = asdict(self._measured)
            if speed := options.get("tokens_per_second"):
                report["reached"] = speed / prediction.tokens_per_second
        return {"preflight": report}

    def _predicted(self, end: Finished) -> float | None:
        """Return how fast a reply could have been, if the device was measured."""
        if self._measured is None or self.engine is None:
            return None
        loaded = self.engine.loaded
        found = predict(loaded.fit, loaded.config, self._measured, end.n_keys)
        return found.tokens_per_second

    def _progress(
        self, number: int, progress: Progress, options: Mapping[str, Any]
    ) -> None:
        is_last_moment = progress.stage == "weights" and not options.get("keep")
        if is_last_moment or self._is_crowded(progress):
            self._make_room(number)
        fit = described(progress.fit, memory_hint()) if progress.fit else None
        told = {} if fit is None else {"fit": fit}
        post_progress(number, progress.stage, progress.done, progress.total, **told)

    def _is_crowded(self, progress: Progress) -> bool:
        """Say whether two models are more than a device may hold that refuses none."""
        if self.engine is None or self._device is None or progress.fit is None:
            return False
        memory = allowed_memory(memory_hint(), self._device.info.is_software)
        both = progress.fit.total_bytes + self.engine.loaded.fit.total_bytes
        return memory is not None and both > memory

    def _make_room(self, number: int) -> bool:
        """Close the model before, if there is one, and tell the page."""
        if self.engine is None:
            return False
        self._unload()
        post_progress(number, "room", 0, 0)
        return True

    def _unload(self) -> None:
        """Free the model before, if there is one, to make room."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None
            close_all(self._sources)
            self._sources = ()

    async def _verify(self, number: int, message: Any) -> dict[str, Any]:
        """Hold blobs to the digests that are their names."""
        sources = await open_sources(message, lambda *_: None)
        begin = time.perf_counter()
        try:
            n_bytes = await verify_blobs(
                sources,
                str(getattr(message, "name", None) or ""),
                lambda done, total: post_progress(number, "verify", done, total),
            )
        finally:
            close_all(sources)
        seconds = time.perf_counter() - begin
        rate = n_bytes / seconds if seconds else 0.0
        return {"n_bytes": n_bytes, "seconds": seconds, "bytes_per_second": rate}

    async def _generate(self, number: int, request: Any) -> dict[str, Any]:
        """Answer a conversation, token by token.

        The model outlives whatever goes wrong, except on the GPU.
        """
        if self.engine is None:
            raise RequestError("no model is loaded", remedy="Choose a model file.")
        self._generating = number
        try:
            return await answer(number, self.engine, request.to_py(), self._predicted)
        except DeviceError:
            self._unload()
            raise
        finally:
            self._generating = RUNTIME


def memory_hint() -> float | None:
    """Return the memory of the machine in GiB, as far as the browser hints at it."""
    hint = getattr(navigator, "deviceMemory", None)
    return None if hint is None else float(hint)


_worker = Worker()
handle = _worker.handle
tell_ready = _worker.tell_ready
