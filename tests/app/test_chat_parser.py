"""Output parsing: worked examples, any chunking, calls well-formed and repaired."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyodide_app.text.chat import ContentDelta, ThinkingDelta, ToolCall
from pyodide_app.text.chat.gemma4 import render
from pyodide_app.text.chat.gemma4_markers import MARKERS
from pyodide_app.text.chat.gemma4_parser import OutputParser
from pyodide_app.text.chat.gemma4_tool_call import CallReader, MalformedCallError
from pyodide_app.text.chat.incremental import Source
from pyodide_app.text.chat.json_values import MAX_DEPTH

RESULT = '<|tool_response>response:f{value:<|"|>call:g{}<|"|>}<tool_response|>'
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
    "a <|tool_call>nonsense<tool_call|> b": ("", "a nonsense b", []),
    "a <channel|> b": ("", "a b", []),
    "a<channel|>b": ("", "ab", []),
    "Four.\n<channel|>": ("", "Four.", []),
    "thought\n<channel|>Four.": ("", "Four.", []),
    "thought\nplan\n<channel|>\nFour.": ("plan", "Four.", []),
    "thought\nis a word": ("", "thought\nis a word", []),
    "thoughts": ("", "thoughts", []),
    "thought<channel|>Four.": ("", "Four.", []),
    "thought<chan": ("", "thought<chan", []),
    'say <|"|>hi<|"|> <tool_response|>': ("", 'say "hi"', []),
    '<|channel>thought\na <|"|>b<|"|><|channel>thought\nc<channel|>d': (
        'a "b"c',
        "d",
        [],
    ),
    # What stood around a marker does not become one.
    "a <|chan<channel|>nel> b": ("", "a <|chan nel> b", []),
    '<|<|"|>|>': ("", '<| "|>', []),
    "<|chan<|tool_call>call:f{}<tool_call|>nel>": ("", "<|chan nel>", [("f", {})]),
    # A call ends a thought; only the end of the thought makes what follows part of it.
    "<|channel>thought\na <|tool_call>call:f{}<tool_call|><|tool_response>": (
        "a",
        "",
        [("f", {})],
    ),
    "<|channel>thought\na<|tool_call>call:f{}<tool_call|> b": ("a", "b", [("f", {})]),
    "<|channel>thought\na<|tool_call>call:f{}<tool_call|> b<channel|>c": (
        "ab",
        "c",
        [("f", {})],
    ),
    "<|channel>thought\nuse <|tool_call> here<channel|>c": ("use here", "c", []),
    # A result that the model makes up is nobody's words, and calls in it call nothing.
    f"<|tool_call>call:f{{}}<tool_call|>{RESULT}It is 1.": (
        "",
        "It is 1.",
        [("f", {})],
    ),
    f"<|tool_call>call:f{{}}{RESULT}\n{RESULT}": ("", "", [("f", {})]),
    "<|tool_call>call:f{}<tool_call|><|tool_response>response:f{value": (
        "",
        "",
        [("f", {})],
    ),
    f"a {RESULT} b": ("", "a b", []),
    "<|tool_response>response:f{a:1} b": ("", "response:f{a:1} b", []),
    f"<|channel>thought\na<|tool_call>call:f{{}}<tool_call|>{RESULT} b<channel|>c": (
        "ab",
        "c",
        [("f", {})],
    ),
    # Several calls in one envelope, envelopes without an end, and no call at all.
    "<|tool_call>call:f{x:1}call:g{}<tool_call|>": (
        "",
        "",
        [("f", {"x": 1}), ("g", {})],
    ),
    "<|tool_call>call:f{x:1},\ncall:g{}<tool_call|>": (
        "",
        "",
        [("f", {"x": 1}), ("g", {})],
    ),
    "<|tool_call>call:f{x:1}<|tool_call>call:g{}": (
        "",
        "",
        [("f", {"x": 1}), ("g", {})],
    ),
    "<|tool_call>call:f{x:1}}<tool_call|>ok": ("", "ok", [("f", {"x": 1})]),
    "<|tool_call>[call:f{x:1}]<tool_call|>ok": ("", "ok", [("f", {"x": 1})]),
    "<|tool_call>:f{x:1}<tool_call|>": ("", "", [("f", {"x": 1})]),
    '<|tool_call>{"name":"f","arguments":{"x":1}}<tool_call|>': (
        "",
        "",
        [("f", {"x": 1})],
    ),
    "<|tool_call>call:f{x:1} and more<tool_call|>.": (
        "",
        "and more.",
        [("f", {"x": 1})],
    ),
    "<|tool_call>call:f:\nBEGIN\n<|channel>thought\n<channel|>ls\nEND\n<tool_call|>": (
        "",
        "call:f:\nBEGIN\nls\nEND",
        [],
    ),
    # Markers within strings are text; a string that is never closed ends at the first.
    '<|tool_call>call:f{s:<|"|>see <tool_call|> tag<|"|>}<tool_call|>!': (
        "",
        "!",
        [("f", {"s": "see <tool_call|> tag"})],
    ),
    '<|tool_call>call:f{s:<|"|>open}<tool_call|>Bye.': (
        "",
        "Bye.",
        [("f", {"s": "open"})],
    ),
    '<|tool_call>call:f{s:<|"|>x<|"|>}\nDone.': ("", "Done.", [("f", {"s": "x"})]),
    # Only a tool that is known is called without a marker.
    "call:f{x:1}": ("", "call:f{x:1}", []),
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
    "call:f\n{\n  a: 1,\n  b: [1, 2,],\n}\n": ("f", {"a": 1, "b": [1, 2]}),
    'call:f (\n{"a": 1}\n)': ("f", {"a": 1}),
    '{"function": {"name": "f", "arguments": {"a": 1}}}': ("f", {"a": 1}),
    '{"name": "f", "arguments": "{\\"a\\": 1}"}': ("f", {"a": 1}),
    'call:f{s:<|"|>unclosed}': ("f", {"s": "unclosed"}),
    'call:f{s:<|"|>unclosed': ("f", {"s": "unclosed"}),
    'call:f{l:[1,<|"|>a]}': ("f", {"l": [1, "a"]}),
    'call:f{x:<|"|>a<|"|>': ("f", {"x": "a"}),
    "call:f{x:[1,2": ("f", {"x": [1, 2]}),
    "call:f{a:1,}": ("f", {"a": 1}),
    "call:f{a:1}}": ("f", {"a": 1}),
    'call:f{l:[<|"|>a<|"|>}': ("f", {"l": ["a"]}),
    "call:f{s:'x'}": ("f", {"s": "x"}),
    "call:f{s:'x'<|\"|>,t: 'it\\'s'": ("f", {"s": "x", "t": "it's"}),
    "call:f{l:['a', 'b'],o:{'k': 'v'}}": ("f", {"l": ["a", "b"], "o": {"k": "v"}}),
    "call:f{a:('x', 1),b:(1, (None, 'y')),c:[(1, 2), (3,)],d:(555) 12}": (
        "f",
        {"a": ["x", 1], "b": [1, [None, "y"]], "c": [[1, 2], [3]], "d": "(555) 12"},
    ),
    'call:f({"a": 1})': ("f", {"a": 1}),
    "call:f{a:True,b:None,c:False}": ("f", {"a": True, "b": None, "c": False}),
    'call:f{"a": {"b": [1e3, -2.5E-1, "\\u00e9 \\ud83d\\ude42 \\ud800"]}}': (
        "f",
        {"a": {"b": [1000.0, -0.25, "é \U0001f642 \ufffd"]}},
    ),
    r"call:f{p:':\s*\w+'<|'|>}".replace("<|'|>", '<|"|>'): ("f", {"p": r":\s*\w+"}),
    r"""call:f{s:'a\\b\tc\x41\u00e9'}""": ("f", {"s": "a\\b\tcAé"}),
    r"""call:f{s:"say "hi", you",t:'it's'}""": (
        "f",
        {"s": 'say "hi", you', "t": "it's"},
    ),
    'call:f{s:"a<|"|>,n:1}': ("f", {"s": "a", "n": 1}),
    'call:f{s:<|"|>f(<|"|>a<|"|>, <|"|>b<|"|>)<|"|>}': ("f", {"s": 'f("a", "b")'}),
    'call:f{s:<|"|>x = {<|"|>a<|"|>: {<|"|>b<|"|>}}<|"|>,l:[<|"|>c<|"|>]}': (
        "f",
        {"s": 'x = {"a": {"b"}}', "l": ["c"]},
    ),
    'call:f{s:<|"|><|"|>,t:<|"|><|"|><|"|>d<|"|><|"|><|"|>}': (
        "f",
        {"s": "", "t": '""d""'},
    ),
    # As Python calls functions, and as others separate what they hold.
    "call:f(a=1)": ("f", {"a": 1}),
    "call:f()": ("f", {}),
    """call:f(a=-1.5, b="x, y=1", c='it\\'s', d=None)""": (
        "f",
        {"a": -1.5, "b": "x, y=1", "c": "it's", "d": None},
    ),
    "call:f(l=[True, 'z'], o={'k': (1, 2)})": (
        "f",
        {"l": [True, "z"], "o": {"k": [1, 2]}},
    ),
    'call:f(s="say "hi", you", t="f(x)")': ("f", {"s": 'say "hi", you', "t": "f(x)"}),
    'call:f(\n  s=<|"|>a)<|"|>,\n  t=b (c),\n)': ("f", {"s": "a)", "t": "b (c)"}),
    "call:f(s='open, n=1": ("f", {"s": "open, n=1"}),
    "call:f(a=1": ("f", {"a": 1}),
    "call:f(a: 1)": ("f", {"a": 1}),
    'call:f{a=1,b="x"}': ("f", {"a": 1, "b": "x"}),
    'call:f{a:1; b:<|"|>x; y:<|"|>; c:[1; 2];}': (
        "f",
        {"a": 1, "b": "x; y:", "c": [1, 2]},
    ),
    "call:f{a:1,cmd:cd x; y: z,b:2}": ("f", {"a": 1, "cmd": "cd x; y: z", "b": 2}),
    "call:f{cmd:cd x; ls}": ("f", {"cmd": "cd x; ls"}),
    "call:f(a=1; b='x'; c=d)": ("f", {"a": 1, "b": "x", "c": "d"}),
    # What has no quotes, and no schema: up to what looks like the next key.
    "call:f{path:notes.md}": ("f", {"path": "notes.md"}),
    "call:f{path:-v,n:1}": ("f", {"path": "-v", "n": 1}),
    "call:f{cmd:echo ${HOME} {a,b}, see http://x/y, https://z?a=1:2,n:7}": (
        "f",
        {"cmd": "echo ${HOME} {a,b}, see http://x/y, https://z?a=1:2", "n": 7},
    ),
    r"call:f{path:C:\work\me\a b.txt}": ("f", {"path": r"C:\work\me\a b.txt"}),
    "call:f{l:[a, b c, 7zip, true]}": ("f", {"l": ["a", "b c", "7zip", True]}),
    "call:f{a:01,b:NaN,c:1e999}": ("f", {"a": "01", "b": "NaN", "c": "1e999"}),
    "call:f{a:" + "9" * 5000 + "}": ("f", {"a": "9" * 5000}),
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
    "call:f{a:1,",
    "call:f{:1}",
    "call:f(",
    "call:f(1)",
    "call:f(x) and (y)",
    'call:f("a", 1)',
    "call:f" + "(" * 100_000,
    "call:f{a:" + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}",
    "call:f{a:" + "{a:" * 100_000,
]
SCHEMA = {
    "city": {"type": "string"},
    "day": {"type": ["STRING", "null"]},
    "note": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "n": {"type": "integer"},
    "o": {"type": "object", "properties": {"city": {"type": "string"}}},
    "l": {"type": "array", "items": {"type": "string"}},
}
TOOLS = [
    {"function": {"name": "other"}},
    {"function": {"name": "f", "parameters": {"properties": SCHEMA}}},
]
GATED = {
    "call:f(city=New York, NY, n=3)": {"city": "New York, NY", "n": 3},
    "call:f(city=a; b=c; n=3)": {"city": "a; b=c", "n": 3},
    "call:f(city=a=b, c=d, n=3)": {"city": "a=b, c=d", "n": 3},
    "f(city='Paris', n=3)": {"city": "Paris", "n": 3},
    "call:f{city:a; b: c;n:3}": {"city": "a; b: c", "n": 3},
    'call:f{note:<|"|>p { a: <|"|>b<|"|>; c: d }<|"|>;n:3}': {
        "note": 'p { a: "b"; c: d }',
        "n": 3,
    },
    "call:f{city:New York, NY,n:3}": {"city": "New York, NY", "n": 3},
    "call:f{n:3,city:Paris}": {"n": 3, "city": "Paris"},
    "call:f{city:Paris,day:Monday,note: x: y": {
        "city": "Paris",
        "day": "Monday",
        "note": "x: y",
    },
    'call:f{note:<|"|>{city:<|"|>,city:Paris}': {"note": "{city:", "city": "Paris"},
    "call:f{n:three}": {"n": "three"},
    "call:f{city:7up}": {"city": "7up"},
    "call:f{city:(1, 2),n:1}": {"city": "(1, 2)", "n": 1},
    "call:f{city:1.0,n:1.0}": {"city": "1.0", "n": 1.0},
    "call:f{city:true,day:null,note:7}": {"city": "true", "day": None, "note": 7},
    "call:f{city:[a-z]+{2},n:3}": {"city": "[a-z]+{2}", "n": 3},
    "call:f{city:a, b: c, https: d,n:3}": {"city": "a, b: c, https: d", "n": 3},
    r"call:f{city:C:\a, D:\b,day:x}": {"city": r"C:\a, D:\b", "day": "x"},
    "call:f{o:{city:1.0,n:1},l:[2,true]}": {
        "o": {"city": "1.0", "n": 1},
        "l": ["2", "true"],
    },
}

