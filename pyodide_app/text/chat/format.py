"""What a chat format is: how a conversation is written, and how a reply is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyodide_app.errors import RequestError
from pyodide_app.text.chat import ContentDelta, Event, Prompt
from pyodide_app.text.chat.json_values import json_text, refuse

SYSTEM_ROLES = ("system", "developer")


class Parser(Protocol):
    """What splits a reply that arrives in pieces into thoughts, answer and calls."""

    def push(self, text: str) -> list[Event]:
        """Return the events that more text completes."""

    def finish(self) -> list[Event]:
        """Return what was held back."""


class ChatFormat(ABC):
    """One way to write conversations. What it knows of a model, its template told."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the format's name, as people know it."""

    @property
    def thinks(self) -> bool:
        """Say whether its models can think before they answer."""
        return False

    @property
    def has_tools(self) -> bool:
        """Say whether tools can be offered in it."""
        return False

    @property
    def markers(self) -> tuple[str, ...]:
        """Return the strings that the parser must see where they are tokens."""
        return ()

    @property
    def end(self) -> str:
        """Return what ends the model's turn."""
        return ""

    @abstractmethod
    def render(
        self, messages: object, *, tools: object = (), think: bool = False
    ) -> Prompt:
        """Render a conversation, up to where the model is to speak.

        Contents, names and values are untrusted segments. Tools are left out where the
        format has none. Raises: RequestError for what the format cannot say.
        """

    def opens_thought(self, prompt: Prompt) -> bool:
        """Say whether a prompt leaves a thought open that the model continues."""
        return False

    def parser(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> Parser:
        """Return a parser for one reply; `think=False` drops thoughts.

        `in_thought` says that the prompt has opened one. Raises: RequestError for tools
        that are none.
        """
        return PlainParser()


@dataclass(frozen=True, slots=True)
class PlainParser:
    """The parser of a format without markers: a reply is its text."""

    def push(self, text: str) -> list[Event]:
        """Return the text."""
        return [ContentDelta(text)] if text else []

    def finish(self) -> list[Event]:
        """Return nothing: nothing was held back."""
        return []


def ends_with(prompt: Prompt, marker: str) -> bool:
    """Say whether a prompt ends with markup of ours, but for white space."""
    last = prompt.segments[-1] if prompt.segments else None
    return last is not None and last.trusted and last.text.rstrip().endswith(marker)


def text_content(message: Mapping[str, Any], index: int) -> str:
    """Return a message's content as text. Raises: RequestError for media."""
    content = message["content"]
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else json_text(content)
    for i, part in enumerate(content):
        if part.get("type") != "text":
            refuse(f"messages[{index}].content[{i}].type", part.get("type"), "text")
    return "".join(part["text"] for part in content)


def require_messages(messages: list[dict[str, Any]]) -> None:
    """Raise RequestError for a conversation in which nothing is said."""
    if not messages:
        raise RequestError(
            "messages", found="an empty list", expected="at least one message"
        )


def require_turns(roles: Iterable[str], what: str) -> None:
    """Raise RequestError unless every other role is a user's, the first one too."""
    for i, role in enumerate(roles):
        if (role == "user") != (i % 2 == 0):
            raise RequestError(
                f"{what} takes turns: user, assistant, user, assistant and so on",
                found=f"{role!a:.40} as turn {i + 1}",
                expected="a user's message" if i % 2 == 0 else "the assistant's",
                remedy="Put neighbouring messages of one role into one message.",
            )
