"""Replies with thoughts between two markers and with calls as JSON, in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyodide_app.text.chat import ContentDelta, Event, ThinkingDelta
from pyodide_app.text.chat.finder import Finder, Shown
from pyodide_app.text.chat.format import Parser, PlainParser
from pyodide_app.text.chat.incremental import Reading, Source
from pyodide_app.text.chat.json_calls import CallReader
from pyodide_app.text.chat.messages import check_tools

_State = Callable[[], Reading["_State | None"]]


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers of a format's replies; none is ever shown."""

    thought: tuple[str, str] | None = None  # around one
    call_opens: tuple[str, ...] = ()
    call_close: str = ""
    others: tuple[str, ...] = ()  # that mean nothing in a reply

    @property
    def all(self) -> tuple[str, ...]:
        """Return every marker."""
        close = (self.call_close,) if self.call_close else ()
        return (*(self.thought or ()), *self.call_opens, *close, *self.others)


def reply_parser(
    markers: Markers, think: bool, in_thought: bool = False, *, tools: object = ()
) -> Parser:
    """Return what reads replies with these markers, of which there may be none."""
    if not markers.all:
        return PlainParser()
    return ReplyParser(markers, think, in_thought, tools=tools)


class ReplyParser:
    """Parse a reply that arrives in pieces.

    The concatenated deltas and the calls do not depend on where the text is cut: what
    could be the beginning of a marker is held back, and the white space before it too.
    With tools, an answer that begins with JSON is held until it is known to be no call.
    """

    def __init__(
        self,
        markers: Markers,
        think: bool,
        in_thought: bool = False,
        *,
        tools: object = (),
    ) -> None:
        """Start at the beginning of a reply. Raises: RequestError for a false tool."""
        functions = [tool["function"] for tool in check_tools(tools)]
        schemas = {f["name"]: _properties(f.get("parameters")) for f in functions}
        self._think = think
        self._opens, self._close = markers.call_opens, markers.call_close
        self._thought_markers = markers.thought or ("", "")
        self._any = Finder(markers.all)
        self._source = Source()
        self._calls = CallReader(self._source, markers.all, schemas)
        self._content, self._thinking = Shown(self._any), Shown(self._any)
        self._events: list[Event] = []
        self._in_call = False
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
            source.text = source.text[: self._any.certain(source.text, source.at)]
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
        """White space before a thought or a call is nothing, before an answer it is."""
        source = self._source
        source.record()
        yield from source.skip_space()
        space = source.recorded()
        if (yield from self._comes()) or (yield from self._calls.comes_bare()):
            return self._opening
        source.put_back(space)
        return self._text

    def _answer(self) -> Reading[_State | None]:
        """An answer begins after something else."""
        yield from self._source.skip_space()
        return self._opening

    def _opening(self) -> Reading[_State | None]:
        """An answer may be a call that lacks its marker."""
        is_marked = yield from self._comes()
        if not is_marked and (yield from self._calls.comes_bare()):
            return partial(self._call, self._text, True)
        return self._text

    def _text(self) -> Reading[_State | None]:
        """The answer's text, up to a thought or a call."""
        marker = yield from self._say_until(self._content)
        if not marker:
            return None
        if marker == self._thought_markers[0]:
            self._content.forget_space()
            return self._thought
        if marker in self._opens:
            return partial(self._call, self._text)
        return self._text

    def _thought(self) -> Reading[_State | None]:
        """A thought, up to its end or to a call, which ends it as well."""
        yield from self._source.skip_space()
        marker = ""
        while True:
            marker = yield from self._say_until(self._thinking)
            if not marker:
                return None
            if marker == self._thought_markers[1]:
                return self._answer
            if marker in self._opens:
                return partial(self._call, self._thought)

    def _maybe_thought(self) -> Reading[_State | None]:
        """Text that goes on with a thought if the end of one follows, else answers."""
        parts, source = [], self._source
        deciding = {*self._thought_markers, *self._opens}
        marker = ""
        while marker not in deciding:
            found = self._any.find(source.text, source.at)
            if found:
                parts.append(source.take(found.start()))
                marker = found[0]
                if marker not in deciding:
                    source.skip(len(marker))
                continue
            parts.append(source.take(self._any.certain(source.text, source.at)))
            if source.ended:
                parts.append(source.take(len(source.text)))
                break
            yield
        is_thought = bool(marker) and marker == self._thought_markers[1]
        shown = self._thinking if is_thought else self._content
        text = "".join(parts)
        self._say(shown, text.rstrip() if marker else text)
        shown.interrupt(text[len(text.rstrip()) :] if marker else "")
        if is_thought:
            source.skip(len(marker))
            return self._answer
        return self._text

    def _call(self, origin: _State, is_bare: bool = False) -> Reading[_State | None]:
        """A call, or several; what cannot be read is shown where it stands."""
        shown = self._thinking if origin == self._thought else self._content
        source = self._source
        self._in_call = not is_bare
        source.record()
        calls = yield from self._calls.read(self._close, needs_tool=is_bare)
        self._in_call = False
        raw = source.recorded()
        if not calls:
            self._say_plainly(shown, raw)
            return origin if origin == self._thought else self._text
        shown.forget_space()
        self._events.extend(calls)
        return partial(self._after_call, origin)

    def _after_call(self, origin: _State) -> Reading[_State | None]:
        """Between a call and what follows, closing markers mean nothing."""
        strays = Finder(self._calls.strays) if self._calls.strays else None
        source = self._source
        while True:
            yield from source.skip_space()
            if strays is None or not (yield from self._comes(strays)):
                break
            found = strays.match(source.text, source.at)
            source.skip(len(found[0]) if found else 0)
        return self._maybe_thought if origin == self._thought else self._answer

    # -- what they are made of ---------------------------------------------------------

    def _comes(self, what: Finder | None = None) -> Reading[bool]:
        """Say whether one of some strings, by default a marker, comes next."""
        what = what or self._any
        while True:
            window = self._source.peek(what.longest)
            if what.match(window):
                return True
            if self._source.ended or not what.is_beginning(window):
                return False
            yield

    def _say_until(self, shown: Shown) -> Reading[str]:
        """Show text up to a marker, and return that; empty at the end."""
        source = self._source
        while True:
            found = self._any.find(source.text, source.at)
            if found is not None:
                text = source.take(found.start())
                source.skip(len(found[0]))
                self._say(shown, text.rstrip())
                shown.interrupt(text[len(text.rstrip()) :])
                return found[0]
            end = len(source.text)
            if not source.ended:
                end = self._any.certain(source.text, source.at)
                end = source.at + len(source.text[source.at : end].rstrip())
            self._say(shown, source.take(end))
            if source.ended:
                return ""
            yield

    def _say_plainly(self, shown: Shown, text: str) -> None:
        """Show text that was read already, without its markers."""
        at = 0
        while found := self._any.find(text, at):
            self._say(shown, text[at : found.start()])
            shown.interrupt()
            at = found.end()
        self._say(shown, text[at:])

    def _say(self, shown: Shown, text: str) -> None:
        is_thought = shown is self._thinking
        if text and (self._think or not is_thought):
            delta = ThinkingDelta if is_thought else ContentDelta
            self._events.append(delta(shown.say(text)))


def _properties(parameters: Any) -> Mapping[str, Any]:
    """Return the schemas of a tool's parameters, by name."""
    found = parameters.get("properties") if isinstance(parameters, Mapping) else None
    return found if isinstance(found, Mapping) else {}