PIECES = st.sampled_from(
    [
        *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "thought\n"),
        *(
            "<|tool_response>",
            "<tool_response|>",
            "response:f{",
            RESULT,
            "call:f{}",
            "call:g{a:1}",
            " ",
            "\n",
            "a",
            "é",
            "<",
            "|>",
        ),
        *("<|tool", "<|channel", "thou", "<chan", "{", "}", "nel>", '<|"|>', "'", '"'),
        *(
            "call:f(s=",
            "(",
            ")",
            "n=",
            ";",
            "call:f{s:",
            "[",
            "]",
            ",",
            "n:",
            ":",
            "\\",
            "True",
            "call:",
            "ll>",
            "|",
        ),
        '<|tool_call>call:f{s:<|"|>',
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


def parse_tool_call(text, tools=()):
    """Return the one call that a text is, None if it is none."""
    source = Source()
    source.push(text)
    source.ended = True
    reader = CallReader(source, tools)
    try:
        return finish(reader.call()) if finish(reader.at_call()) else None
    except MalformedCallError:
        return None


def finish(reading):
    """Return what a reader returns that needs no more text."""
    with pytest.raises(StopIteration) as end:
        next(reading)
    return end.value.value


@pytest.mark.parametrize(("text", "expected"), REPLIES.items())
def test_reply_is_split(text, expected):
    assert parse([text]) == expected
    assert parse(text) == expected  # one character at a time


def test_reply_in_the_pieces_of_the_worked_example():
    chunks = ["<|channel>th", "ought\nplan", " A \n<chan", "nel|>\n\nHel", "lo <|tool_"]
    chunks.append("call>call:f{}<tool_call|><tool_call|>")
    assert parse(chunks) == ("plan A", "Hello", [("f", {})])


@settings(max_examples=500, deadline=None)
@given(OUTPUTS, st.data(), st.booleans(), st.booleans())
def test_result_does_not_depend_on_the_cuts(text, data, think, in_thought):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    ends = [0, *sorted(cuts), len(text)]
    chunks = [text[a:b] for a, b in pairwise(ends)]
    options = {"in_thought": in_thought, "tools": TOOLS}
    whole = parse([text], think, **options)
    assert parse(chunks, think, **options) == whole
    assert parse(text, think, **options) == whole
    shown = "".join(whole[:2])
    assert not any(marker in shown for marker in MARKERS)


LONG = 200_000
HOSTILE = {  # what is repeated, after what
    "<|tool_call>": "",
    "<|tool_call>call:f{": "",
    '<|tool_call>call:f{s:<|"|>': "",
    "<tool_call|>": '<|tool_call>call:f{s:<|"|>',
    '<|tool_call>call:f{s:<|"|>a<tool_call|>': "",
    '<|"|>': "<|tool_call>call:f{s:",
    "{": "<|tool_call>call:f{s:a",
    "[": "<|tool_call>call:f{s:",
    "{a:": "<|tool_call>call:f{s:",
    ", b": "<|tool_call>call:f{s:a",
    '"': '<|tool_call>call:f{s:"',
    "<channel|>": "",
    "<|channel>": "",
    "\ncall:f{": "",
    "<|tool_response>response:": "",
    "<|tool_call>call:f{}<|tool_response>response:": "",
    RESULT: "",
    "(": "<|tool_call>call:f{s:",
    "(a=": "<|tool_call>call:f",
    "; b": "<|tool_call>call:f{s:a",
    "; b:": "<|tool_call>call:f{s:a,c:d",
    ", b=": "<|tool_call>call:f(n=1, s='",
    ")": "<|tool_call>call:f(s='",
    "'": "<|tool_call>call:f(s='",
    "\ncall:f(": "",
    "(1,": "<|tool_call>call:f{s:[",
}


@pytest.mark.parametrize(("text", "before"), HOSTILE.items())
def test_hostile_reply_takes_time_in_proportion_to_its_length(text, before):
    def seconds(length):
        reply = before + text * (length // len(text))
        start = time.process_time()
        parse([reply], tools=TOOLS)
        return time.process_time() - start

    seconds(LONG // 8)
    # What grows with the square takes 64 times as long.
    assert seconds(LONG) < 32 * max(seconds(LONG // 8), 0.01)


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
    assert parse_tool_call(text) == ToolCall(*expected)
    assert parse(f"<|tool_call>{text}<tool_call|>") == ("", "", [expected])


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20])
def test_broken_call_is_refused_and_its_text_kept(text):
    assert parse_tool_call(text) is None
    reply = f"<|tool_call>{text}<tool_call|>"
    assert parse([reply]) == ("", text, [])


@pytest.mark.parametrize(("text", "arguments"), GATED.items())
def test_schema_tells_text_from_values(text, arguments):
    assert spelled(parse_tool_call(text, TOOLS).arguments) == spelled(arguments)
    reply = f"<|tool_call>{text}<tool_call|>"
    for chunks in ([reply], reply):
        assert parse(chunks, tools=TOOLS) == ("", "", [("f", arguments)])


CALLED = [("f", {"city": "a", "n": 1})]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "<|channel>thought\nx\n<channel|>call:f{city:a,n:1}": ("x", "", CALLED),
        "call:f{city:a,n:1}<tool_call|>": ("", "", CALLED),
        "Well.\ncall:f{city:a,n:1}\nok": ("", "Well.ok", CALLED),
        "Well.\ncall:f(city='a', n=1)\nok": ("", "Well.ok", CALLED),
        "<|tool_call>f(city='a', n=1)<tool_call|>": ("", "", CALLED),
        "<|tool_call>h(a=1)<tool_call|>": ("", "", [("h", {"a": 1})]),
        "<|tool_call>h(a, b)<tool_call|>": ("", "h(a, b)", []),
        "<|tool_call>h (a b=1)<tool_call|>": ("", "h (a b=1)", []),
        "<|tool_call>h(": ("", "h(", []),
        "f(city='a', n=1)": ("", "f(city='a', n=1)", []),
        "<|tool_call>f{city:a,n:1}<tool_call|>": ("", "", CALLED),
        "Use call:f{city:a,n:1}": ("", "Use call:f{city:a,n:1}", []),
        "call:unknown{city:a}": ("", "call:unknown{city:a}", []),
        "call:f{broken}": ("", "call:f{broken}", []),
        "call:f": ("", "call:f", []),
    }.items(),
)
def test_known_tool_is_called_without_a_marker(text, expected):
    assert parse([text], tools=TOOLS) == expected
    assert parse(text, tools=TOOLS) == expected


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


@given(st.dictionaries(st.from_regex(r"[a-z_]\w*", fullmatch=True), JSON, max_size=4))
def test_call_as_python_writes_it_is_read_back(arguments):
    written = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    parsed = parse_tool_call(f"call:f({written})")
    assert parsed is not None
    assert spelled(parsed.arguments) == spelled(arguments)
