"""Runs templates of strangers, natively and in Pyodide, which is given this text."""

import json

from pyodide_app.errors import EngineError
from pyodide_app.text.chat.templated import Templated


def play(text: str) -> str:
    """Return what becomes of cases of a template, messages and tools, as JSON.

    Of each the pieces of the prompt with whether they are trusted, or the error's type.
    """
    outcomes: list[object] = []
    for template, messages, tools in json.loads(text):
        chat = Templated(template, "<bos>")
        try:
            prompt = chat.render(messages, tools=tools)
        except EngineError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append([[s.text, s.trusted] for s in prompt.segments])
    return json.dumps(outcomes)
