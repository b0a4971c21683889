"""The format of a template that is none of the known ones: it is run, in a sandbox."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyodide_app.errors import (
    ChatFormatError,
    EngineError,
    RequestError,
    UnsupportedFormatError,
    shorten,
)
from pyodide_app.text.chat import Prompt
from pyodide_app.text.chat.format import (
    ChatFormat,
    Parser,
    ends_with,
    require_messages,
    text_content,
)
from pyodide_app.text.chat.messages import check_messages, tools_as_sent
from pyodide_app.text.chat.reply_parser import reply_parser
from pyodide_app.text.chat.reply_reader import Markers, Results
from pyodide_app.text.chat.shifted import (
    FIRST,
    Object,
    outside_key,
    outside_value,
    segments,
)

# On the page a button of the error does it.
RAW = "The model can still continue a text as it stands, as `generate --raw` does"
_LONGEST = 200_000  # characters of a template; the longest released has 20,000
_UNITS = 3_000_000  # of work, and more for long conversations
_THOUGHT = ("<think>", "</think>")
_CALLS = {"<tool_call>": "</tool_call>", "[TOOL_CALLS]": "", "<|python_tag|>": ""}
_RESULTS = ("<tool_response>", "</tool_response>")
_TOO_MUCH = re.compile(f"[{chr(FIRST)}-\U0010ffff]")


_host_fetches = False


def is_here() -> bool:
    """Say whether there is what runs templates."""
    return importlib.util.find_spec("jinja2") is not None


def host_fetches(does: bool) -> None:
    """Say whether the host fetches what runs templates for a model that needs it."""
    global _host_fetches
    _host_fetches = does


def can_run() -> bool:
    """Say whether there is what runs templates, or will be when one is to be run."""
    return _host_fetches or is_here()


@dataclass(frozen=True, slots=True)
class Templated(ChatFormat):
    """A template of a file, and what it is told of the vocabulary."""

    template: str
    bos: str = ""
    eos: str = ""

    @property
    def name(self) -> str:
        """Return what people may call it."""
        return "its own template"

    @property
    def thinks(self) -> bool:
        """Say whether the template knows of thoughts."""
        return _THOUGHT[1] in self.template

    @property
    def has_tools(self) -> bool:
        """Say whether the template offers tools, and calls can be read."""
        return "tools" in self.template and bool(self._reply.call_opens)

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the markers that the template knows."""
        return self._reply.all

    @property
    def _reply(self) -> Markers:
        opens = tuple(call for call in _CALLS if call in self.template)
        close = _CALLS[opens[0]] if opens else ""
        results = Results(*_RESULTS) if _RESULTS[0] in self.template else None
        return Markers(_THOUGHT if self.thinks else None, opens, close, results)

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation by the template.

        Raises: RequestError where the template refuses it, ChatFormatError where it
        fails or cannot be run at all.
        """
        conversation = check_messages(messages)
        require_messages(conversation)
        values = {
            "messages": [_message(m, i) for i, m in enumerate(conversation)],
            "tools": outside_value(tools_as_sent(tools)) or None,
            "add_generation_prompt": True,
            "enable_thinking": think,
            "bos_token": self.bos,
            "eos_token": self.eos,
        }
        return Prompt.join([segments(self._run(values))])

    def opens_thought(self, prompt: Prompt) -> bool:
        """Say whether a prompt ends within a thought."""
        return self.thinks and ends_with(prompt, _THOUGHT[0])

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser of what the template knows."""
        return reply_parser(self._reply, think, in_thought, tools=tools)

    def _run(self, values: Mapping[str, Any]) -> str:
        if len(self.template) > _LONGEST or _TOO_MUCH.search(self.template):
            raise _unfit("it is too long, or has characters of private use")
        try:
            from pyodide_app.text.chat import jinja_sandbox as sandbox
        except ImportError as error:
            raise UnsupportedFormatError(
                "this model's chat template needs the package jinja2",
                found=str(error),
                expected="jinja2 3.1",
                remedy="Install it: pip install 'jinja2==3.1.6'",
            ) from error
        units = _UNITS + 100 * len(str(values))
        try:
            return sandbox.render(self.template, units, values)
        except EngineError:
            raise
        except sandbox.RefusedError as error:
            raise RequestError(
                f"the model's chat template refuses this: {shorten(str(error), 300)}"
            ) from error
        except sandbox.BudgetError as error:
            raise _unfit("it takes too much time or memory") from error
        except (sandbox.TemplateSyntaxError, SyntaxError) as error:
            raise _unfit(shorten(str(error), 200)) from error
        except Exception as error:  # a template can fail in any way
            raise ChatFormatError(
                "the model's chat template fails on this conversation",
                found=shorten(f"{type(error).__name__}: {error}", 200),
                expected="one that it was made for",
                remedy=RAW,
            ) from error


def _unfit(found: str) -> ChatFormatError:
    return ChatFormatError(
        "this model's chat template cannot be run",
        found=found,
        expected="a template of messages, in Jinja",
        remedy=RAW,
    )


def _message(message: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Return a message as templates know them: what it lacks is not there."""
    calls = [
        {"id": call["id"], "type": "function", "function": call["function"]}
        for call in message["tool_calls"]
    ]
    said = {
        "content": text_content(message, i),
        "reasoning_content": message["reasoning"] or None,
        "tool_calls": calls or None,
        "tool_call_id": message["tool_call_id"],
        "name": message["name"] or message["tool_name"] or None,
    }
    plain = {key: value for key, value in said.items() if value is not None}
    return Object({"role": outside_key(message["role"])} | outside_value(plain))
