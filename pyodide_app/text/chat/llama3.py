"""Llama 3's chat format, and what 3.1 added to it: a system turn always, and tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.text.chat import Fragment, Prompt, markup, outside
from pyodide_app.text.chat.format import (
    ChatFormat,
    Parser,
    require_messages,
    text_content,
)
from pyodide_app.text.chat.json_values import json_text
from pyodide_app.text.chat.messages import check_messages, tools_as_sent
from pyodide_app.text.chat.reply_parser import reply_parser
from pyodide_app.text.chat.reply_reader import Markers, Results

HEADER, HEADER_END, END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
_RESULT_ROLES = ("tool", "ipython")
# A result is a turn of its own. After it the model may give itself the word again.
_RESULTS = Results(
    HEADER,
    END,
    heads=tuple(f"{role}{HEADER_END}" for role in _RESULT_ROLES),
    resumes=(f"assistant{HEADER_END}",),
)
_MARKERS = Markers(
    call_opens=("<|python_tag|>",),
    results=_RESULTS,
    others=(HEADER_END, "<|eom_id|>"),
)
_FIXED_DATE = re.compile(r"date_string\s*=\s*[\"'](\d\d? \w{3} \d{4})[\"']")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
TOOLS_PHRASE = "Given the following functions, please respond with a JSON"
_TOOLS = (
    f"{TOOLS_PHRASE} for a function call with its proper arguments that best answers "
    "the given prompt.\n\n"
    'Respond in the format {"name": function name, "parameters": dictionary of '
    "argument name and its value}.Do not use variables.\n\n"
)


def today() -> str:
    """Return the current day as the templates write it, in English everywhere."""
    day = date.today()
    return f"{day.day:02} {_MONTHS[day.month - 1]} {day.year}"


@dataclass(frozen=True, slots=True)
class Llama3(ChatFormat):
    """The format of Llama 3; `begins` with the turn that 3.1 brought, or without."""

    begins: bool = True
    day: Callable[[], str] = today

    @classmethod
    def of(cls, template: str) -> Llama3:
        """Return the format as a template has it; 3.1's own day is a fixed one."""
        if template and "Cutting Knowledge" not in template:
            return cls(begins=False)
        fixed = _FIXED_DATE.search(template)
        if fixed and "strftime_now" not in template:
            return cls(day=lambda: fixed[1])
        return cls()

    @property
    def name(self) -> str:
        """Return which of the two it is."""
        return "Llama 3.1" if self.begins else "Llama 3"

    @property
    def has_tools(self) -> bool:
        """Say whether tools can be offered: since 3.1."""
        return self.begins

    @property
    def markers(self) -> tuple[str, ...]:
        """Return what may stand before a call."""
        return _MARKERS.all if self.begins else ()

    @property
    def end(self) -> str:
        """Return what ends a turn."""
        return END

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation; tools stand before the first user's text."""
        conversation, offered = check_messages(messages), tools_as_sent(tools)
        require_messages(conversation)
        texts = [text_content(m, i).strip() for i, m in enumerate(conversation)]
        fragments = [markup("<|begin_of_text|>")]
        first = 0
        if self.begins:
            first = int(conversation[0]["role"] == "system")
            system = texts[0] if first else ""
            fragments.append(self._system(system, bool(offered)))
            if offered:
                if first == len(conversation):
                    raise RequestError(
                        "tools stand before the first user's text",
                        found="a conversation of a system message alone",
                        expected="a user's message",
                    )
                given = "".join(json_text(tool, 4) + "\n\n" for tool in offered)
                said = markup(_TOOLS) + outside(given + texts[first])
                fragments.append(_turn("user", said))
                first += 1
        fragments += _turns(conversation[first:], texts[first:])
        return Prompt.join([*fragments, _header("assistant")])

    def _system(self, text: str, with_tools: bool) -> Fragment:
        environment = "Environment: ipython\n" if with_tools else ""
        dates = "Cutting Knowledge Date: December 2023\n"
        dates += f"Today Date: {self.day()}\n\n"
        return _turn("system", markup(environment + dates) + outside(text))

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser of answers and of calls, which have no end of their own."""
        markers = _MARKERS if self.begins else Markers()
        return reply_parser(markers, think, in_thought, tools=tools)


def _turns(
    messages: Sequence[Mapping[str, Any]], texts: Sequence[str]
) -> Iterator[Fragment]:
    for message, text in zip(messages, texts, strict=True):
        if message["tool_calls"]:
            yield _turn("assistant", outside(_call(message["tool_calls"])))
        elif message["role"] in _RESULT_ROLES:
            yield _turn("ipython", outside(_result(message["content"])))
        else:
            yield _turn(message["role"], outside(text))


def _header(role: str) -> Fragment:
    return markup(HEADER) + outside(role) + markup(f"{HEADER_END}\n\n")


def _turn(role: str, content: Fragment) -> Fragment:
    return _header(role) + content + markup(END)


def _call(calls: Sequence[Mapping[str, Any]]) -> str:
    if len(calls) != 1:
        raise RequestError(
            "this model calls one tool in a turn",
            found=f"{len(calls)} calls in one message",
            expected="one",
            remedy="Give each call a message of its own, with its result after it.",
        )
    function = calls[0]["function"]
    arguments = json_text(function["arguments"])
    return f'{{"name": "{function["name"]}", "parameters": {arguments}}}'


def _result(content: object) -> str:
    """Return a result as JSON, as the template does with texts as well."""
    if isinstance(content, str | list | dict):
        return json_text(content)
    return str(content)
