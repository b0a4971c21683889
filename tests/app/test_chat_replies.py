"""Replies with JSON calls and thoughts: worked examples, any chunking, linear time."""

from __future__ import annotations

import json
import keyword
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyodide_app.text.chat import ContentDelta, Event, ThinkingDelta, ToolCall
from pyodide_app.text.chat.chatml import ChatML
from pyodide_app.text.chat.format import ChatFormat
from pyodide_app.text.chat.gemma3 import Gemma3
from pyodide_app.text.chat.llama3 import Llama3
from pyodide_app.text.chat.messages import check_messages
from pyodide_app.text.chat.mistral import V3_TEKKEN

QWEN = ChatML(with_tools=True, reasons=True, can_choose=True)
LLAMA = Llama3()
TEXT = {"type": "object", "properties": {"t": {"type": "string"}}}
TOOLS = [{"function": {"name": "f"}}, {"function": {"name": "g", "parameters": TEXT}}]
TAGS = "<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n"
F = '{"name": "f", "arguments": {"x": 1}}'
CALL_F = ("f", {"x": 1})
S = '{"name": "f", "arguments": {"s": '
ROLES = ("ipython", "tool", "assistant")
A, Z = "<tool_call>", "</tool_call>"
R, Y = "<tool_response>", "</tool_response>"
HEADS = {role: f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ROLES}


def G(text: str) -> tuple[str, dict[str, str]]:  # noqa: N802
    return "g", {"t": text}


