"""A conversation in no format: what was written so far, as one text to be continued."""

from __future__ import annotations

from pyodide_app.text.chat import Prompt, Segment
from pyodide_app.text.chat.format import require_messages, text_content
from pyodide_app.text.chat.messages import check_messages, refuse_media


def as_it_stands(text: str) -> Prompt:
    """Return the prompt of a text that is continued, its markers too."""
    return Prompt((Segment(text, trusted=True),))


def plain_text(messages: object) -> str:
    """Return the text of a conversation that a model has continued so far.

    What a person adds begins a paragraph; what the model wrote follows at once.
    Raises: RequestError for messages that are none, or hold an image or a sound.
    """
    conversation = check_messages(messages)
    refuse_media(conversation)
    require_messages(conversation)
    written = ""
    for i, message in enumerate(conversation):
        is_new = written and message["role"] != "assistant"
        written += ("\n\n" if is_new else "") + text_content(message, i)
    return written
