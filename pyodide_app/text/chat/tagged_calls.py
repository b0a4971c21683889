"""Calls of tools that a reply writes as tags: a function, and its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyodide_app.text.chat import ToolCall
from pyodide_app.text.chat.finder import Finder
from pyodide_app.text.chat.incremental import Reading, Source, read_until, take_any
from pyodide_app.text.chat.json_values import read_json
from pyodide_app.text.chat.schemas import wants_text

_OPEN, _CLOSE = Finder(("<function=",)), "</function>"
_PARAMETER = re.compile(
    r"<parameter=([^>\n]{1,100})>\n?((?:(?!\n?</?parameter).)*)", re.DOTALL
)


class TaggedReader:
    """Reads such calls from the front of a source."""

    def __init__(
        self,
        source: Source,
        markers: Sequence[str],
        schemas: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Take every marker of the format, and the parameters of each tool by name."""
        self._source = source
        self._ends = Finder((_CLOSE, *markers))
        self._schemas = schemas

    def read(self) -> Reading[list[ToolCall]]:
        """Read all that there are, and white space before them."""
        source = self._source
        calls: list[ToolCall] = []
        while True:
            yield from source.skip_space()
            if not (yield from take_any(source, _OPEN)):
                return calls
            text = yield from self._inside()
            name, _, body = text.partition(">")
            if not name.strip():
                return calls
            calls.append(ToolCall(name.strip(), self._values(name.strip(), body)))

    def _inside(self) -> Reading[str]:
        """Read up to the closing tag, or to whatever ends the call without one."""
        text, found = yield from read_until(self._source, self._ends)
        if found == _CLOSE:
            self._source.skip(len(_CLOSE))
        return text

    def _values(self, name: str, body: str) -> dict[str, Any]:
        """Return parameters: as the tool wants them, else as JSON where it is some."""
        if body.lstrip().startswith("{"):
            body = body.strip()
            loaded = _json(body)
            return loaded if isinstance(loaded, dict) else {}
        wanted = self._schemas.get(name, {})
        values: dict[str, Any] = {}
        for key, text in _PARAMETER.findall(body):
            is_text = wants_text(wanted.get(key))
            values[key] = text if is_text else _json(text)
        return values


def _json(text: str) -> Any:
    try:
        return read_json(text, strict=True)
    except ValueError:
        return text
