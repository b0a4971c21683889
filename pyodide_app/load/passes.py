"""The passes that a model replays: recorded and prepared once, the latest kept."""

from __future__ import annotations

import asyncio

from pyodide_app.gpu.device import Device, Prepared
from pyodide_app.graph.ops import Ops
from pyodide_app.load.layout import Layout
from pyodide_app.models import step

_KEPT = 8  # passes of odd lengths that stay prepared

Key = tuple[int, bool]  # tokens of a pass, and whether it ends in the next one
STEP: Key = (1, True)  # the pass over a token after the first


class Passes:
    """What a device replays of a model, by `Key`."""

    def __init__(self, device: Device, layout: Layout) -> None:
        self._device = device
        self._layout = layout
        self._prepared: dict[Key, Prepared] = {}
        self._begun: dict[Key, asyncio.Task[Prepared]] = {}

    @property
    def prompt(self) -> Key:
        """Return the pass over a whole chunk of a prompt."""
        return (self._layout.tuning.chunk, True)

    def ops(self, label: str, n_tokens: int, trace: bool = False) -> Ops:
        """Begin to record a pass over n tokens."""
        layout = self._layout
        return Ops(
            label, layout.tuning, layout.arena, layout.step.state, n_tokens, trace
        )

    def record(self, key: Key, trace: bool = False) -> Ops:
        """Record a pass."""
        n_tokens, sample = key
        ops = self.ops(f"step.{n_tokens}", n_tokens, trace)
        step.record(ops, self._layout.model, self._layout.step, sample)
        return ops

    def begin(self, key: Key) -> asyncio.Task[Prepared]:
        """Prepare a pass behind what else is done, for `get` to find."""
        task = asyncio.ensure_future(self._prepare(key))
        self._begun[key] = task
        task.add_done_callback(lambda _: self._end(key))
        return task

    async def get(self, key: Key) -> Prepared:
        """Return a prepared pass."""
        if key in self._prepared:
            self._prepared[key] = self._prepared.pop(key)  # the latest
            return self._prepared[key]
        return await (self._begun.get(key) or self._prepare(key))

    def close(self) -> None:
        """Give up what has begun, and let go of what is prepared."""
        for task in self._begun.values():
            task.cancel()
        self._prepared.clear()

    async def _prepare(self, key: Key) -> Prepared:
        n_tokens, sample = key
        plan = self._layout.plans.get(n_tokens) if sample else None
        if plan is None:
            plan, _ = self.record(key).finish()
        prepared = self._prepared[key] = await self._device.prepare(plan)
        odd = [k for k in self._prepared if k[0] not in self._layout.plans]
        for old in odd[:-_KEPT]:
            del self._prepared[old]
        return prepared

    def _end(self, key: Key) -> None:
        task = self._begun.pop(key)
        if not task.cancelled():
            task.exception()  # whoever needs the pass will meet it
