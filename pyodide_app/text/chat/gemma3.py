"""Gemma 3's chat format: two roles that take turns, and no system turn."""

from __future__ import annotations

from pyodide_app.text.chat import Prompt, markup, outside
from pyodide_app.text.chat.format import (
    ChatFormat,
    require_messages,
    require_turns,
    text_content,
)
from pyodide_app.text.chat.messages import check_messages

TURN, END = "<start_of_turn>", "<end_of_turn>"


class Gemma3(ChatFormat):
    """The format of Gemma 2 and 3."""

    name = "Gemma 3"
    end = END

    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation; a system text stands before the first user's."""
        conversation = check_messages(messages)
        require_messages(conversation)
        fragments = [markup("<bos>")]
        n_system = conversation[0]["role"] == "system"
        turns = conversation[n_system:]
        require_turns((message["role"] for message in turns), self.name)
        for i, message in enumerate(turns):
            is_model = message["role"] == "assistant"
            role = markup("model") if is_model else outside(message["role"])
            fragments += [markup(TURN), role, markup("\n")]
            if n_system and i == 0:
                fragments += [outside(text_content(conversation[0], 0) + "\n\n")]
            content = text_content(message, i + n_system).strip()
            fragments += [outside(content), markup(f"{END}\n")]
        return Prompt.join([*fragments, markup(f"{TURN}model\n")])
