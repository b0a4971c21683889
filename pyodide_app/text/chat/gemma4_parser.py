"""What a Gemma 4 model writes, split into thoughts, answer and tool calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyodide_app.text.chat import ContentDelta, Event, ThinkingDelta
from pyodide_app.text.chat.finder import Finder, Shown
from pyodide_app.text.chat.gemma4_markers import (
    ANY_MARKER,
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_NAME,
    MARKERS,
    STRAYS,
    THOUGHT_CLOSE,
    THOUGHT_OPEN,
)
from pyodide_app.text.chat.gemma4_tool_call import CallReader, MalformedCallError
from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.incremental import Reading, Source

_STRAYS = Finder(STRAYS)
_CALL_CLOSE = Finder((CALL_CLOSE,))
_NAME = Finder((CHANNEL_NAME,))
_BEGINNINGS = Finder((CHANNEL_NAME, CHANNEL_NAME.strip() + THOUGHT_CLOSE))
# What tells whether text was a thought all along.
_DECIDING = Finder((THOUGHT_CLOSE, THOUGHT_OPEN, CALL_OPEN))
# Which markers end a text: of an answer, of a thought.
_CHANGES = (
    (THOUGHT_OPEN, CALL_OPEN),
    (THOUGHT_CLOSE, THOUGHT_OPEN, CALL_OPEN),
)

_State = Callable[[], Reading["_State | None"]]


class OutputParser:
    """Parse a reply that arrives in pieces.

    The concatenated deltas and the calls do not depend on where the text is cut: what
    could be the beginning of a marker is held back, and the white space before it too.
    No marker is ever part of what is shown.
    """

    def __init__(
        self, think: bool, in_thought: bool = False, *, tools: object = ()
    ) -> None:
        """Start at the beginning of a reply.

        `think=False` drops thoughts. `in_thought` says that the prompt has opened one
        (`Prompt.in_thought`). `tools` tell text from values, and know calls that lack
        their marker. Raises: RequestError for tools that are none.
        """
        self._think = think
        self._source = Source()
        self._calls = CallReader(self._source, tools)
        self._content, self._thinking = Shown(ANY_MARKER), Shown(ANY_MARKER)
        self._events: list[Event] = []
        self._in_call = False
        bare = [f"call:{name}{{" for name in self._calls.names]
        self._bare = Finder(bare) if bare else None
        self._openings = Finder((*MARKERS, *(f"\n{call}" for call in bare)))
        self._reading = self._reply(in_thought)

    def push(self, text: str) -> list[Event]:
        """Return the events that more text completes."""
        self._source.push(text)
        next(self._reading, None)
        return self._told()

    def finish(self) -> list[Event]:
        """Return what was held back; a call without its closing marker is read, too."""
        source = self._source
        if self._in_call:
            source.text = source.text[: _CALL_CLOSE.certain(source.text, source.at)]
        source.ended = True
        next(self._reading, None)
        return self._told()

    def _told(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- states: each reads its part of a reply and returns the next -------------------

    def _reply(self, in_thought: bool) -> Reading[None]:
        state: _State | None = self._thought if in_thought else self._beginning
        while state is not None:
            state = yield from state()

    def _beginning(self) -> Reading[_State | None]:
        """A thought may lack its marker: then it begins with the channel's name."""
        if not (yield from self._comes(_BEGINNINGS)):
            return self._opening
        name = CHANNEL_NAME.strip()
        self._source.skip(len(name))
        if self._source.peek(1) == "\n":
            name = CHANNEL_NAME
            self._source.skip(1)
        return partial(self._maybe_thought, name)

    def _answer(self) -> Reading[_State | None]:
        """An answer begins after something else."""
        yield from self._source.skip_space()
        return self._opening

    def _opening(self) -> Reading[_State | None]:
        """The first word of an answer may be a call that lacks its marker."""
        if self._bare and (yield from self._comes(self._bare)):
            return partial(self._call, self._text)
        return self._text

    def _text(self) -> Reading[_State | None]:
        """The answer's text, up to a thought or a call."""
        marker = yield from self._say_until(self._openings, self._content)
        if marker == THOUGHT_OPEN:
            return self._thought_name
        if marker == CALL_OPEN or marker.startswith("\n"):
            return partial(self._call, self._text)
        return None

    def _thought_name(self) -> Reading[_State | None]:
        if (yield from self._comes(_NAME)):
            self._source.skip(len(CHANNEL_NAME))
        return self._thought

    def _thought(self) -> Reading[_State | None]:
        """A thought, up to its end or to a call, which ends it as well."""
        marker = yield from self._say_until(ANY_MARKER, self._thinking)
        if marker == THOUGHT_CLOSE:
            return self._answer
        if marker == CALL_OPEN:
            return partial(self._call, self._thought)
        return self._thought_name if marker else None

    def _maybe_thought(self, before: str = "") -> Reading[_State | None]:
        """Text that was a thought if the end of one follows, else the answer."""
        parts = []
        source = self._source
        while (found := _DECIDING.find(source.text, source.at)) is None:
            parts.append(source.take(_DECIDING.certain(source.text, source.at)))
            if source.ended:
                break
            yield
        parts.append(source.take(found.start() if found else len(source.text)))
        text = "".join(parts)
        if found is None or found[0] != THOUGHT_CLOSE:
            self._say_plainly(self._content, before + text)
            return self._text
        source.skip(len(THOUGHT_CLOSE))
        self._say_plainly(self._thinking, text.rstrip())
        return self._answer

    def _call(self, origin: _State) -> Reading[_State | None]:
        """A call, or several; what cannot be read is shown where it stands."""
        self._in_call, n_calls = True, 0
        shown = self._thinking if origin == self._thought else self._content
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

    def _after_call(self, origin: _State) -> Reading[_State | None]:
        """Between a call and what follows, markers and brackets mean nothing."""
        while True:
            yield from self._source.skip_space()
            if not (yield from self._comes(_STRAYS)):
                break
            found = _STRAYS.match(self._source.text, self._source.at)
            self._source.skip(len(found[0]) if found else 0)
        return self._maybe_thought if origin == self._thought else self._answer

    # -- what they are made of ---------------------------------------------------------

    def _comes(self, what: Finder) -> Reading[bool]:
        """Say whether one of some strings comes next."""
        while True:
            window = self._source.peek(what.longest)
            if what.match(window):
                return True
            if self._source.ended or not what.is_beginning(window):
                return False
            yield

    def _say_until(self, openings: Finder, shown: Shown) -> Reading[str]:
        """Show text up to a marker that changes the state; empty at the end.

        A delimiter of strings shows as a quotation mark, other markers not at all.
        """
        source = self._source
        while True:
            found = openings.find(source.text, source.at)
            if found is None:
                end = openings.certain(source.text, source.at)
                text = source.text[source.at : end].rstrip()
                self._say(shown, source.take(source.at + len(text)))
                if source.ended:
                    self._say(shown, source.take(len(source.text)))
                    return ""
                yield
                continue
            if found[0] == QUOTE:
                self._say(shown, source.take(found.start()))
                source.skip(len(QUOTE))
                shown.interrupt()
                self._say(shown, '"')
                continue
            text = source.take(found.start())
            source.skip(1 if found[0][0] == "\n" else len(found[0]))
            self._say(shown, text.rstrip())
            shown.interrupt(text[len(text.rstrip()) :])
            if found[0] in _CHANGES[shown is self._thinking] or found[0][0] == "\n":
                return found[0]

    def _say_plainly(self, shown: Shown, text: str) -> None:
        """Show text that was read already, without its markers."""
        at = 0
        while found := ANY_MARKER.find(text, at):
            self._say(shown, text[at : found.start()])
            shown.interrupt()
            self._say(shown, '"' if found[0] == QUOTE else "")
            at = found.end()
        self._say(shown, text[at:])

    def _say(self, shown: Shown, text: str) -> None:
        is_thought = shown is self._thinking
        if text and (self._think or not is_thought):
            delta = ThinkingDelta if is_thought else ContentDelta
            self._events.append(delta(shown.say(text)))
