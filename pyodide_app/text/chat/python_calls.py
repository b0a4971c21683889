"""Calls and values as Python writes them; nothing of it is ever run."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.text.chat import ToolCall
from pyodide_app.text.chat.json_values import json_of

_LONGEST = 100_000  # characters: Python's own parser takes a hundred bytes for each
_DEEPEST = 200  # words and signs that may stand within each other or in a row
_QUOTES = ('"""', "'''", '"', "'")
_PIECE = re.compile(
    r"(?P<prefix>\w*)(?:{}|{}|{}|{})".format(
        *(rf"{q}(?:[^\\]|\\.)*?(?:{q}|\Z)" for q in _QUOTES[:2]),
        *(rf"{q}(?:[^{q}\\\n]|\\.)*{q}?" for q in _QUOTES[2:]),
    )
    + r"|#[^\n]*|\w+|\S",
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}  # of JSON


def calls_of_python(text: str) -> list[ToolCall]:
    """Return what a call with keywords calls, or a list of such. Raises: ValueError."""
    body = _parsed(text)
    return [
        _call(node) for node in (body.elts if isinstance(body, ast.List) else [body])
    ]


def value_of_python(text: str) -> Any:
    """Return the value of a literal, as JSON has it. Raises: ValueError."""
    return _value(_parsed(text))


def _parsed(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError("too long")
    _check_depth(text)
    try:
        with warnings.catch_warnings():  # of escapes that are none
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("no expression of Python") from error


def _check_depth(text: str) -> None:
    """Raise ValueError for what Python's parser would go too deep in.

    It recurses for brackets, and for signs in a row: `a.a.a`, `---1`. Where the stack
    of a browser's worker ends, Pyodide ends. Only a lambda goes on past a comma.
    """
    counts = [0]  # since the last comma, of each bracket that is open
    for found in _PIECE.finditer(text):
        piece, prefix = found[0], found["prefix"] or ""
        if piece == "lambda" or {*prefix.lower()} & {*"ft"}:  # has expressions in it
            raise ValueError("no literal")
        if piece == ",":
            counts[-1] = 0
        elif piece in "([{":
            counts[-1] += 1
            counts.append(0)
        elif piece in ")]}" and len(counts) > 1:
            counts.pop()
        elif not piece.startswith("#"):
            counts[-1] += 1
        if sum(counts) > _DEEPEST:
            raise ValueError("nested too deeply")


def _call(node: ast.expr) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call with keywords alone")
    # Llama 3.1 calls its own tools as `brave_search.call(...)`.
    name = ast.unparse(node.func).removesuffix(".call")
    pairs = {pair.arg: _value(pair.value) for pair in node.keywords}
    arguments = {key: value for key, value in pairs.items() if key is not None}
    if len(arguments) < len(pairs) or not isinstance(
        node.func, ast.Name | ast.Attribute
    ):
        raise ValueError("no call of a function by its name")
    return ToolCall(name, arguments)


def _value(node: ast.expr) -> Any:
    try:
        return json_of(ast.literal_eval(_Words().visit(node)), "")
    except (TypeError, RecursionError, MemoryError, RequestError) as error:
        raise ValueError("no value of JSON") from error


class _Words(ast.NodeTransformer):
    """Puts values for JSON's words, which are names in Python."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_WORDS[node.id]) if node.id in _WORDS else node