Parts = tuple[str, str, list[tuple[str, Any]]]  # thinking, content, calls
REPLIES: list[tuple[ChatFormat, str, Parts]] = [
    (QWEN, "<think>\nplan A \n</think>\n\nHello", ("plan A", "Hello", [])),
    (QWEN, "\n<think>\n\n</think>\n\nHello", ("", "Hello", [])),
    (QWEN, " Hi there  \n", ("", " Hi there  \n", [])),
    (QWEN, "<think>unfinished ", ("unfinished ", "", [])),
    (QWEN, "<think>a</think> <think>b</think> c", ("ab", "c", [])),
    (QWEN, "a < b <think>c</think> d <thi", ("c", "a < bd <thi", [])),
    (QWEN, "Four.\n</think>", ("", "Four.", [])),
    (QWEN, f"{A}\n{F}\n{Z}", ("", "", [CALL_F])),
    (QWEN, f"<think>t</think>\nOne. {A}{F}{Z}\n{A}{F}{Z}", ("t", "One.", [CALL_F] * 2)),
    (QWEN, f"{A}\n{F}\n</tool_c", ("", "", [CALL_F])),
    (QWEN, f"{A}\n{F}\n", ("", "", [CALL_F])),
    (QWEN, f"{A}{F}\n{F}{Z} done", ("", "done", [CALL_F] * 2)),
    (QWEN, f"{A}[{F}, {F}]{Z}", ("", "", [CALL_F] * 2)),
    (QWEN, f"{A}{F[:-2]}", ("", "", [CALL_F])),
    (QWEN, f"{A}{F[:-1]}{Z} b", ("", "b", [CALL_F])),
    (QWEN, f'{A}{{"name": "f", "arguments": "{{}}"}}{Z}', ("", "", [("f", {})])),
    (QWEN, A + "{'name': 'f', 'arguments': {'x': 1,}}" + Z, ("", "", [CALL_F])),
    (QWEN, f'{A}{S}"{Z} {A}"}}}}{Z}', ("", "", [("f", {"s": f"{Z} {A}"})])),
    (QWEN, f'{A}{S}"open{Z}a', ("", "a", [("f", {"s": "open"})])),
    (QWEN, f'{A}{S}"a "b" c\nd"}}}}{Z}', ("", "", [("f", {"s": 'a "b" c\nd'})])),
    (QWEN, f'{A}{{"name": "f"; "arguments": {{"x": 1}}}}{Z}', ("", "", [CALL_F])),
    (
        QWEN,
        f'{A}{S}"a = "b"; c: d"; "n": 1; "m": x; y}}}}{Z}',
        ("", "", [("f", {"s": 'a = "b"; c: d', "n": 1, "m": "x; y"})]),
    ),
    (QWEN, f"{A}{{{F}}}{Z}", ("", "", [CALL_F])),
    (QWEN, f"a {A}nonsense{Z} b", ("", "a nonsense b", [])),
    (QWEN, f'{A}{{"x": 1}}{Z} b', ("", '{"x": 1} b', [])),
    (QWEN, f"<think>a {A}{F}{Z} more</think>b", ("amore", "b", [CALL_F])),
    (QWEN, f"<think>a {A}{F}{Z} answer", ("a", "answer", [CALL_F])),
    (QWEN, f"{F}", ("", "", [CALL_F])),
    (QWEN, '{"name": "h", "input": {}}', ("", '{"name": "h", "input": {}}', [])),
    (QWEN, f"{A}\n{TAGS}{Z} b", ("", "b", [CALL_F])),
    (QWEN, f"{A}{TAGS}{TAGS}", ("", "", [CALL_F] * 2)),
    (QWEN, f"{A}<function=g><parameter=t>1\n2{Z}", ("", "", [("g", {"t": "1\n2"})])),
    (QWEN, f"{A}<function={Z} b", ("", "<function= b", [])),
    # A result that the model makes up is nobody's words, and calls in it call nothing.
    (QWEN, f"{R}\nx{Y}y", ("", "y", [])),
    (QWEN, f"{A}{F}{Z}\n{R}\n{F}\n{Y}\nIt is 1.", ("", "It is 1.", [CALL_F])),
    (QWEN, f"{A}{F}{Z}{R}cut off", ("", "", [CALL_F])),
    (QWEN, f"{A}{F}{Z}{R}open{A}{F}{Z}{R}x{Y}", ("", "", [CALL_F] * 2)),
    (QWEN, f"{A}{F}{Z}{R}x{Y}{R}y{Y} a", ("", "a", [CALL_F])),
    (QWEN, f"<think>a {R}x{Y} b</think>c", ("a b", "c", [])),
    (QWEN, f"Use {R} here.", ("", "Use here.", [])),
    (QWEN, f"Use {R} and {R}.", ("", "Use and .", [])),
    # Calls as Python writes them: with a marker, or in a list where the tool is known.
    (QWEN, f"{A}f(x=1){Z} b", ("", "b", [CALL_F])),
    (QWEN, f"{A}\nf(x=1)\ng(t='it\\'s (')\n", ("", "", [CALL_F, G("it's (")])),
    (QWEN, f"{A}[f(x=1), g(t='a')]{Z}", ("", "", [CALL_F, G("a")])),
    (QWEN, f'{A}f(x=1) said "(no)"{Z}', ("", 'said "(no)"', [CALL_F])),
    (QWEN, f"{A}f(1){Z}", ("", "f(1)", [])),
    (QWEN, f"{A}f(x=1, **y){Z}", ("", "f(x=1, **y)", [])),
    (QWEN, f"{A}f(x=g()){Z}", ("", "f(x=g())", [])),
    (QWEN, "f(x=1)", ("", "f(x=1)", [])),
    (LLAMA, '[g(t="a"), f(x=1)]', ("", "", [G("a"), CALL_F])),
    (LLAMA, "[h(t=1)]", ("", "[h(t=1)]", [])),
    (LLAMA, "[g(t='''it's # \"'''), f(x=1,)]", ("", "", [G("it's # \""), CALL_F])),
    (LLAMA, '<|python_tag|>g.call(t="a]")<|eom_id|>', ("", "", [G("a]")])),
    (LLAMA, "<|python_tag|>print('x')", ("", "print('x')", [])),
    (V3_TEKKEN, "[TOOL_CALLS]f(x=1)", ("", "", [CALL_F])),
    (QWEN, "<thi<think>a</think>nk> b", ("a", "<thi nk> b", [])),
    (LLAMA, '{"name": "f", "parameters": {"x": 1}}', ("", "", [CALL_F])),
    (LLAMA, f'\n{F}; {{"name": "g"}}', ("", "", [CALL_F, ("g", {})])),
    (LLAMA, f"<|python_tag|>{F}<|eom_id|>", ("", "", [CALL_F])),
    (LLAMA, f"{F}<|eom_id|>{HEADS['ipython']}{F}<|eot_id|>", ("", "", [CALL_F])),
    (
        LLAMA,
        f"{F}{HEADS['tool']}1<|eot_id|>{HEADS['assistant']}It is 1.",
        ("", "It is 1.", [CALL_F]),
    ),
    (LLAMA, f"{F}{HEADS['ipython']}1", ("", "", [CALL_F])),
    (LLAMA, '{"a": [1, 2]}\nis JSON', ("", '{"a": [1, 2]}\nis JSON', [])),
    (LLAMA, "<think>x</think>", ("", "<think>x</think>", [])),
    (V3_TEKKEN, f"[TOOL_CALLS][{F}]", ("", "", [CALL_F])),
    (V3_TEKKEN, f"[TOOL_CALLS] {F}", ("", "", [CALL_F])),
    (V3_TEKKEN, '[TOOL_CALLS]f[ARGS]{"x": 1}', ("", "", [CALL_F])),
    (
        V3_TEKKEN,
        f'[TOOL_CALLS][{F}][TOOL_RESULTS]{{"content": 1}}[/TOOL_RESULTS] It is 1.',
        ("", "It is 1.", [CALL_F]),
    ),
    (V3_TEKKEN, "[1] and [TOOL", ("", "[1] and [TOOL", [])),
    (Gemma3(), " <think>a</think> ", ("", " <think>a</think> ", [])),
]  # fmt: skip


