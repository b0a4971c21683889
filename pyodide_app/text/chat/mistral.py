"""Mistral's chat formats, from v1 to v7, and Llama 2's, from which they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.text.chat import Fragment, Prompt, Tool, markup, outside
from pyodide_app.text.chat.format import (
    ChatFormat,
    Parser,
    require_messages,
    require_turns,
    text_content,
)
from pyodide_app.text.chat.json_values import json_text
from pyodide_app.text.chat.messages import check_messages, tools_as_sent
from pyodide_app.text.chat.reply_parser import reply_parser
from pyodide_app.text.chat.reply_reader import Markers, Results

BOS, EOS = "<s>", "</s>"
OPEN, CLOSE = "[INST]", "[/INST]"
_CALLS = "[TOOL_CALLS]"
_RESULT_ROLES = ("tool", "tool_results")
_ID_LENGTH = 9  # of a call's id: the templates take no other
_MARKERS = Markers(
    call_opens=(_CALLS,),
    results=Results("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    others=("[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]"),
)


@dataclass(frozen=True, slots=True)
class Mistral(ChatFormat):
    """One version: where spaces stand, where the system text, and whether tools."""

    version: str
    before: str = OPEN  # a user's text
    after: str = CLOSE
    reply: str = ""  # before an answer
    gap: str = ""  # after the other markers
    system: str = "last"  # where: before the "first" text, the last, "sys", a "turn"
    with_tools: bool = True
    trims: bool = False  # answers

    @classmethod
    def of(cls, template: str) -> Mistral:
        """Return the version that a template is of; the newest plain one without."""
        spaced = f"{OPEN} " in template
        if "<<SYS>>" in template:
            return LLAMA_2
        if "[SYSTEM_PROMPT]" in template:
            return V7_SPACED if spaced else V7
        if "[AVAILABLE_TOOLS]" in template or not template:
            return V3 if spaced else V3_TEKKEN
        if f"' {OPEN} " in template or f'" {OPEN} ' in template:
            return V1_SPACED
        return V1 if spaced else V3_TEKKEN

    @property
    def name(self) -> str:
        """Return the name of the version."""
        return self.version

    @property
    def has_tools(self) -> bool:
        """Say whether the version has tools."""
        return self.with_tools

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the markers of calls and results."""
        return _MARKERS.all if self.with_tools else ()

    @property
    def end(self) -> str:
        """Return what ends a turn."""
        return EOS

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation; tools stand before the last user's turn."""
        turns = check_messages(messages)
        offered = tools_as_sent(tools) if self.with_tools else []
        require_messages(turns)
        texts = [text_content(message, i) for i, message in enumerate(turns)]
        fragments = [markup(BOS)]
        system = None
        if self.system != "turn" and turns[0]["role"] == "system":
            system, turns, texts = texts[0], turns[1:], texts[1:]
        self._check(turns)
        users = [m for m in turns if m["role"] == "user"]
        for i, message in enumerate(turns):
            if message["role"] == "user":
                if offered and message == users[-1]:
                    fragments.append(self._offer(offered))
                has_system = i == (len(turns) - 1 if self.system == "last" else 0)
                first = system if has_system else None
                fragments.append(self._user(first, texts[i], i))
            else:
                fragments.append(self._other(message, texts[i], i))
        return Prompt.join(fragments)

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser of answers and of calls."""
        markers = _MARKERS if self.with_tools else Markers()
        return reply_parser(markers, think, in_thought, tools=tools)

    def _check(self, turns: Sequence[Mapping[str, Any]]) -> None:
        """Raise RequestError for roles out of turn; calls and results do not count."""
        counted = [
            message["role"]
            for message in turns
            if not (
                (message["role"] in _RESULT_ROLES and self.with_tools)
                or (message["tool_calls"] and self.with_tools)
                or (message["role"] == "system" and self.system == "turn")
            )
        ]
        require_turns(counted, self.name)
        for i, role in enumerate(counted):
            if role not in ("user", "assistant"):
                raise RequestError(
                    f"{self.name} has turns of user and assistant alone",
                    found=f"{role!a:.40} as turn {i + 1}",
                    expected="a system message at the beginning only",
                )

    def _user(self, system: str | None, text: str, i: int) -> Fragment:
        said = outside(text)
        if system is not None and self.system == "sys":
            said = markup("<<SYS>>\n") + outside(system) + markup("\n<</SYS>>\n\n")
            said += outside(text)
        elif system is not None:
            said = outside(system + "\n\n" + text)
        again = markup(BOS) if self is LLAMA_2 and i else []
        return again + markup(self.before) + said + markup(self.after)

    def _other(self, message: Mapping[str, Any], text: str, i: int) -> Fragment:
        """Return a turn that is not a user's."""
        if message["role"] == "system":
            opened = f"[SYSTEM_PROMPT]{self.gap}"
            return markup(opened) + outside(text) + markup("[/SYSTEM_PROMPT]")
        if message["tool_calls"] and self.with_tools:
            calls = [_call(call, i) for call in message["tool_calls"]]
            said = outside(f"[{', '.join(calls)}]")
            return markup(f"{_CALLS}{self.gap}") + said + markup(EOS)
        if message["role"] in _RESULT_ROLES:
            return self._result(message, text, i)
        said = outside(text.strip() if self.trims else text)
        end = f" {EOS}" if self is LLAMA_2 else EOS
        return markup(self.reply) + said + markup(end)

    def _offer(self, tools: Sequence[Tool]) -> Fragment:
        texts = []
        for tool in tools:
            function = {k: v for k, v in tool["function"].items() if k != "return"}
            texts.append(json_text({"type": "function", "function": function}))
        opened = markup(f"[AVAILABLE_TOOLS]{self.gap}")
        return opened + outside(f"[{', '.join(texts)}]") + markup("[/AVAILABLE_TOOLS]")

    def _result(self, message: Mapping[str, Any], text: str, i: int) -> Fragment:
        call_id = _id(message["tool_call_id"], f"messages[{i}].tool_call_id")
        if self.system == "turn":  # v7 names the call first, without JSON
            opened = markup(f"[TOOL_RESULTS]{self.gap}") + outside(call_id)
            said = markup("[TOOL_CONTENT]" + self.gap) + outside(text)
            return opened + said + markup("[/TOOL_RESULTS]")
        said = outside(f'{{"content": {text}, "call_id": "{call_id}"}}')
        return markup(f"[TOOL_RESULTS]{self.gap}") + said + markup("[/TOOL_RESULTS]")


