"""Reads what is nested deeply, natively and in Pyodide, which is given this text."""

from __future__ import annotations

import json

from pyodide_app.gguf.signature import describe_signature
from pyodide_app.text.chat.chatml import ChatML
from pyodide_app.text.chat.gemma4_parser import OutputParser

N = 30_000  # in one row; Pyodide's stack holds some thousand
TOOLS = [{"function": {"name": "f", "parameters": {}}}]
CALL, GEMMA_CALL = "<tool_call>", "<|tool_call>"
FILE = "a file that is none: "
CASES = [
    *("[" * N, '{"a":' * N, f'{CALL}{{"name": "f", "arguments": ' + "[" * N),
    *(
        f"{CALL}f(x=" + row * N + "1)"
        for row in ("-", "not ", "1+", "2**", "a.", "a()")
    ),
    *(
        f"{CALL}f(x=" + row * N + "1)"
        for row in ("lambda:", "1 if 1 else ", "lambda a,b:")
    ),
    *("[" + "a." * N + "a(x=1)]", f"{CALL}f(x=f'{{" + "-" * N + "1}')"),
    f"{CALL}<function=f><parameter=x>" + "[" * N,
    f'{CALL}{{"name": "f", "arguments": "' + "[" * N + '"}',
    *(f"{GEMMA_CALL}call:f{{s:" + row * N for row in ("[", "{a:", "(")),
    f"{GEMMA_CALL}call:f{{s:[" + "(" + "-" * N + "1)]}",
    FILE + "[" * N,
]


def play(cases: str) -> str:
    """Return what each reply, or file, is read as, in JSON."""
    said = []
    for reply in json.loads(cases):
        if reply.startswith(FILE):
            data = reply.removeprefix(FILE).encode()
            said.append(repr(describe_signature(data, len(data))))
            continue
        chat = ChatML(with_tools=True)
        parser = (
            OutputParser(True, tools=TOOLS)
            if reply.startswith(GEMMA_CALL)
            else chat.parser(True, tools=TOOLS)
        )
        events = [*parser.push(reply), *parser.finish()]
        said.append("".join(map(repr, events)))
    return json.dumps(said)
