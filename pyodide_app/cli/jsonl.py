"""The verbs for scripts that turn JSON lines into JSON lines."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, TypeVar

from pyodide_app import errors
from pyodide_app.cli import report
from pyodide_app.cli.session import Session
from pyodide_app.text.chat.json_values import refuse
from pyodide_app.text.tokenizer import Tokenizer

_T = TypeVar("_T")
_REQUEST = "a JSON object {messages, tools, think}"
_REPLY = "a JSON string, or an object {text, think, tools}"


async def tokenize(options: Namespace, closing: ExitStack) -> None:
    """Turn each line of text into ids."""
    header = await (await Session.open(options, closing)).header()
    tokenizer = Tokenizer.from_metadata(header.metadata)
    rows = []
    for number, line in _json_lines():
        with _naming(number):
            text = _expect(line, str, "input", "a JSON string")
            special, bos = not options.no_special, options.bos
            rows.append(tokenizer.encode(text, special=special, bos=bos))
    print(json.dumps(rows))


async def render(options: Namespace, closing: ExitStack) -> None:
    """Turn each line's conversation into a prompt."""
    session = await Session.open(options, closing)
    chat = (await session.chat_format()).require()
    for number, line in _json_lines():
        with _naming(number):
            request = _expect(line, dict, "input", _REQUEST)
            prompt = chat.render(
                request.get("messages", []),
                tools=request.get("tools"),
                think=_flag(request, "think", False),
            )
        print(json.dumps(prompt.text))


async def parse(options: Namespace, closing: ExitStack) -> None:
    """Turn each line's raw output into parts."""
    if options.chunk is not None and options.chunk < 1:
        refuse("--chunk", options.chunk, "1 or more")
    chat = (await (await Session.open(options, closing)).chat_format()).require()
    for number, line in _json_lines():
        with _naming(number):
            reply = line if isinstance(line, dict) else {"text": line}
            text = _expect(reply.get("text"), str, "input", _REPLY)
            think = _flag(reply, "think", True)
            parser = chat.parser(think, tools=reply.get("tools"))
        step = options.chunk or len(text) or 1
        events = [
            event
            for begin in range(0, len(text), step)
            for event in parser.push(text[begin : begin + step])
        ]
        print(json.dumps(report.parts([*events, *parser.finish()])))


def _json_lines() -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line that is not blank."""
    for number in count(1):
        try:
            if not (line := sys.stdin.readline()):
                return
            values = [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise errors.RequestError(
                f"line {number} of the input is no JSON: {error}"
            ) from error
        for value in values:
            yield number, value


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Name the line in what is wrong with it."""
    try:
        yield
    except errors.RequestError as error:
        raise errors.RequestError(
            f"line {number}: {error.what}",
            found=error.found,
            expected=error.expected,
            remedy=error.remedy,
        ) from error


def _flag(request: dict[str, Any], key: str, default: bool) -> bool:
    value = request.get(key)
    return _expect(default if value is None else value, bool, key, "true or false")


def _expect(value: object, kind: type[_T], what: str, expected: str) -> _T:
    if not isinstance(value, kind):
        refuse(what, value, expected)
    return value