LLAMA_2 = Mistral(
    "Llama 2", f"{OPEN} ", f" {CLOSE}", " ", system="sys", with_tools=False, trims=True
)
V1 = Mistral("Mistral v1", f"{OPEN} ", f" {CLOSE}", system="first", with_tools=False)
V1_SPACED = Mistral(
    "Mistral v1", f" {OPEN} ", f" {CLOSE}", " ", system="first", with_tools=False
)
V3 = Mistral("Mistral v3", f"{OPEN} ", CLOSE, " ", " ", trims=True)
V3_TEKKEN = Mistral("Mistral v3 (Tekken)")
V7 = Mistral("Mistral v7", system="turn")
V7_SPACED = Mistral("Mistral v7", f"{OPEN} ", CLOSE, " ", " ", system="turn")


def _call(call: Mapping[str, Any], i: int) -> str:
    call_id = _id(call["id"], f"messages[{i}].tool_calls.id")
    return json_text(call["function"])[:-1] + f', "id": "{call_id}"}}'


def _id(value: object, where: str) -> str:
    """Return a call's id; one that nobody gave is made up."""
    if value is None:
        return "call00000"
    if not isinstance(value, str) or len(value) != _ID_LENGTH:
        raise RequestError(
            where,
            found=f"{value!a:.40}",
            expected=f"an id of {_ID_LENGTH} letters and digits, as this model takes",
        )
    return value
