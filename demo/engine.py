"""Ask the demonstration model through this project's own engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from demo.corpus import Conversation
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.wgpu_native import open_device
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions

MAX_TOKENS = 160
GREEDY = SamplingOptions(temperature=0.0)


def answers(path: Path, items: Iterable[Conversation]) -> Iterator[list[str]]:
    """Yield the greedy replies to every conversation: two around a tool's result."""
    device = open_device()
    with closing(device), closing(FileSource(str(path))) as source:
        engine = asyncio.run(Engine.load([source], device))
        with closing(engine):
            for item in items:
                n_replies = sum(m["role"] == "assistant" for m in item.replies)
                yield [asyncio.run(answer(engine, item, i)) for i in range(n_replies)]


async def answer(engine: Engine, item: Conversation, step: int) -> str:
    """Return reply number `step`, with the markers of thoughts and tool calls."""
    messages = item.prompt + item.replies[: 2 * step]
    ids, _ = engine.encode_chat(messages, item.tools, item.think)
    decoder = engine.tokenizer.decoder()
    text = ""
    async for event in engine.generate(ids, sampling=GREEDY, max_tokens=MAX_TOKENS):
        if not isinstance(event, Finished):
            text += decoder.push(event)
    return text + decoder.finish()
