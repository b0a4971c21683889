"""The engine: conversations to prompts, and a runner's tokens to text and events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Unpack

from pyodide_app import errors
from pyodide_app.gpu.device import Device
from pyodide_app.load.advice import model_name
from pyodide_app.load.chat_format import choose_format
from pyodide_app.load.loader import Loaded
from pyodide_app.run.finished import Finished
from pyodide_app.run.requests import Asked
from pyodide_app.run.runner import Runner
from pyodide_app.text.chat import ContentDelta, ThinkingDelta, ToolCall
from pyodide_app.text.chat.choice import Brought
from pyodide_app.text.chat.format import ChatFormat
from pyodide_app.text.chat.messages import (
    check_messages,
    check_tools,
    refuse_media,
    tell_unanswered,
)
from pyodide_app.text.chat.plain import as_it_stands
from pyodide_app.text.chat.stop_strings import StopStrings
from pyodide_app.text.chat.templated import Templated
from pyodide_app.text.tokenizer import Tokenizer

Event = ThinkingDelta | ContentDelta | ToolCall | Finished


class Engine(Runner):
    """A runner that takes and gives text, where the file has a vocabulary."""

    def __init__(self, device: Device, loaded: Loaded) -> None:
        super().__init__(device, loaded)
        self.learn(Brought())
        self.reply_ids: list[int] = []  # of the reply under way, as far as it is

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
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of the file: what was ignored or chosen."""
        return (*self.loaded.notes, *self._choice.notes)

    @property
    def chat_format(self) -> ChatFormat:
        """Return how conversations are written, and replies read.

        Raises: ChatFormatError where nobody knows it.
        """
        return self._choice.require()

    @property
    def runs_template(self) -> bool:
        """Say whether conversations are written by running the file's own template."""
        return isinstance(self._choice.format, Templated)

    @property
    def turn_ends(self) -> tuple[str, ...]:
        """Return what ends the model's turn where that is no token but text."""
        return self._choice.stops

    def learn(self, brought: Brought) -> None:
        """Take what is known of the chat format besides the file."""
        self._choice = choose_format(self.loaded.file, brought)
        if self._choice.format and self.loaded.tokenizer:
            self.loaded.tokenizer.keep(self._choice.format.markers)

    @property
    def info(self) -> dict[str, Any]:
        """Return what a person wants to know of the model and where it runs."""
        loaded, config, file = self.loaded, self.loaded.config, self.loaded.file
        chat = self._choice.format
        return {
            "name": model_name(file.metadata) or file.architecture,
            "architecture": file.architecture,
            "n_parameters": file.n_parameters,
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
            "n_experts_used": config.n_experts_used,
            "format": chat.name if chat else "",
            "thinks": chat is not None and chat.thinks,
            "tools": chat is not None and chat.has_tools,
            "adapter": self.device.info.name,
            "backend": self.device.info.backend,
            "kernels": str(loaded.choice),
            "notes": [errors.shorten(note, 400) for note in self.notes],
        }

    def encode_chat(
        self,
        messages: object,
        tools: object = (),
        think: bool = False,
    ) -> tuple[list[int], bool]:
        """Return a conversation's prompt ids, and whether it ends within a thought.

        Calls that nobody answered are text where the format has no place for them.
        Raises: RequestError for messages and tools that are none, or hold an image or a
        sound: this engine gives a model text alone; or for tools that it cannot have.
        """
        chat, known = self.chat_format, check_messages(messages)
        refuse_media(known)
        if check_tools(tools) and not chat.has_tools:
            raise errors.RequestError(
                "this model cannot call tools",
                found=f"tools, in the chat format {chat.name}",
                expected="none",
                remedy="Leave them out, or choose a model with tools.",
            )
        try:
            prompt = chat.render(messages, tools=tools, think=think)
        except (errors.RequestError, errors.ChatFormatError):
            if known == (told := tell_unanswered(known)):
                raise
            prompt = chat.render(told, tools=tools, think=think)
        return self.tokenizer.encode_prompt(prompt), chat.opens_thought(prompt)

    async def chat(
        self,
        messages: object,
        *,
        tools: object = (),
        think: bool = False,
        begun: Sequence[int] = (),
        stop: Sequence[str] = (),
        **asked: Unpack[Asked],
    ) -> AsyncGenerator[Event, None]:
        """Answer a conversation: deltas of thought and text, tool calls, the end.

        `begun` are the ids of a reply that was cut short: it goes on behind them, and
        its events are those of the whole reply, from its first word on.
        A stop string ends the reply wherever the model writes it, in a thought as well.
        """
        ids, in_thought = self.encode_chat(messages, tools, think)
        parser = self.chat_format.parser(think, in_thought, tools=tools)
        StopStrings(stop)  # refuses what can be none
        stop = (*stop, *self.turn_ends)
        items = self.generate_text(ids, begun=begun, stop=stop, **asked)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, str):
                    for event in parser.push(item):
                        yield event
                    continue
                for event in parser.finish():
                    yield event
                yield item

    async def complete(
        self,
        text: str,
        *,
        begun: Sequence[int] = (),
        stop: Sequence[str] = (),
        **asked: Unpack[Asked],
    ) -> AsyncGenerator[Event, None]:
        """Continue a text as it stands, in no chat format: deltas of text, the end.

        The text's own markers are what they are in a prompt; `begun` and `stop` as in
        `chat`.
        """
        ids = self.tokenizer.encode_prompt(as_it_stands(text))
        items = self.generate_text(ids, begun=begun, stop=stop, **asked)
        async with aclosing(items):
            async for item in items:
                yield ContentDelta(item) if isinstance(item, str) else item

    async def generate_text(
        self,
        ids: Sequence[int],
        *,
        begun: Sequence[int] = (),
        stop: Sequence[str] = (),
        **asked: Unpack[Asked],
    ) -> AsyncGenerator[str | Finished, None]:
        """Continue a prompt: more text whenever it is certain, then how it ended.

        The text begins with that of the ids in `begun`, which the model goes on from.
        It ends before the first stop string; the ids end with the token that completed
        it. Raises RequestError for a stop string that cannot be one.
        """
        stops = StopStrings(stop)
        decoder = self.tokenizer.decoder(ids)
        n_read = 0
        self.reply_ids = []
        items = self.generate([*ids, *begun], **asked)
        async with aclosing(items):
            async for item in items:
                text, begun = stops.push("".join(map(decoder.push, begun))), ()
                if isinstance(item, Finished):
                    text += stops.push(decoder.finish()) + stops.finish()
                else:
                    self.reply_ids.append(item)
                    n_read += not stops.found  # else it was under way at the end
                    text += stops.push(decoder.push(item))
                    if stops.found:
                        self.stop()
                if text:
                    yield text
                if isinstance(item, Finished):
                    yield _cut(item, n_read) if stops.found else item


def _cut(end: Finished, n_generated: int) -> Finished:
    """Return the end of a reply that a stop string has ended after so many tokens."""
    ids = end.ids[:n_generated]
    return replace(end, reason="stop", ids=ids, n_generated=n_generated)
