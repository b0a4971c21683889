"""What a Gemma 4 model writes, split into thoughts, answer and tool calls."""

from __future__ import annotations

from functools import partial

from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.gemma4_markers import (
    CHANNEL_NAME,
    REPLY,
    STRAYS,
    THOUGHT_CLOSE,
)
from pyodide_app.text.chat.gemma4_tool_call import CallReader, MalformedCallError
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.incremental import Reading, Source, comes, take_any
from pyodide_app.text.chat.reply_reader import ReplyReader, State

_NAME = Finder((CHANNEL_NAME,))
_BEGINNINGS = Finder((CHANNEL_NAME, CHANNEL_NAME.strip() + THOUGHT_CLOSE))


class OutputParser(ReplyReader):
    """The parser of such replies; a delimiter of strings shows as a quotation mark."""

    def __init__(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> None:
        """Start at the beginning of a reply.

        `think=False` drops thoughts. `in_thought` says that the prompt has opened one
        (`ChatFormat.opens_thought`). `tools` tell text from values, and know calls that
        lack their marker. Raises: RequestError for tools that are none.
        """
        source = Source()
        self._calls = CallReader(source, tools)
        bare = [f"call:{name}{mark}" for name in self._calls.names for mark in "{("]
        self._bare = Finder(bare)
        super().__init__(
            source,
            REPLY,
            think,
            self._thought if in_thought else self._beginning,
            strays=STRAYS,
            shown_as={QUOTE: '"'},
            bare=bare,
        )

    def _beginning(self) -> Reading[State | None]:
        """A thought may lack its marker: then it begins with the channel's name."""
        if not (yield from comes(self._source, _BEGINNINGS)):
            return self._opening
        name = CHANNEL_NAME.strip()
        self._source.skip(len(name))
        if self._source.peek(1) == "\n":
            name = CHANNEL_NAME
            self._source.skip(1)
        return partial(self._maybe_thought, name)

    def _opening(self) -> Reading[State | None]:
        if (yield from comes(self._source, self._bare)):
            return partial(self._call, self._text)
        return self._text

    def _opened_thought(self) -> Reading[State | None]:
        """A thought begins with the channel's name."""
        yield from take_any(self._source, _NAME)
        return self._thought

    def _call(self, origin: State) -> Reading[State | None]:
        self._in_call, n_calls = True, 0
        shown = self._shown_of(origin)
        while (yield from self._calls.at_call()):
            self._source.record()
            try:
                call = yield from self._calls.call()
            except MalformedCallError:
                self._in_call = False
                self._say_plainly(shown, self._source.recorded())
                return origin
            self._source.recorded()
            n_calls += 1
            shown.forget_space()
            self._events.append(call)
        if n_calls:
            yield from self._calls.leave()
        self._in_call = False
        return partial(self._after_call, origin) if n_calls else origin
