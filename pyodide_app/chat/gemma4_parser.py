"""What a Gemma 4 model writes, split into thoughts, answer and tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto

from pyodide_app.chat import ContentDelta, Event, ThinkingDelta, Tool
from pyodide_app.chat.gemma4_tool_call import parse_tool_call
from pyodide_app.chat.stop_strings import undecided

THOUGHT_OPEN, THOUGHT_CLOSE = "<|channel>", "<channel|>"
CALL_OPEN, CALL_CLOSE = "<|tool_call>", "<tool_call|>"
CHANNEL_NAME = "thought\n"
# The model at times repeats these after a call; they mean nothing there.
STRAYS = (CALL_CLOSE, "<|tool_response>")


class State(Enum):
    """Where in the reply the parser is."""

    CONTENT = auto()
    CHANNEL_START = auto()  # in a thought, its channel's name not yet seen
    THOUGHT = auto()
    CALL = auto()
    AFTER_CALL = auto()


class OutputParser:
    """Parse a reply that arrives in pieces.

    The concatenated deltas and the calls do not depend on where the text is cut: what
    could be the beginning of a tag is held back, and the white space before it too.
    """

    def __init__(
        self, think: bool, in_thought: bool = False, *, tools: Sequence[Tool] = ()
    ) -> None:
        """Start at the beginning of a reply.

        `think=False` drops thoughts. `in_thought` says that the prompt has opened one
        (`Prompt.in_thought`). `tools` help to repair malformed calls.
        """
        self._think = think
        self._tools = tools
        self._state = State.THOUGHT if in_thought else State.CONTENT
        self._skips_space = False  # between a thought and the answer's first word
        self._buffer = ""

    def push(self, text: str) -> list[Event]:
        """Return the events that more text completes."""
        self._buffer += text
        return list(self._advance())

    def finish(self) -> list[Event]:
        """Return what was held back; a call without its closing tag is still parsed."""
        text, self._buffer = self._buffer, ""
        if self._state is State.CALL:
            held = undecided(text, (CALL_CLOSE,))
            return list(self._call(text[: len(text) - held]))
        if self._state in (State.THOUGHT, State.CHANNEL_START):
            return list(self._thinking(text))
        return list(_content(text))

    def _advance(self) -> Iterator[Event]:
        """Run the state machine until it needs more text."""
        steps = {
            State.CONTENT: self._read_content,
            State.CHANNEL_START: self._read_channel_name,
            State.THOUGHT: self._read_thought,
            State.CALL: self._read_call,
            State.AFTER_CALL: self._read_after_call,
        }
        before = None
        while self._buffer and before is not self._state:
            before = self._state
            yield from steps[self._state]()

    def _read_content(self) -> Iterator[Event]:
        if self._skips_space:
            self._buffer = self._buffer.lstrip()
            self._skips_space = not self._buffer
        starts = [
            (at, tag)
            for tag in (THOUGHT_OPEN, CALL_OPEN)
            if (at := self._buffer.find(tag)) >= 0
        ]
        if not starts:
            yield from _content(self._take_certain((THOUGHT_OPEN, CALL_OPEN)))
            return
        _, tag = min(starts)
        yield from _content(self._take_until(tag).rstrip())
        self._state = State.CHANNEL_START if tag == THOUGHT_OPEN else State.CALL

    def _read_channel_name(self) -> Iterator[Event]:
        if self._buffer.startswith(CHANNEL_NAME):
            self._buffer = self._buffer[len(CHANNEL_NAME) :]
        elif CHANNEL_NAME.startswith(self._buffer):
            return
        self._state = State.THOUGHT
        yield from ()

    def _read_thought(self) -> Iterator[Event]:
        if THOUGHT_CLOSE not in self._buffer:
            yield from self._thinking(self._take_certain((THOUGHT_CLOSE,)))
            return
        yield from self._thinking(self._take_until(THOUGHT_CLOSE).rstrip())
        self._skips_space = True
        self._state = State.CONTENT

    def _read_call(self) -> Iterator[Event]:
        if CALL_CLOSE in self._buffer:
            yield from self._call(self._take_until(CALL_CLOSE))
            self._state = State.AFTER_CALL

    def _read_after_call(self) -> Iterator[Event]:
        text = self._buffer.lstrip()
        while stray := next(filter(text.startswith, STRAYS), ""):
            text = text[len(stray) :].lstrip()
        self._buffer = text
        if text and not any(stray.startswith(text) for stray in STRAYS):
            self._state = State.CONTENT
        yield from ()

    def _take_until(self, tag: str) -> str:
        """Take the text before a tag from the buffer, and the tag with it."""
        text, _, self._buffer = self._buffer.partition(tag)
        return text

    def _take_certain(self, tags: Sequence[str]) -> str:
        """Take the text that no tag to come can change."""
        end = len(self._buffer) - undecided(self._buffer, tags)
        text = self._buffer[:end].rstrip()
        self._buffer = self._buffer[len(text) :]
        return text

    def _thinking(self, text: str) -> Iterator[Event]:
        if text and self._think:
            yield ThinkingDelta(text)

    def _call(self, text: str) -> Iterator[Event]:
        """Yield a call, or its text if it cannot be read: nothing is lost."""
        call = parse_tool_call(text, self._tools)
        if call is not None:
            yield call
        else:
            yield from _content(text)


def _content(text: str) -> Iterator[Event]:
    if text:
        yield ContentDelta(text)