def parts(events: list[Event]) -> Parts:
    return (
        "".join(e.text for e in events if isinstance(e, ThinkingDelta)),
        "".join(e.text for e in events if isinstance(e, ContentDelta)),
        [(e.name, e.arguments) for e in events if isinstance(e, ToolCall)],
    )


def parse(
    chat: ChatFormat, pieces: list[str], think: bool = True, in_thought: bool = False
) -> Parts:
    parser = chat.parser(think, in_thought, tools=TOOLS)
    events = [event for piece in pieces for event in parser.push(piece)]
    return parts([*events, *parser.finish()])


@pytest.mark.parametrize(("chat", "reply", "expected"), REPLIES)
def test_worked_example(chat: ChatFormat, reply: str, expected: Parts) -> None:
    assert parse(chat, [reply]) == expected
    assert parse(chat, list(reply)) == expected
    assert parse(chat, [reply], think=False) == ("", *expected[1:])


def test_thought_that_the_prompt_has_opened_goes_on() -> None:
    assert parse(QWEN, ["plan\n</think>\n\nHi"], in_thought=True) == ("plan", "Hi", [])


PIECES = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", A, Z, F, F[:-1], S, R, Y, *HEADS.values()),
            *("f(x=1)", "g(t='", "(", ")", "'", "f(", "<|eom_id|>"),
            *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "<|eot_id|>", "<|start_header_id|>"),
            *(TAGS, TAGS[:20], "<parameter=", "</func", "tion>"),
            *("[TOOL_CALLS]", "<|python_tag|>", "<thi", "nk>", "</tool", "_call>"),
            *(*'[]{}"\\ \naf;', '{"name": "f", "parameters": {"s": "'),
        ]
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    PIECES,
    st.lists(st.integers(0, 200), max_size=6),
    st.sampled_from([QWEN, LLAMA, V3_TEKKEN]),
    st.booleans(),
)
def test_reply_means_the_same_wherever_it_is_cut(
    pieces: list[str], cuts: list[int], chat: ChatFormat, in_thought: bool
) -> None:
    reply = "".join(pieces)
    whole = parse(chat, [reply], in_thought=in_thought)
    bounds = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
    cut = [reply[a:b] for a, b in pairwise(bounds)]
    assert parse(chat, cut, in_thought=in_thought) == whole
    assert parse(chat, list(reply), in_thought=in_thought) == whole
    for text in whole[:2]:
        assert not [marker for marker in chat.markers if marker in text]


