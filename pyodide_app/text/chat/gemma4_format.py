"""Gemma 4's chat format, of the small models and of the large ones."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app.text.chat import Prompt, gemma4
from pyodide_app.text.chat.format import ChatFormat, Parser, ends_with
from pyodide_app.text.chat.gemma4_markers import MARKERS, THOUGHT_OPEN
from pyodide_app.text.chat.gemma4_parser import OutputParser


@dataclass(frozen=True, slots=True)
class Gemma4(ChatFormat):
    """The format; a large model that is not to think finds an empty thought."""

    large: bool = False

    @property
    def name(self) -> str:
        """Return the format's name."""
        return "Gemma 4"

    @property
    def thinks(self) -> bool:
        """Say that it can think."""
        return True

    @property
    def has_tools(self) -> bool:
        """Say that it can call tools."""
        return True

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the markers of thoughts, calls and results."""
        return MARKERS

    @property
    def end(self) -> str:
        """Return what ends a turn."""
        return "<turn|>"

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation, as the published template does."""
        return gemma4.render(messages, tools=tools, think=think, large=self.large)

    def opens_thought(self, prompt: Prompt) -> bool:
        """Say whether a prompt ends with the beginning of a thought."""
        return ends_with(prompt, f"{THOUGHT_OPEN}thought")

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser of its notation."""
        return OutputParser(think, in_thought, tools=tools)
