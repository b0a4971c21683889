"""ChatML: SmolLM2, Qwen 2, 2.5 and 3 and many others, each with habits of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyodide_app.text.chat import Fragment, Prompt, Tool, markup, outside
from pyodide_app.text.chat.format import (
    ChatFormat,
    Parser,
    ends_with,
    require_messages,
    text_content,
)
from pyodide_app.text.chat.json_values import json_text
from pyodide_app.text.chat.messages import check_messages, tools_as_sent
from pyodide_app.text.chat.reply_parser import reply_parser
from pyodide_app.text.chat.reply_reader import Markers, Results

TURN, END = "<|im_start|>", "<|im_end|>"
THINK, THINK_END = "<think>", "</think>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
RESULT, RESULT_END = "<tool_response>", "</tool_response>"
TOOLS_PHRASE = "You may call one or more functions to assist with the user query."

_TOOLS = (
    f"# Tools\n\n{TOOLS_PHRASE}\n\nYou are provided with function signatures within "
    "<tools></tools> XML tags:\n<tools>"
)
_TOOLS_END = (
    "\n</tools>\n\nFor each function call, return a json object with function name and "
    f"arguments within {CALL}{CALL_END} XML tags:\n{CALL}\n"
    f'{{"name": <function-name>, "arguments": <args-json-object>}}\n{CALL_END}'
)
_NEWLINE = r"(?:\\n|\n)"
# A text between the markers of a system turn that the template itself writes.
_DEFAULT = re.compile(
    rf"<\|im_start\|>system{_NEWLINE}((?:[^'\"{{}}<\\]|\\['\"n])+?){_NEWLINE}?<\|im_end\|>"
)
_OPENS_THOUGHT = re.compile(
    rf"<\|im_start\|>assistant{_NEWLINE}<think>{_NEWLINE}?(?!.*</think>)"
)


@dataclass(frozen=True, slots=True)
class ChatML(ChatFormat):
    """The format, with what a model's template makes of it."""

    default_system: str | None = None  # where a conversation brings none
    with_tools: bool = False
    reasons: bool = False  # thoughts of the past are known, and left out
    can_choose: bool = False  # whether to think is said in the prompt
    always_thinks: bool = False  # the prompt opens the thought

    @classmethod
    def of(cls, template: str) -> ChatML:
        """Return the format as a template has it."""
        default = _DEFAULT.search(template)
        reasons = THINK_END in template
        chooses = ("enable_thinking", ".IsThinkSet", ".Think ", ".Think}", "/no_think")
        can_choose = reasons and any(sign in template for sign in chooses)
        lines = template.splitlines()
        return cls(
            default_system=_unescaped(default[1]) if default else None,
            with_tools=TOOLS_PHRASE in template and CALL in template,
            reasons=reasons,
            can_choose=can_choose,
            always_thinks=not can_choose and any(map(_OPENS_THOUGHT.search, lines)),
        )

    @property
    def name(self) -> str:
        """Return the format's name."""
        return "ChatML"

    @property
    def thinks(self) -> bool:
        """Say whether the template lets the model think."""
        return self.can_choose or self.always_thinks

    @property
    def has_tools(self) -> bool:
        """Say whether the template offers tools."""
        return self.with_tools

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the markers that the template knows."""
        return self._reply.all

    @property
    def end(self) -> str:
        """Return what ends a turn."""
        return END

    @property
    def _reply(self) -> Markers:
        return Markers(
            thought=(THINK, THINK_END) if self.reasons else None,
            call_opens=(CALL,) if self.with_tools else (),
            call_close=CALL_END if self.with_tools else "",
            results=Results(RESULT, RESULT_END) if self.with_tools else None,
        )

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation; reasoning of turns that are done is left out."""
        turns = check_messages(messages)
        offered = tools_as_sent(tools) if self.with_tools else []
        require_messages(turns)
        texts = [text_content(message, i) for i, message in enumerate(turns)]
        first = int(turns[0]["role"] == "system")
        fragments = [self._system(texts[0] if first else None, offered)]
        asked = _last_question(turns, texts)
        for i in range(first, len(turns)):
            fragments.append(self._message(turns, texts, i, i > asked))
        fragments.append(markup(f"{TURN}assistant\n"))
        if self.always_thinks:
            fragments.append(markup(f"{THINK}\n"))
        elif self.can_choose and not think:
            fragments.append(markup(f"{THINK}\n\n{THINK_END}\n\n"))
        return Prompt.join(fragments)

    def opens_thought(self, prompt: Prompt) -> bool:
        """Say whether a prompt ends within a thought."""
        return self.reasons and ends_with(prompt, THINK)

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser of thoughts, answers and calls, those that there are."""
        return reply_parser(self._reply, think, in_thought, tools=tools)

    def _system(self, text: str | None, tools: Sequence[Tool]) -> Fragment:
        """Return the first turn: the instructions, and the tools."""
        if text is None and self.default_system is not None:
            said = markup(self.default_system)
        elif text is not None:
            said = outside(text)
        elif not tools:
            return []
        else:
            said = []
        if tools:
            said += markup(("\n\n" if said else "") + _TOOLS)
            for tool in tools:
                said += markup("\n") + outside(json_text(tool))
            said += markup(_TOOLS_END)
        return markup(f"{TURN}system\n") + said + markup(f"{END}\n")

    def _message(
        self,
        turns: Sequence[Mapping[str, Any]],
        texts: Sequence[str],
        i: int,
        is_open: bool,
    ) -> Fragment:
        message, text = turns[i], texts[i]
        if message["role"] == "tool" and self.with_tools:
            return _result(turns, text, i)
        head = markup(TURN) + outside(message["role"])
        if message["role"] != "assistant":
            return head + markup("\n") + outside(text) + markup(f"{END}\n")
        thought = ""
        if self.reasons:
            thought, text = _split_thought(message["reasoning"], text)
        said: Fragment = []
        if is_open and self.reasons and (thought or i == len(turns) - 1):
            said += markup(f"{THINK}\n") + outside(thought.strip("\n"))
            said += markup(f"\n{THINK_END}\n\n")
            text = text.lstrip("\n")
        said += outside(text)
        for n, call in enumerate(message["tool_calls"] if self.with_tools else ()):
            said += markup(("\n" if text or n else "") + f"{CALL}\n")
            said += outside(_call(call["function"])) + markup(f"\n{CALL_END}")
        return head + markup("\n") + said + markup(f"{END}\n")


def _result(turns: Sequence[Mapping[str, Any]], text: str, i: int) -> Fragment:
    """Return one result; those that follow each other share a user's turn."""
    is_first = i == 0 or turns[i - 1]["role"] != "tool"
    is_last = i + 1 == len(turns) or turns[i + 1]["role"] != "tool"
    return (
        markup((f"{TURN}user" if is_first else "") + f"\n{RESULT}\n")
        + outside(text)
        + markup(f"\n{RESULT_END}" + (f"{END}\n" if is_last else ""))
    )


def _call(function: Mapping[str, Any]) -> str:
    arguments = json_text(function["arguments"])
    return f'{{"name": "{function["name"]}", "arguments": {arguments}}}'


def _last_question(turns: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> int:
    """Return the last message of a user that is not a result in disguise."""
    for i in range(len(turns) - 1, -1, -1):
        text = texts[i]
        is_result = text.startswith(RESULT) and text.endswith(RESULT_END)
        if turns[i]["role"] == "user" and not is_result:
            return i
    return len(turns) - 1


def _split_thought(reasoning: str, text: str) -> tuple[str, str]:
    """Return the thought and the answer of a message, which may hold both."""
    if reasoning or THINK_END not in text:
        return reasoning, text
    before, after = text.split(THINK_END)[0], text.split(THINK_END)[-1]
    thought = before.rstrip("\n").split(THINK)[-1].lstrip("\n")
    return thought, after.lstrip("\n")


def _unescaped(literal: str) -> str:
    """Return what a literal of a template stands for."""
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], literal)
