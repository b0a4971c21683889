"""What people paste in place of a model's name: commands, and addresses of pages."""

from __future__ import annotations

import re

from pyodide_app.errors import EngineError, RequestError
from pyodide_app.ollama.manifest import Reference

_COMMAND = re.compile(r"\s*(?:\$\s+)?ollama\s+(?:run|pull|show)\s+(\S+)(?:\s.*)?", re.S)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_HUB = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)"
    r"/([\w.-]{1,96})/([\w.:-]{1,180})(|[/?#].*)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_LIBRARY = re.compile(
    r"https?://(?:www\.)?ollama\.com/(?:library/)?([^/?#]+(?:/[^/?#]+)?)/?(?:[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)


def is_address(text: str) -> bool:
    """Say whether a text is an address, the scheme of which may be left out."""
    hub = _HUB.fullmatch(text)
    return bool(_SCHEME.match(text) or (hub and hub[3].strip("/")))


def name_in(text: str) -> str:
    """Return the name of a model of a store that a text stands for.

    A command is its model, a page that shows a model is that one. Raises: RequestError
    for an address that no model of a store has.
    """
    if command := _COMMAND.fullmatch(text):
        text = command[1]
    if not is_address(text):
        return text
    if page := _LIBRARY.fullmatch(text):
        return page[1]
    if hub := _HUB.fullmatch(text):
        name = f"hf.co/{hub[1]}/{hub[2]}"
        if re.fullmatch(r"/?(?:tree/main/?)?(?:[?#].*)?", hub[3], re.DOTALL):
            return name
        raise _address(text, f"or pull its model: ollama pull {name}")
    if _is_name(text):
        return text
    raise _address(text, "or give the name of a model of Ollama's")


def _is_name(text: str) -> bool:
    """Say whether an address is the name of a model in a registry."""
    try:
        return not Reference.parse(text).model.lower().endswith(".gguf")
    except EngineError:
        return False


def _address(text: str, otherwise: str) -> RequestError:
    return RequestError(
        f"{text!a:.200} is an address",
        expected="a file of this machine, or a model of Ollama's store",
        remedy=f"Download the .gguf file and give its path, {otherwise}",
    )
