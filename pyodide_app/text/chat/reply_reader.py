"""What every parser of replies does: follow the parts of a reply as it arrives.

A format's parser says which markers there are, and how its calls are written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from pyodide_app.text.chat import ContentDelta, Event, ThinkingDelta
from pyodide_app.text.chat.finder import Finder, Shown
from pyodide_app.text.chat.incremental import (
    Reading,
    Source,
    comes,
    read_until,
    take_any,
)

State = Callable[[], Reading["State | None"]]
"""A part of a reply: it reads that, and returns the part that comes next."""


@dataclass(frozen=True, slots=True)
class Results:
    """How a conversation gives the results of tools. In a reply they are made up."""

    open: str
    close: str
    heads: tuple[str, ...] = ()  # of which one follows; without it, it is no result
    resumes: tuple[str, ...] = ()  # or these do, where the model's own turn goes on


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers of a format's replies; none is ever shown."""

    thought: tuple[str, str] | None = None  # around one
    call_opens: tuple[str, ...] = ()
    call_close: str = ""
    results: Results | None = None
    others: tuple[str, ...] = ()  # that mean nothing in a reply

    @property
    def all(self) -> tuple[str, ...]:
        """Return every marker."""
        close = (self.call_close,) if self.call_close else ()
        results = (self.results.open, self.results.close) if self.results else ()
        before = (*(self.thought or ()), *self.call_opens, *close)
        return (*before, *results, *self.others)