RESULTS = {
    "Qwen": (QWEN, R, Y),
    "Llama": (LLAMA, HEADS["ipython"], f"<|eot_id|>{HEADS['assistant']}"),
    "Mistral": (V3_TEKKEN, "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
}
WORDS = st.text('a{} \n"[]<|', max_size=12)


@pytest.mark.parametrize(("chat", "begin", "end"), RESULTS.values(), ids=RESULTS)
@given(st.lists(WORDS | st.just(F), max_size=5).map("".join), WORDS)
def test_invented_result_leaves_no_trace(
    chat: ChatFormat, begin: str, end: str, result: str, answer: str
) -> None:
    call = {QWEN: f"{A}{F}{Z}", LLAMA: f"{F}<|eom_id|>"}.get(chat, f"[TOOL_CALLS][{F}]")
    said = parse(chat, list(f"{call}{begin}{result}{end}{answer}"))
    assert said == parse(chat, [f"{call}{answer}"])


@pytest.mark.parametrize(
    "piece",
    [
        *("a", " ", "<", "{", "[", f"{A} ", f'{A}{{"a": "', f"{A}{F}{Z}", "<think>"),
        *(f"<think>{A}{F}", '{"a', '\\"', f'{A}{S}"" "', f"{A}{TAGS}"),
        *(f"{A}f(x=1)", f"{A}f(", f"{A}f(x=1) ", f"{A}f(x='", f"{A}f(x=("),
        *("f(x=1) g(", f"{A}[f(x=1),"),
        *(f"{A}{S}1; ", f"{A}{S}'a'; 'b", f'{A}{S}"a" ; "'),
        *(R, f"{A}{F}{Z}{R}", f"{R}{Y}", f"{R}{A}"),
        *(f"{A}<function=f>", f"{A}<function=f><parameter=x>", f"{A}{S}{A}"),
    ],
)
def test_time_grows_with_the_length(piece: str) -> None:
    def seconds(n: int) -> float:
        text = piece * (n // len(piece))
        chunks = [text[i : i + 64] for i in range(0, len(text), 64)]
        begin = time.process_time()
        parse(QWEN, chunks)
        return time.process_time() - begin

    seconds(1000)
    # Eight times the text: twenty times the time allows for noise, 64 is the square.
    assert seconds(80_000) < 20 * max(seconds(10_000), 0.02)


ODD = ("1e999", "-1e999", "NaN", "9" * 4200, "[" * 120 + "]" * 120, "[" * 98 + "]" * 98)


@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:8] + str(len(value)))
@pytest.mark.parametrize(
    "form",
    [
        '{{"name": "f", "arguments": {{"x": {}}}}}',
        "{{'name': 'f', 'arguments': {{'x': {}}}}}",
        '{{"name": "f", "arguments": "{{\\"x\\": {}}}"}}',
        "<function=f><parameter=x>{}</parameter></function>",
        "f(x={})",
    ],
)
def test_calls_can_be_sent_back(form: str, value: str) -> None:
    _, content, calls = parse(QWEN, [f"{A}{form.format(value)}{Z}"])
    assert calls or content
    for name, arguments in calls:
        function = {"name": name, "arguments": json.dumps(arguments)}
        message = {"role": "assistant", "tool_calls": [{"function": function}]}
        (checked,) = check_messages([message])
        assert checked["tool_calls"][0]["function"]["arguments"] == arguments


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{2,8}", fullmatch=True), JSON, max_size=3))
def test_call_of_python_is_read_back(arguments: dict[str, Any]) -> None:
    assume(not any(map(keyword.iskeyword, arguments)))
    written = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    assert parse(QWEN, list(f"{A}f({written}){Z}")) == ("", "", [("f", arguments)])
