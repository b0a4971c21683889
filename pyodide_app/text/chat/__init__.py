"""The types that prompt rendering and output parsing share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

Message = Mapping[str, Any]
"""One message: `role`, `content` and what chat interfaces add (reasoning, tools)."""

Tool = Mapping[str, Any]
"""One tool: `{"type": "function", "function": {name, description, parameters}}`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt: markup that we wrote, or text that came from outside.

    Only in trusted segments may the strings of special tokens become those tokens.
    """

    text: str
    trusted: bool


Fragment = list[Segment]
"""A part of a prompt that is still being put together."""


def markup(text: str) -> Fragment:
    """Return text of ours, in which special tokens are recognised."""
    return [Segment(text, True)]


def outside(text: str) -> Fragment:
    """Return text from outside, which stays text whatever it spells."""
    return [Segment(text, False)]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt; segments of ours and from outside alternate."""

    segments: tuple[Segment, ...]

    @classmethod
    def join(cls, fragments: Iterable[Fragment]) -> Prompt:
        """Put fragments together; neighbours of equal trust become one segment."""
        pieces = (piece for fragment in fragments for piece in fragment if piece.text)
        return cls(
            tuple(
                Segment("".join(piece.text for piece in group), trusted)
                for trusted, group in groupby(pieces, attrgetter("trusted"))
            )
        )

    @property
    def text(self) -> str:
        """Return the whole prompt as one string."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More text of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More text of the model's answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call of a tool; `arguments` holds JSON values."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


Event = ThinkingDelta | ContentDelta | ToolCall
