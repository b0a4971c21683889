"""Output parsing: worked examples, any chunking, calls well-formed and repaired."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall
from pyodide_app.chat.gemma4 import render
from pyodide_app.chat.gemma4_parser import OutputParser
from pyodide_app.chat.gemma4_tool_call import MAX_DEPTH, parse_tool_call

REPLIES = {  # what the model writes: thinking, content, calls
    "<|channel>thought\nplan A \n<channel|>\n\nHello <|tool_call>call:f{}<tool_call|>"
    "<tool_call|>": ("plan A", "Hello", [("f", {})]),
    "Hi there  \n": ("", "Hi there  \n", []),
    "<|channel>other\nabc<channel|>x <b": ("other\nabc", "x <b", []),
    "a < b <|tool_call>call:f{x:1}<tool_call|> <|tool_call>call:g{}<tool_call|>\n"
    "bye<|tool_resp": ("", "a < bbye<|tool_resp", [("f", {"x": 1}), ("g", {})]),
    '<|tool_call>call:f{x:<|"|>a<|"|>}': ("", "", [("f", {"x": "a"})]),
    '<|tool_call>call:f{x:<|"|>a<|"|>}<tool_c': ("", "", [("f", {"x": "a"})]),
    "<|channel>thought\n<channel|>  \n Hi": ("", "Hi", []),
    "<|channel>thought\nunfinished ": ("unfinished ", "", []),
    "<|channel>thou": ("thou", "", []),
    "<|channel>thoughts": ("thoughts", "", []),
    "<|channel>thought\na<channel|> <|channel>thought\nb<channel|> c": ("ab", "c", []),
    "<|tool_call>call:f{}<tool_call|><|tool_response>\n": ("", "", [("f", {})]),
    "<|tool_call>call:f{}<tool_call|> <tool_cat": ("", "<tool_cat", [("f", {})]),
    "<|tool_call>call:f{}<tool_call|> <tool_c": ("", "<tool_c", [("f", {})]),
    "a <|tool_call>nonsense<tool_call|> b": ("", "anonsenseb", []),
    "a <channel|> b": ("", "a <channel|> b", []),
    "": ("", "", []),
}

CALLS = {
    'call:get_weather{city:<|"|>Paris<|"|>}': ("get_weather", {"city": "Paris"}),
    'call:f{a:1,b:[1,<|"|>x, {y:1}<|"|>],c:{d:true,e:null}}': (
        "f",
        {"a": 1, "b": [1, "x, {y:1}"], "c": {"d": True, "e": None}},
    ),
    "call:g{}": ("g", {}),
    'call:f{s:<|"|>line1\nline2 "q"<|"|>}': ("f", {"s": 'line1\nline2 "q"'}),
    'call:f{"a":1}': ("f", {"a": 1}),
    "call: f { a : -1.5e3 , b : [ ] , c : { } } ": (
        "f",
        {"a": -1500.0, "b": [], "c": {}},
    ),
    'call:f{x-y.z:false,<|"|>a b<|"|>:0}': ("f", {"x-y.z": False, "a b": 0}),
    'call:f{a:"\\u00e9\\n, b:1",b:"\n"}': ("f", {"a": "é\n, b:1", "b": "\n"}),
}
REPAIRED = {
    'call:f{s:<|"|>unclosed}': ("f", {"s": "unclosed"}),
    'call:f{s:<|"|>unclosed': ("f", {"s": "unclosed"}),
    'call:f{l:[1,<|"|>a]}': None,  # which bracket belongs to the text cannot be known
    "call:f{s:'x'}": ("f", {"s": "x"}),
    "call:f{s:'x'<|\"|>,t: 'it\\'s'": ("f", {"s": "x", "t": "it\\'s"}),
    "call:f{s:<|\"|>a:'b'<|\"|>,t:'c'}": ("f", {"s": "a:'b'", "t": "c"}),
}
BROKEN = [
    "",
    "f{}",
    "call:f",
    "call:{}",
    "call:f{",
    "call:f{a}",
    "call:f{a:}",
    "call:f{a:1,}",
    "call:f{a:1}}",
    "call:f{a:1} and more",
    "call:f{a:01}",
    "call:f{a:NaN}",
    "call:f{a:1e999}",
    "call:f{a:" + "9" * 5000 + "}",
    'call:f{a:"\\x"}',
    "call:f{a:True}",
    "call:f{a:Paris}",
    'call:f{x:<|"|>a<|"|>',  # nothing else was repaired, so no brace is added
    "call:f{a:" + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}",
    "call:f{a:" + "{a:" * 100_000,
]
SCHEMA = {
    "city": {"type": "string"},
    "day": {"type": ["STRING", "null"]},
    "note": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "n": {"type": "integer"},
}
TOOLS = [
    {"function": {"name": "other"}},
    {"function": {"name": "f", "parameters": {"properties": SCHEMA}}},
]
GATED = {
    "call:f{city:New York, NY,n:3}": {"city": "New York, NY", "n": 3},
    "call:f{n:3,city:Paris}": {"n": 3, "city": "Paris"},
    "call:f{city:Paris,day:Monday,note: x: y": {
        "city": "Paris",
        "day": "Monday",
        "note": "x: y",
    },
    'call:f{note:<|"|>{city:<|"|>,city:Paris}': {"note": "{city:", "city": "Paris"},
    "call:f{n:three}": None,
    "call:f{city:7up}": None,  # begins like a number
    "call:other{city:Paris}": None,
    "call:unknown{city:Paris}": None,
}

PIECES = st.sampled_from(
    [
        *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "thought\n"),
        *(
            "<|tool_response>",
            "call:f{}",
            "call:g{a:1}",
            " ",
            "\n",
            "a",
            "é",
            "<",
            "|>",
        ),
        *("<|tool", "<|channel", "thou", "<chan", "{"),
    ]
)
OUTPUTS = st.lists(PIECES, max_size=15).map("".join)


def parse(chunks, think=True, **options):
    """Return thinking, content and calls."""
    parser = OutputParser(think, **options)
    events = [event for chunk in chunks for event in parser.push(chunk)]
    events += parser.finish()
    assert all(event.text for event in events if not isinstance(event, ToolCall))
    thinking = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    content = "".join(e.text for e in events if isinstance(e, ContentDelta))
    calls = [(e.name, e.arguments) for e in events if isinstance(e, ToolCall)]
    return thinking, content, calls


@pytest.mark.parametrize(("text", "expected"), REPLIES.items())
def test_reply_is_split(text, expected):
    assert parse([text]) == expected
    assert parse(text) == expected  # one character at a time


def test_reply_in_the_pieces_of_the_worked_example():
    chunks = ["<|channel>th", "ought\nplan", " A \n<chan", "nel|>\n\nHel", "lo <|tool_"]
    chunks.append("call>call:f{}<tool_call|><tool_call|>")
    assert parse(chunks) == ("plan A", "Hello", [("f", {})])


@settings(max_examples=500)
@given(OUTPUTS, st.data(), st.booleans(), st.booleans())
def test_result_does_not_depend_on_the_cuts(text, data, think, in_thought):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    ends = [0, *sorted(cuts), len(text)]
    chunks = [text[a:b] for a, b in pairwise(ends)]
    whole = parse([text], think, in_thought=in_thought)
    assert parse(chunks, think, in_thought=in_thought) == whole


@given(OUTPUTS)
def test_thinking_off_drops_thoughts_and_nothing_else(text):
    thinking, content, calls = parse([text], think=False)
    assert thinking == ""
    assert (content, calls) == parse([text])[1:]


def test_reply_that_begins_inside_a_thought():
    text = "thought\nplan <channel|> Hi"
    assert parse([text], in_thought=True) == ("thought\nplan", "Hi", [])


def test_text_is_emitted_as_soon_as_it_is_certain():
    parser = OutputParser(True)
    assert parser.push("Hello world") == [ContentDelta("Hello world")]
    assert parser.push(" <") == []
    assert parser.push("b") == [ContentDelta(" <b")]
    assert parser.push("<|channel>thought\nA plan") == [ThinkingDelta("A plan")]


@pytest.mark.parametrize(("text", "expected"), CALLS.items())
def test_call_is_read(text, expected):
    assert parse_tool_call(text) == ToolCall(*expected)


@pytest.mark.parametrize(("text", "expected"), REPAIRED.items())
def test_call_is_repaired(text, expected):
    assert parse_tool_call(text) == (ToolCall(*expected) if expected else None)


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20])
def test_broken_call_is_refused_and_its_text_kept(text):
    assert parse_tool_call(text) is None
    reply = f"<|tool_call>{text}<tool_call|>"
    assert parse([reply]) == ("", text, [])


@pytest.mark.parametrize(("text", "arguments"), GATED.items())
def test_raw_text_is_quoted_where_the_schema_wants_a_string(text, arguments):
    expected = None if arguments is None else ToolCall("f", arguments)
    assert parse_tool_call(text, TOOLS) == expected
    assert parse_tool_call(text) is None
    if arguments is not None:
        reply = f"<|tool_call>{text}<tool_call|>"
        assert parse([reply], tools=TOOLS) == ("", "", [("f", arguments)])


TEXT = st.text().map(lambda text: text.replace('<|"|>', ""))
KEY = st.from_regex(r"[\w.-]+", fullmatch=True)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEY, JSON, max_size=4))
def test_parsing_undoes_rendering(arguments):
    call = {"function": {"name": "f", "arguments": arguments}}
    prompt = render([{"role": "assistant", "tool_calls": [call]}])
    text = prompt.text.partition("<|tool_call>")[2].rpartition("<tool_call|>")[0]
    parsed = parse_tool_call(text)
    assert parsed is not None
    # As JSON text, since 1, 1.0 and True are equal in Python.
    assert spelled(parsed.arguments) == spelled(arguments)


def spelled(arguments: dict[str, object]) -> str:
    return json.dumps(arguments, sort_keys=True)
