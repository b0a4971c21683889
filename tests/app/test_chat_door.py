"""The door for messages and tools: a prompt or a RequestError, whatever was sent."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyodide_app.errors import RequestError
from pyodide_app.text.chat.gemma4 import render
from pyodide_app.text.chat.gemma4_parser import OutputParser
from pyodide_app.text.chat.messages import check_messages, check_tools, refuse_media

SCHEMA = {
    "type": "object",
    "description": "d",
    "required": ["a"],
    "properties": {
        "a": {"type": ["string", "null"], "enum": ["x"], "nullable": True},
        "b": {"type": "array", "items": {"type": "object", "properties": {"k": {}}}},
        "c": {"type": "object", "own": {"type": "string"}, "default": {"v": 1}},
    },
}
REQUEST: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "u"}]},
        {"role": "user", "content": "u", "images": ["i"]},
        {
            "role": "assistant",
            "content": "",
            "reasoning": "r",
            "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": {"a": [1, {}]}}},
                {"id": "2", "name": "g", "arguments": '{"a": 1}'},
            ],
            "tool_responses": [{"name": "f", "response": {"v": 1}}],
        },
        {"role": "tool", "content": {"v": [1]}, "tool_call_id": "1", "tool_name": "f"},
        {"role": "tool", "content": "t", "name": "f"},
        {"role": "assistant", "content": "a", "tool_calls": []},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": SCHEMA,
                "response": {"type": "object", "description": "d"},
            },
        },
        {"name": "g"},
    ],
}


def deep(n: int, wrap: str) -> Any:
    value: Any = 1
    for _ in range(n):
        value = [value] if wrap == "list" else {"properties": value}
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
ODD = [
    *(math.nan, math.inf, 10**5000, -(10**5000), b"bytes", {1}, object(), CYCLE),
    *("\ud800", "", 0, 0.5, True, None, [], {}, {1: 2}, {None: 1}, [[]], [{}], "x"),
    *(deep(3000, "list"), deep(3000, "object"), deep(90, "list"), ["x"], [1], range(3)),
    *({"type": "text"}, {"type": 1}, {"function": 1}, {"name": 1}, {"role": []}),
    *("[" * 100_000, '{"a": NaN}', "[1]", {"type": "object", "a": {"required": 1}}),
    *({"x" * 10_000: {1: 2}}, {"x" * 10_000: {"type": math.nan}}),
]
ANY = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "name", "function", "properties", "items"])
            | st.text(max_size=2),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value within a value."""
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, item in pairs:
        yield (*path, key)
        yield from places(item, (*path, key))


def put(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the request with another value in one place."""
    request = copy.deepcopy(REQUEST)
    *parents, last = path
    place: Any = request
    for key in parents:
        place = place[key]
    place[last] = value
    return request


PLACES = list(places(REQUEST))


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(PLACES), ANY, st.booleans())
def test_any_value_anywhere_gives_a_prompt_or_a_request_error(path, value, think):
    request = put(path, value)
    try:
        prompt = render(request["messages"], tools=request["tools"], think=think)
    except RequestError as error:
        assert error.found and error.expected
        assert len(str(error)) < 500
    else:
        assert prompt.text.startswith("<bos>")
        OutputParser(think, tools=request["tools"])


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_no_value_in_any_place_is_another_error(value):
    for path in PLACES:
        request = put(path, value)
        try:
            render(request["messages"], tools=request["tools"])
        except RequestError:
            continue


def test_what_has_come_through_the_door_comes_through_again():
    messages, tools = check_messages(REQUEST["messages"]), check_tools(REQUEST["tools"])
    assert check_messages(messages) == messages
    assert check_tools(tools) == tools
    again = render(messages, tools=tools)
    assert again == render(REQUEST["messages"], tools=REQUEST["tools"])


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("messages", 0), "hi", "messages[0]"),
        (("messages", 0), {"content": "hi"}, "messages[0]"),
        (("messages", 0, "content"), 3, "messages[0].content"),
        (("messages", 1, "content", 0, "type"), "smell", "messages[1].content[0].type"),
        (("messages", 3, "tool_calls"), 7, "messages[3].tool_calls"),
        (("messages", 3, "tool_calls", 0), 7, "messages[3].tool_calls[0]"),
        (
            ("messages", 3, "tool_calls", 0, "function", "arguments"),
            "{",
            "messages[3].tool_calls[0].function.arguments",
        ),
        (
            ("messages", 3, "tool_calls", 0, "function", "arguments", "a"),
            [1, {"b": math.nan}],
            "messages[3].tool_calls[0].function.arguments.a[1].b",
        ),
        (
            ("messages", 4, "content"),
            {1: 2},
            "a key of messages[4].content",
        ),
        (
            ("tools", 0, "function", "parameters"),
            [],
            "tools[0].function.parameters",
        ),
        (
            ("tools", 0, "function", "parameters", "properties", "a", "type"),
            5,
            "tools[0].function.parameters.properties.a.type",
        ),
        (("tools", 1), {"description": "nameless"}, "tools[1].name"),
        (("tools",), {}, "tools"),
        (("messages",), None, "messages"),
    ],
)
def test_refusal_says_where(path, value, where):
    request = put(path, value)
    with pytest.raises(RequestError) as caught:
        render(request["messages"], tools=request["tools"])
    assert caught.value.what == where


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"content": "hi", "images": [b""]}, "messages[1].images"),
        ({"content": [{"type": "image_url"}]}, "messages[1].content[0]"),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]},
            "messages[1].content[1]",
        ),
    ],
)
def test_what_a_model_of_text_would_not_get_is_refused(message, where):
    messages = check_messages(
        [{"role": "user", "content": "a"}, {"role": "user"} | message]
    )
    with pytest.raises(RequestError, match="images and sound are not read") as caught:
        refuse_media(messages)
    assert caught.value.what == where
    refuse_media(messages[:1])


def test_a_long_conversation_takes_time_in_proportion_to_its_length():
    def seconds(n: int) -> float:
        turn = [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]
        start = time.process_time()
        render(turn * n)
        return time.process_time() - start

    seconds(500)
    # What grows with the square takes 256 times as long.
    assert seconds(16_000) < 100 * max(seconds(1000), 0.002)