class ReplyReader(ABC):
    """Parse a reply that arrives in pieces.

    The concatenated deltas and the calls do not depend on where the text is cut: what
    could be the beginning of a marker is held back, and the white space before it too.
    No marker is ever part of what is shown.
    """

    def __init__(
        self,
        source: Source,
        markers: Markers,
        think: bool,
        first: State,
        *,
        strays: Iterable[str],
        shown_as: Mapping[str, str] | None = None,
        bare: Iterable[str] = (),
    ) -> None:
        """Take the source of a reply and its first part; `think=False` drops thoughts.

        Markers that are `strays` mean nothing after a call; `shown_as` says which are
        shown, as what; `bare` are beginnings of calls that lack their marker, at the
        begin of a line.
        """
        self._source = source
        self._think = think
        self._shown_as = shown_as or {}
        self._thought_open, self._thought_close = markers.thought or ("", "")
        self._call_opens = markers.call_opens
        self._close = Finder(filter(None, (markers.call_close,)))
        self._results = results = markers.results or Results("", "")
        self._result_heads = Finder(results.heads)
        self._result_resumes = Finder(results.resumes)
        self._any = Finder(markers.all)
        self._openings = Finder((*markers.all, *(f"\n{call}" for call in bare)))
        # What tells whether text was a thought all along.
        deciding = (*(markers.thought or ()), *markers.call_opens)
        self._deciding = Finder(deciding)
        own = (results.open, results.close) if markers.results else ()
        self._result_ends = Finder((*deciding, *own))
        self._content, self._thinking = Shown(self._any), Shown(self._any)
        self._strays = Finder(strays)
        self._events: list[Event] = []
        self._in_call = False
        self._reading = self._read(first)

    def push(self, text: str) -> list[Event]:
        """Return the events that more text completes."""
        self._source.push(text)
        next(self._reading, None)
        return self._told()

    def finish(self) -> list[Event]:
        """Return what was held back; a call without its closing marker is read, too."""
        source = self._source
        if self._in_call:
            source.text = source.text[: self._close.certain(source.text, source.at)]
        source.ended = True
        next(self._reading, None)
        return self._told()

    def _told(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- states: each reads its part of a reply and returns the next -------------------

    def _read(self, first: State) -> Reading[None]:
        state: State | None = first
        while state is not None:
            state = yield from state()

    def _answer(self) -> Reading[State | None]:
        """An answer begins after something else."""
        yield from self._source.skip_space()
        return self._opening

    @abstractmethod
    def _opening(self) -> Reading[State | None]:
        """The first word of an answer may be a call that lacks its marker."""

    @abstractmethod
    def _opened_thought(self) -> Reading[State | None]:
        """After a thought's marker, before its text."""

    @abstractmethod
    def _call(self, origin: State) -> Reading[State | None]:
        """A call, or several; what cannot be read is shown where it stands."""

    def _text(self) -> Reading[State | None]:
        """The answer's text, up to a thought or a call."""
        marker = yield from self._say_until(self._openings, self._content)
        if not marker:
            return None
        if marker == self._thought_open:
            return self._opened_thought
        if marker in self._call_opens or not self._any.match(marker):
            return partial(self._call, self._text)
        if marker == self._results.open:
            return partial(self._result, self._text, False)
        return self._text

    def _thought(self) -> Reading[State | None]:
        """A thought, up to its end or to a call, which ends it as well."""
        marker = yield from self._say_until(self._any, self._thinking)
        if not marker:
            return None
        if marker == self._thought_close:
            return self._answer
        if marker in self._call_opens:
            return partial(self._call, self._thought)
        if marker == self._results.open:
            return partial(self._result, self._thought, False)
        return self._opened_thought if marker == self._thought_open else self._thought

    def _maybe_thought(self, before: str = "") -> Reading[State | None]:
        """Text that was a thought if the end of one follows, else the answer.

        `before` was read already, and is part of an answer only.
        """
        text, marker = yield from read_until(self._source, self._deciding)
        is_thought = bool(marker) and marker == self._thought_close
        text = text if is_thought else before + text
        shown = self._thinking if is_thought else self._content
        self._say_plainly(shown, text, before=marker)
        if not is_thought:
            return self._text
        self._source.skip(len(marker))
        return self._answer

    def _after_call(self, origin: State) -> Reading[State | None]:
        """Between a call and what follows, closing markers mean nothing."""
        source = self._source
        while True:
            yield from source.skip_space()
            marker = yield from take_any(source, self._strays)
            if not marker:
                return self._maybe_thought if origin == self._thought else self._answer
            if marker == self._results.open:
                return partial(self._result, origin, True)

    def _result(self, origin: State, follows_call: bool) -> Reading[State | None]:
        """What a tool is to have given: neither the model's words nor true.

        Behind a call it is left out up to whatever ends it. Elsewhere the marker alone
        may be meant, so that what is never closed is text.
        """
        source = self._source
        after = partial(self._after_call, origin) if follows_call else origin
        if (yield from take_any(source, self._result_resumes)):
            return partial(self._after_call, origin)
        if self._results.heads and not (yield from comes(source, self._result_heads)):
            return after
        text, marker = yield from read_until(source, self._result_ends)
        if marker == self._results.close:
            source.skip(len(marker))
            return partial(self._after_call, origin)
        if not follows_call:
            self._say_plainly(self._shown_of(origin), text, before=marker)
        return after

    # -- what they are made of ---------------------------------------------------------

    def _shown_of(self, origin: State) -> Shown:
        return self._thinking if origin == self._thought else self._content

    def _say_until(self, openings: Finder, shown: Shown) -> Reading[str]:
        """Show text up to a marker, and return that; empty at the end.

        A call that lacks its marker is returned with the newline before it; that alone
        is read.
        """
        source = self._source
        while True:
            found = openings.find(source.text, source.at)
            if found is None:
                end = len(source.text)
                if not source.ended:
                    end = openings.certain(source.text, source.at)
                    end = source.at + len(source.text[source.at : end].rstrip())
                self._say(shown, source.take(end))
                if source.ended:
                    return ""
                yield
                continue
            text = source.take(found.start())
            is_marker = self._any.match(found[0]) is not None
            source.skip(len(found[0]) if is_marker else 1)
            if found[0] in self._shown_as:
                self._say(shown, text)
                shown.interrupt()
                self._say(shown, self._shown_as[found[0]])
                continue
            self._say(shown, text.rstrip())
            shown.interrupt(text[len(text.rstrip()) :])
            return found[0]

    def _say_plainly(self, shown: Shown, text: str, before: str = "") -> None:
        """Show text that was read already, without its markers; one may follow it."""
        at, space = 0, text[len(text.rstrip()) :] if before else ""
        text = text.rstrip() if before else text
        while found := self._any.find(text, at):
            self._say(shown, text[at : found.start()])
            shown.interrupt()
            self._say(shown, self._shown_as.get(found[0], ""))
            at = found.end()
        self._say(shown, text[at:])
        if before:
            shown.interrupt(space)

    def _say(self, shown: Shown, text: str) -> None:
        is_thought = shown is self._thinking
        if text and (self._think or not is_thought):
            delta = ThinkingDelta if is_thought else ContentDelta
            self._events.append(delta(shown.say(text)))
