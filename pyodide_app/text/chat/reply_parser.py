"""Replies with thoughts between two markers and with calls as JSON, in pieces."""

from __future__ import annotations

from functools import partial

from pyodide_app.text.chat.format import Parser, PlainParser
from pyodide_app.text.chat.incremental import Reading, Source, comes
from pyodide_app.text.chat.json_calls import CallReader
from pyodide_app.text.chat.messages import check_tools
from pyodide_app.text.chat.reply_reader import Markers, ReplyReader, State
from pyodide_app.text.chat.schemas import properties_of


def reply_parser(
    markers: Markers, think: bool, in_thought: bool = False, *, tools: object = ()
) -> Parser:
    """Return what reads replies with these markers, of which there may be none."""
    if not markers.all:
        return PlainParser()
    return ReplyParser(markers, think, in_thought, tools=tools)


class ReplyParser(ReplyReader):
    """The parser of such replies.

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
        schemas = {f["name"]: properties_of(f.get("parameters")) for f in functions}
        source = Source()
        self._calls = CallReader(source, markers.all, schemas)
        opening = {*(markers.thought or ())[:1], *markers.call_opens}
        super().__init__(
            source,
            markers,
            think,
            self._opened_thought if in_thought else self._beginning,
            strays=(marker for marker in markers.all if marker not in opening),
        )

    def _beginning(self) -> Reading[State | None]:
        """White space before a thought or a call is nothing, before an answer it is."""
        source = self._source
        source.record()
        yield from source.skip_space()
        space = source.recorded()
        if (yield from self._is_marked()) or (yield from self._calls.comes_bare()):
            return self._opening
        source.put_back(space)
        return self._text

    def _opening(self) -> Reading[State | None]:
        if not (yield from self._is_marked()) and (yield from self._calls.comes_bare()):
            return partial(self._call, self._text, True)
        return self._text

    def _is_marked(self) -> Reading[bool]:
        return (yield from comes(self._source, self._any))

    def _opened_thought(self) -> Reading[State | None]:
        self._content.forget_space()
        yield from self._source.skip_space()
        return self._thought

    def _call(self, origin: State, is_bare: bool = False) -> Reading[State | None]:
        source, shown = self._source, self._shown_of(origin)
        self._in_call = not is_bare
        source.record()
        calls = yield from self._calls.read(self._close, needs_tool=is_bare)
        self._in_call = False
        raw = source.recorded()
        if not calls:
            self._say_plainly(shown, raw)
            return origin
        shown.forget_space()
        self._events.extend(calls)
        return partial(self._after_call, origin)
