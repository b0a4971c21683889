"""What the model itself writes of a conversation: its replies as rendered text."""

from __future__ import annotations

from demo.corpus import Conversation
from pyodide_app.text.chat.gemma4 import render


def reply_text(item: Conversation, step: int) -> str:
    """Return the text of the model's reply number `step` after the last question.

    It begins after the generation prompt and ends before the token that stops it.
    """
    before = item.prompt + item.replies[: 2 * step]
    after = item.prompt + item.replies[: 2 * step + 1]
    prompt = render(before, tools=item.tools, think=item.think).text
    whole = render(
        after, tools=item.tools, think=item.think, add_generation_prompt=False
    ).text
    if not whole.startswith(prompt):
        raise ValueError(f"{whole!r} does not begin with {prompt!r}")
    text = whole[len(prompt) :]
    for stop in ("<turn|>\n", "<|tool_response>"):
        text = text.removesuffix(stop)
    return text
