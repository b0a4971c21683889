"""The runner: prefill, decode loop, and which ids a loaded model has in its cache."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager
from time import perf_counter
from typing import Self

from pyodide_app import errors
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import Device
from pyodide_app.graph.plan import View
from pyodide_app.load.loader import DEFAULTS, Loaded, Progress, load
from pyodide_app.load.options import LoadOptions
from pyodide_app.load.passes import STEP
from pyodide_app.load.predict import kv_bytes_read
from pyodide_app.models import blocks, step
from pyodide_app.run import pace
from pyodide_app.run.decoding import Queue, Sampled, fault_error, find_row_fault
from pyodide_app.run.finished import Finished
from pyodide_app.run.inputs import Inputs
from pyodide_app.run.requests import Tell, check_request
from pyodide_app.run.sampling import SamplingOptions

_LOGIT_ROWS_BYTES = 32 << 20  # of the logits of one pass when all rows are wanted


class Runner:
    """A loaded model that continues prompts of ids, one request at a time."""

    def __init__(self, device: Device, loaded: Loaded) -> None:
        self.device = device
        self.loaded = loaded
        self.n_ctx = loaded.fit.n_ctx
        self.cached_ids: list[int] = []  # whose keys and values are in the cache
        self._n_stored = 0  # positions written since the cache was begun anew
        self.passes = loaded.passes
        self._inputs = Inputs(device, loaded.layout, self.n_ctx)
        tokenizer = loaded.tokenizer
        self._stop_ids = tokenizer.stop_ids if tokenizer else frozenset()
        self._stopping = asyncio.Event()
        self._busy = self._closed = False
        self.pace: pace.Pace = pace.Single() if loaded.rows else pace.Adaptive()
        suppressed = tokenizer.suppress_ids if tokenizer else ()
        self._inputs.suppress(suppressed)

    @classmethod
    async def load(
        cls,
        sources: Sequence[ByteSource],
        device: Device,
        options: LoadOptions = DEFAULTS,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        make_room: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Load a model from one GGUF, or from all shards of a split one.

        As `loader.load` does. Per-layer embeddings that stay in the file are read from
        there, so that it must stay open.
        """
        loaded = await load(
            sources, device, options, progress=progress, make_room=make_room
        )
        engine = cls(device, loaded)
        try:
            await engine.warm_up()
        except BaseException:
            engine.close()
            raise
        return engine

    async def warm_up(self) -> None:
        """Measure how fast the device answers, and compile what a reply needs.

        A prompt's pass is here; the step is compiled behind the first message.
        """
        if self.loaded.rows is None:
            await self.device.settle()
            start = perf_counter()
            await self.device.read(View(self._inputs.buffers.state, 0, 4))
            self.pace = pace.Adaptive(latency=perf_counter() - start)
        self.passes.begin(STEP)

    def stop(self) -> None:
        """End the running generation after what is queued: one token, or 50 ms."""
        self._stopping.set()

    def close(self) -> None:
        """Free everything the model holds on the device; it serves nobody any more."""
        self._closed = True
        self.passes.close()
        self.device.release(self.loaded.layout.buffers)

    # -- requests ----------------------------------------------------------------

    async def generate(
        self,
        ids: Sequence[int],
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        ignore_eos: bool = False,
        progress: Tell = lambda _: None,
    ) -> AsyncGenerator[int | Finished, None]:
        """Continue a prompt: each new token id, then how it ended.

        Without `sampling` it is Gemma's own; `progress` is told of a prompt of several
        chunks. Closing this early leaves the engine ready for the next request.
        Raises ContextFullError when the prompt leaves no room for a token, and
        NumberError when the model computes NaN or an infinity; the next request begins
        with an empty cache then.
        """
        with self._serving(ids, max_tokens):
            self._inputs.stop_at(() if ignore_eos else self._stop_ids)
            options = sampling or SamplingOptions()
            items = self._run(list(ids), options, max_tokens, progress)
            try:
                async with aclosing(items):
                    async for item in items:
                        yield item
            except errors.NumberError:
                self._go_back(0)  # keys and values may be none
                raise

    async def logits(self, ids: Sequence[int]) -> AsyncGenerator[bytes, None]:
        """Yield the logits of every position in order, as float32 [rows, n_vocab].

        Raises NumberError behind the last if some are NaN or infinite.
        """
        n_vocab, n, first = self.loaded.config.n_vocab, 0, None
        with self._serving(ids):
            async for rows in self._logits(ids):
                if first is None and (found := find_row_fault(rows, n_vocab)):
                    first = (found[1], n + found[0])
                n += len(rows) // (4 * n_vocab)
                yield rows
            if first is not None:
                self._go_back(0)
                raise fault_error(*first, self.loaded.fit.kv)

    @contextmanager
    def _serving(
        self, ids: Sequence[int], max_tokens: int | None = None
    ) -> Iterator[None]:
        """Serve a request that can be served, and no other meanwhile."""
        if self._closed:  # its buffers would be made anew, and be empty
            raise errors.RequestError("the model is closed", remedy="Load it again.")
        if self._busy:
            raise errors.RequestError(
                "the engine is busy with another request", remedy="Stop it first"
            )
        check_request(ids, max_tokens, self.loaded.config.n_vocab, self.n_ctx)
        self._busy = True
        self._stopping.clear()
        try:
            yield
        finally:
            self._busy = False

    async def _logits(self, ids: Sequence[int]) -> AsyncIterator[bytes]:
        self._go_back(0)
        n_vocab = self.loaded.config.n_vocab
        most = min(_LOGIT_ROWS_BYTES, self.device.info.limits.max_binding_bytes)
        rows = max(1, most // (4 * n_vocab))
        width = min(self.loaded.tuning.chunk, rows)
        for begin in range(0, len(ids), width):
            chunk = list(ids[begin : begin + width])
            await self._write(begin, chunk)
            ops = self.passes.ops(f"logits.{len(chunk)}", len(chunk))
            x = step.forward(ops, self.loaded.model, self._inputs.buffers, len(chunk))
            y = blocks.logits(ops, self.loaded.model, x)
            plan, views = ops.finish()
            yield await self.device.run(await self.device.prepare(plan), views[y])
        self.cached_ids = list(ids)

    # -- the run -----------------------------------------------------------------

    async def _run(
        self,
        ids: list[int],
        sampling: SamplingOptions,
        max_tokens: int | None,
        progress: Tell,
    ) -> AsyncGenerator[int | Finished, None]:
        start = perf_counter()
        limit = min(max_tokens or self.n_ctx, self.n_ctx - len(ids) + 1)
        new: list[int] = []
        n_reused = self._reusable(ids)
        reason = "stopped"
        first = await self._prefill(ids, n_reused, sampling, progress)
        prefilled = end = perf_counter()
        async with aclosing(self._decode(first, limit)) as tokens:
            async for sampled in tokens:
                if self._stopping.is_set():
                    break
                end = perf_counter()
                if sampled.fault:
                    raise fault_error(sampled.fault, len(new), self.loaded.fit.kv)
                if sampled.is_stop:
                    reason = "stop"
                    break
                new.append(sampled.token)
                yield sampled.token
                if len(new) == limit:
                    reason = "length" if limit == max_tokens else "context"
                    break
        yield Finished(
            reason=reason,
            ids=tuple(new),
            n_prompt=len(ids),
            n_reused=n_reused,
            n_generated=len(new),
            prefill_seconds=prefilled - start,
            decode_seconds=end - prefilled,
            n_dispatches=self.loaded.fit.n_dispatches,
            weight_bytes=self.loaded.fit.step_bytes,
            kv_bytes=kv_bytes_read(
                self.loaded.config, self.loaded.fit.kv, len(ids) + len(new) // 2
            ),
        )

    async def _prefill(
        self, ids: list[int], begin: int, sampling: SamplingOptions, progress: Tell
    ) -> Sampled | None:
        """Run the prompt from `begin` on; return the first token, None if stopped.

        A last token that is left alone takes the one before it along, which is computed
        once more: a pass of one token runs the kernels of a decode step, and these add
        up in another order. So a prompt gives the same bits however it is cut.
        """
        self._inputs.begin(begin, ids, sampling)
        self._go_back(begin)
        chunk = self.loaded.tuning.chunk
        for position in range(begin, len(ids), chunk):
            if len(ids) - begin > chunk:
                progress(Progress("prompt", position - begin, len(ids) - begin))
            is_alone = position == len(ids) - 1 and position > 0 and chunk > 1
            first = position - is_alone
            part = ids[first : position + chunk]
            await self._write(first, part)
            last = position + chunk >= len(ids)
            prepared = await self.passes.get((len(part), last))
            # What no pass has sampled yet is read to wait for the pass.
            data = await self.device.run(
                prepared, View(self._inputs.buffers.sampled, 0, 4)
            )
            self.cached_ids[first:] = part
            if last:
                return Sampled.from_word(int.from_bytes(data, "little"))
            if self._stopping.is_set():
                break
        return None

    async def _decode(
        self, first: Sampled | None, n_most: int
    ) -> AsyncGenerator[Sampled, None]:
        """Yield the tokens up to a stop token, `n_most` at most, the first given.

        More is queued before those that are here are yielded, so that the GPU goes on
        meanwhile. What is queued when this is closed is still waited for: the keys and
        values are in the cache.
        """
        if first is None:
            return
        plan = await self.passes.get(STEP)
        queue = Queue(self.device, plan, self._inputs.buffers.sampled, self.pace)
        newest, found = first.token, [first]
        try:
            while True:
                is_over = found[-1].is_stop or self._stopping.is_set()
                if not is_over and queue.n_submitted < n_most:
                    await self._inputs.gather([newest])
                    queue.fill(n_most)
                for sampled in found:
                    yield sampled
                if found[-1].is_stop or not queue:
                    break
                newest, found = await self._take(queue, newest)
        finally:
            while queue:
                newest, _ = await self._take(queue, newest)

    async def _take(self, queue: Queue, newest: int) -> tuple[int, list[Sampled]]:
        """Take what follows the newest token; all but its last is then in the cache."""
        try:
            found = await queue.take()
        except BaseException:
            self.cached_ids = []  # nobody knows what is
            raise
        tokens = [newest, *(sampled.token for sampled in found)]
        self.cached_ids += tokens[:-1]
        return tokens[-1], found

    async def _write(self, position: int, ids: Sequence[int]) -> None:
        """Write what a pass from a position on reads; it stores keys and values."""
        self._n_stored = max(self._n_stored, position + len(ids))
        self._inputs.write(position, ids)
        await self._inputs.gather(ids)

    def _reusable(self, ids: list[int]) -> int:
        """Return how many prompt tokens the cache already holds.

        At least one token runs, for its logits.
        What earlier prompts stored is what this one would store, to the bit. What
        decode steps stored, a reply or a prompt of one token, differs in rounding.
        """
        common = 0
        for cached, wanted in zip(self.cached_ids, ids[:-1], strict=False):
            if cached != wanted:
                break
            common += 1
        n_stored = max(self._n_stored, len(self.cached_ids))
        caches = self.loaded.model.caches.values()
        return common if all(c.reaches(common, n_stored) for c in caches) else 0

    def _go_back(self, n: int) -> None:
        """Forget the tokens from position n on; what the rings have lost stays lost."""
        self._n_stored = max(self._n_stored, len(self.cached_ids)) if n else 0
        del self.cached_ids[n:]
