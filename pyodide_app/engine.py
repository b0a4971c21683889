"""The engine: prefill, decode loop and stop conditions, as an iterator of events."""

from __future__ import annotations

import asyncio
import struct
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pyodide_app import errors
from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall, gemma4
from pyodide_app.chat.gemma4_parser import OutputParser
from pyodide_app.gguf.sources import ByteSource
from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.graph.arena import Arena
from pyodide_app.graph.ops import Ops
from pyodide_app.graph.plan import Buffer, View, whole
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.graph.tensors import Tensor
from pyodide_app.loader import Loaded, Progress, load
from pyodide_app.models import gemma4 as model
from pyodide_app.sampling import SamplingOptions, pack_state
from pyodide_app.tokenizer import Tokenizer

_KEPT_PLANS = 8  # prefill plans of odd lengths that stay prepared
_LOGIT_ROWS_BYTES = 32 << 20  # of the logits of one pass when all rows are wanted


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a reply: why, which tokens, and how long it took."""

    reason: str  # "stop" | "length" | "stopped" | "context"
    ids: tuple[int, ...]  # the new tokens, an ending stop token left out
    n_prompt: int
    n_reused: int  # prompt tokens whose keys and values were still in the cache
    n_generated: int
    prefill_seconds: float
    decode_seconds: float


Event = ThinkingDelta | ContentDelta | ToolCall | Finished


class Engine:
    """A loaded model that answers one request at a time."""

    def __init__(self, device: Device, loaded: Loaded) -> None:
        self.device = device
        self.loaded = loaded
        self.n_ctx = loaded.fit.n_ctx
        # Which chat template: whoever knows more than the file says may set it.
        self.large = gemma4.is_large(
            loaded.model.config.per_layer_dim,
            loaded.n_parameters,
            loaded.file.metadata.get_str("general.name", ""),
        )
        self.cached_ids: list[int] = []  # whose keys and values are in the cache
        self._arena = Arena()
        self._plans: dict[tuple[int, bool], Prepared] = {}
        self._state = Buffer("state", STATE_BYTES)
        self._tokens = Buffer("tokens", 4 * loaded.tuning.chunk)
        tokenizer = loaded.tokenizer
        self._stop_ids = tokenizer.stop_ids if tokenizer else frozenset()
        bits = -(-loaded.model.config.n_vocab // 32)
        self._suppressed = Buffer("suppressed", 4 * bits)
        self._seen = Buffer("seen", 4 * bits)
        self._stopping = asyncio.Event()
        self._busy = False
        suppressed = tokenizer.suppress_ids if tokenizer else ()
        self.device.write(self._suppressed, 0, _bits(bits, suppressed))

    @classmethod
    async def load(
        cls,
        sources: Sequence[ByteSource],
        device: Device,
        *,
        n_ctx: int | None = None,
        kv: str = "f16",
        memory: int | None = None,
        host_embeddings: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Engine:
        """Load a model from one GGUF, or from all shards of a split one.

        `memory` is how many bytes the device may hold, where that is known. Per-layer
        embeddings stay in the file, which must stay open, if they do not fit, or with
        `host_embeddings` in any case.
        """
        loaded = await load(
            sources,
            device,
            n_ctx=n_ctx,
            kv=kv,
            memory=memory,
            host_embeddings=host_embeddings,
            progress=progress,
        )
        engine = cls(device, loaded)
        try:
            progress(Progress("pipelines", 0, 1))
            await engine.warm_up()
        except BaseException:
            engine.close()
            raise
        return engine

    async def warm_up(self) -> None:
        """Compile what a prompt and a reply need, before the first message waits.

        The widest pass comes first: its scratch buffers serve all others.
        """
        await self._plan((self.loaded.tuning.chunk, True))
        await self._plan((1, True))

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the model's tokenizer; raises FileFormatError when it has none."""
        if self.loaded.tokenizer is None:
            raise errors.FileFormatError(
                "this file has no vocabulary",
                expected="the metadata key tokenizer.ggml.tokens",
                remedy="Choose a complete model; this one only takes token ids",
            )
        return self.loaded.tokenizer

    @property
    def info(self) -> dict[str, Any]:
        """Return what a person wants to know of the model and where it runs."""
        loaded, config = self.loaded, self.loaded.model.config
        metadata = loaded.file.metadata
        return {
            "name": metadata.get_str("general.name", loaded.file.architecture),
            "architecture": loaded.file.architecture,
            "n_parameters": loaded.n_parameters,
            "weight_bytes": loaded.fit.weight_bytes,
            "host_bytes": loaded.fit.host_bytes,
            "kv_bytes": loaded.fit.kv_bytes,
            "kv": loaded.fit.kv,
            "mode": loaded.fit.mode,
            "n_ctx": loaded.fit.n_ctx,
            "n_ctx_train": config.n_ctx_train,
            "n_layers": config.n_layers,
            "dim": config.dim,
            "n_vocab": config.n_vocab,
            "n_experts": config.n_experts,
            "top_k": config.top_k,
            "adapter": self.device.info.name,
            "backend": self.device.info.backend,
        }

    def stop(self) -> None:
        """End the running generation after the token in flight."""
        self._stopping.set()

    def close(self) -> None:
        """Free everything the model holds on the device."""
        own = [self._state, self._tokens, self._suppressed, self._seen]
        self.device.release([*self.loaded.buffers, *self._arena.buffers, *own])

    # -- requests ----------------------------------------------------------------

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool = False,
    ) -> tuple[list[int], bool]:
        """Return a conversation's prompt ids, and whether it ends within a thought."""
        prompt = gemma4.render(messages, tools=tools, think=think, large=self.large)
        return self.tokenizer.encode_prompt(prompt), prompt.in_thought

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool = False,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
    ) -> AsyncIterator[Event]:
        """Answer a conversation: deltas of thought and text, tool calls, the end."""
        ids, in_thought = self.encode_chat(messages, tools, think)
        parser = OutputParser(think, in_thought, tools=tools)
        decoder = self.tokenizer.decoder()
        async for item in self.generate(ids, sampling=sampling, max_tokens=max_tokens):
            if isinstance(item, int):
                for event in parser.push(decoder.push(item)):
                    yield event
                continue
            for event in [*parser.push(decoder.finish()), *parser.finish()]:
                yield event
            yield item

    async def generate(
        self,
        ids: Sequence[int],
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        ignore_eos: bool = False,
    ) -> AsyncIterator[int | Finished]:
        """Continue a prompt: each new token id, then how it ended.

        Raises ContextFullError when the prompt leaves no room for a token.
        """
        self._check_request(ids, max_tokens)
        self._busy = True
        self._stopping.clear()
        try:
            async for item in self._run(
                list(ids), sampling or SamplingOptions(), max_tokens, ignore_eos
            ):
                yield item
        finally:
            self._busy = False

    async def logits(self, ids: Sequence[int]) -> AsyncIterator[bytes]:
        """Yield the logits of every position in order, as float32 [rows, n_vocab]."""
        self._check_request(ids, None)
        self.cached_ids = []
        n_vocab = self.loaded.model.config.n_vocab
        rows = max(1, _LOGIT_ROWS_BYTES // (4 * n_vocab))
        step = min(self.loaded.tuning.chunk, rows)
        for begin in range(0, len(ids), step):
            chunk = list(ids[begin : begin + step])
            self._write_chunk(begin, chunk)
            await self._gather(chunk)
            ops = self._ops(f"logits.{len(chunk)}", len(chunk))
            y = model.logits(ops, self.loaded.model, self._forward(ops))
            plan, views = ops.finish()
            yield await self.device.run(await self.device.prepare(plan), views[y])
        self.cached_ids = list(ids)

    # -- the run -----------------------------------------------------------------

    async def _run(
        self,
        ids: list[int],
        sampling: SamplingOptions,
        max_tokens: int | None,
        ignore_eos: bool,
    ) -> AsyncIterator[int | Finished]:
        start = perf_counter()
        limit = min(max_tokens or self.n_ctx, self.n_ctx - len(ids) + 1)
        new: list[int] = []
        reused = self._reusable(ids)
        token = await self._prefill(ids, reused, sampling)
        prefilled = perf_counter()
        reason = "stopped"
        while token is not None and not self._stopping.is_set():
            if token in self._stop_ids and not ignore_eos:
                reason = "stop"
                break
            new.append(token)
            yield token
            if len(new) == limit:
                reason = "length" if limit == max_tokens else "context"
                break
            if self._stopping.is_set():
                break
            token = await self._step((1, True))
            self.cached_ids.append(new[-1])
        end = perf_counter()
        yield Finished(
            reason,
            tuple(new),
            len(ids),
            reused,
            len(new),
            prefilled - start,
            end - prefilled,
        )

    async def _prefill(
        self, ids: list[int], begin: int, sampling: SamplingOptions
    ) -> int | None:
        """Run the prompt from `begin` on; return the first token, None if stopped."""
        self.device.write(self._state, 0, pack_state(begin, sampling))
        bits = self._seen.size // 4
        self.device.write(self._seen, 0, _bits(bits, ids))
        del self.cached_ids[begin:]
        chunk = self.loaded.tuning.chunk
        for position in range(begin, len(ids), chunk):
            part = ids[position : position + chunk]
            self._write_chunk(position, part)
            await self._gather(part)
            last = position + chunk >= len(ids)
            token = await self._step((len(part), last))
            self.cached_ids += part
            if last:
                return token
            if self._stopping.is_set():
                break
        return None

    async def _step(self, key: tuple[int, bool]) -> int:
        """Replay a pass over n tokens; return the token that it sampled, if it did."""
        prepared = await self._plan(key)
        data = await self.device.run(prepared, View(self._state, 0, 8))
        _, token = struct.unpack("<II", data)
        if key[1]:
            await self._gather([token])  # before anyone looks at it: a step needs it
        return int(token)

    def _reusable(self, ids: list[int]) -> int:
        """Return how many prompt tokens the cache already holds.

        At least one token runs, for its logits. A sliding layer's ring keeps a chunk
        more than its window: going back further than that needs a fresh start.
        """
        common = 0
        for cached, wanted in zip(self.cached_ids, ids[:-1], strict=False):
            if cached != wanted:
                break
            common += 1
        rings = [
            cache.n_slots - cache.window
            for cache in self.loaded.model.caches.values()
            if cache.window and cache.n_slots < len(self.cached_ids)
        ]
        back = len(self.cached_ids) - common
        return common if all(back <= ring for ring in rings) else 0

    def _check_request(self, ids: Sequence[int], max_tokens: int | None) -> None:
        n_vocab = self.loaded.model.config.n_vocab
        if self._busy:
            raise errors.RequestError(
                "the engine is busy with another request", remedy="Stop it first"
            )
        if max_tokens is not None and max_tokens < 1:
            raise errors.RequestError(
                "max_tokens", found=str(max_tokens), expected="1 or more"
            )
        if not ids:
            raise errors.RequestError("an empty prompt", expected="at least one token")
        wrong = [i for i in ids if not 0 <= i < n_vocab]
        if wrong:
            raise errors.RequestError(
                "token id", found=str(wrong[0]), expected=f"0 to {n_vocab - 1}"
            )
        if len(ids) > self.n_ctx:
            raise errors.ContextFullError(
                "the conversation is longer than the context",
                found=f"{len(ids)} tokens",
                expected=f"at most {self.n_ctx}",
                remedy="Start a new chat, or load the model with a longer context",
            )

    # -- plans -------------------------------------------------------------------

    def _write_chunk(self, position: int, ids: Sequence[int]) -> None:
        self.device.write(self._state, 0, struct.pack("<I", position))
        self.device.write(self._tokens, 0, array("I", ids).tobytes())

    async def _gather(self, ids: Sequence[int]) -> None:
        """Fetch the per-layer embeddings of the next pass, where they are not here."""
        if self.loaded.rows is not None:
            await self.loaded.rows.gather(self.device, ids)

    def _ops(self, label: str, n_tokens: int, trace: bool = False) -> Ops:
        return Ops(label, self.loaded.tuning, self._arena, self._state, n_tokens, trace)

    def _forward(self, ops: Ops) -> Tensor:
        tokens = Tensor((ops.n_tokens,), View(self._tokens, 0, 4 * ops.n_tokens))
        return model.forward(ops, self.loaded.model, tokens)

    def record(self, n_tokens: int, sample: bool, trace: bool = False) -> Ops:
        """Record a pass over n tokens; with `sample` it ends in the next token."""
        ops = self._ops(f"step.{n_tokens}", n_tokens, trace)
        x = self._forward(ops)
        if sample:
            y = model.logits(ops, self.loaded.model, x, row_begin=n_tokens - 1)
            ops.sample(
                y,
                _tensor(self._tokens),
                _tensor(self._suppressed),
                _tensor(self._seen),
            )
        return ops

    async def _plan(self, key: tuple[int, bool]) -> Prepared:
        """Return the prepared pass over key[0] tokens, keeping the latest few."""
        if key in self._plans:
            self._plans[key] = self._plans.pop(key)
            return self._plans[key]
        plan, _ = self.record(*key).finish()
        prepared = await self.device.prepare(plan)
        whole_chunk = self.loaded.tuning.chunk
        odd = [k for k in self._plans if k[0] not in (1, whole_chunk)]
        if len(odd) >= _KEPT_PLANS:
            del self._plans[odd[0]]
        self._plans[key] = prepared
        return prepared


def _tensor(buffer: Buffer) -> Tensor:
    return Tensor((buffer.size // 4,), whole(buffer))


def _bits(n_words: int, ids: Sequence[int]) -> bytes:
    """Return a bit mask with the bits of `ids` set, as little-endian words."""
    mask = bytearray(4 * n_words)
    for i in ids:
        mask[i >> 3] |= 1 << (i & 7)
    return bytes(mask)
