"""Which chat format a model has: the one place that decides it, and says why.

A template is recognised by what stands in it. What the file brings decides, where the
vocabulary has the tokens for it; then what Ollama's store brings, which is a template
in Go's language and never run; then what such models usually have; last the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pyodide_app.errors import ChatFormatError
from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.text.chat import chatml, gemma4_template, llama3
from pyodide_app.text.chat.chatml import ChatML
from pyodide_app.text.chat.format import ChatFormat
from pyodide_app.text.chat.gemma3 import Gemma3
from pyodide_app.text.chat.gemma4_format import Gemma4
from pyodide_app.text.chat.llama3 import Llama3
from pyodide_app.text.chat.mistral import Mistral
from pyodide_app.text.chat.templated import RAW, Templated, can_run

KEY = gemma4_template.KEY


@dataclass(frozen=True, slots=True)
class Kind:
    """A format as it is recognised."""

    name: str
    sign: str  # in a template
    make: Callable[[str, Clues], ChatFormat]
    token: str = ""  # that its turns need; empty where they are plain text
    # Templates with these speak otherwise, though they have the sign.
    unlike: tuple[str, ...] = ()
    tools: str = ""  # what those say that offer tools as is done here

    def fits(self, template: str) -> bool:
        """Say whether a template is of this kind."""
        if self.sign not in template or any(s in template for s in self.unlike):
            return False
        return "if tools" not in template or self.tools in template


@dataclass(frozen=True, slots=True)
class Brought:
    """What whoever opened the file knows of its format: of Ollama's store, a name."""

    template: str = ""  # Go's text/template
    large: bool | None = None  # whether it is that of Gemma 4's large models


@dataclass(frozen=True)
class Clues:
    """What a model's format is told by."""

    file: GGUFFile
    usual: str  # the format of its architecture, if there is one
    brought: Brought

    @cached_property
    def template(self) -> str:
        """Return the file's own template, empty without one."""
        metadata = self.file.metadata
        return metadata.advised(KEY, metadata.get_str, "").strip()

    @cached_property
    def tokens(self) -> frozenset[bytes]:
        """Return the vocabulary, which may be empty."""
        key, metadata = "tokenizer.ggml.tokens", self.file.metadata
        if key not in metadata:
            return frozenset()
        return frozenset(metadata.get_strings(key).raw_list())

    def allow(self, kind: Kind) -> bool:
        """Say whether the vocabulary has the tokens of a kind's turns."""
        return self.has(kind, kind.token)

    def special(self, role: str) -> str:
        """Return the text of the token that the metadata names for a role."""
        metadata = self.file.metadata
        tokens, key = "tokenizer.ggml.tokens", f"tokenizer.ggml.{role}_token_id"
        if tokens not in metadata:
            return ""
        strings = metadata.get_strings(tokens)
        index = metadata.advised(key, metadata.get_int, -1)
        return strings[index] if 0 <= index < len(strings) else ""

    def speaks(self, kind: Kind) -> bool:
        """Say whether the vocabulary shows what the model was made for."""
        return (kind.token or kind.sign).encode() in self.tokens

    def has(self, kind: Kind, token: str) -> bool:
        """Say the same of one token; the usual format has what it needs."""
        return not token or kind.name == self.usual or token.encode() in self.tokens


@dataclass(frozen=True, slots=True)
class Choice:
    """The format of a model, and what a person should know of how it was found."""

    format: ChatFormat | None  # None where nobody knows it
    notes: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()  # what ends a turn without being a token

    def require(self) -> ChatFormat:
        """Return the format. Raises: ChatFormatError where there is none."""
        if self.format is None:
            raise ChatFormatError(
                "this model brings no chat format that can be used",
                found="; ".join(self.notes) or "neither template nor tokens of turns",
                expected=f"one of {', '.join(sorted(kind.name for kind in KINDS))}",
                remedy=RAW,
            )
        return self.format


def _gemma4(template: str, clues: Clues) -> ChatFormat:
    large = clues.brought.large
    return Gemma4(gemma4_template.is_large_file(clues.file) if large is None else large)


KINDS = (
    Kind("Gemma 4", "<|turn>", _gemma4, "<|turn>"),
    Kind(
        "Gemma 3",
        "<start_of_turn>",
        lambda template, clues: Gemma3(),
        "<start_of_turn>",
        ("<start_function_", "<|im_start|>"),
    ),
    Kind(
        "Llama 3",
        "<|start_header_id|>",
        lambda template, clues: Llama3.of(template),
        "<|start_header_id|>",
        ("</think>",),
        llama3.TOOLS_PHRASE,
    ),
    Kind(
        "ChatML",
        "<|im_start|>",
        lambda template, clues: ChatML.of(template),
        "<|im_start|>",
        ("<|im_sep|>", "<function="),
        chatml.TOOLS_PHRASE,
    ),
    Kind("Mistral", "[INST]", lambda template, clues: Mistral.of(template)),
)


# A template of none of these is run as it is.
OWN = Kind(
    "its own template",
    "",
    lambda template, clues: Templated(
        template, clues.special("bos"), clues.special("eos")
    ),
)


def recognise(template: str) -> Kind | None:
    """Return which kind a template is of, None for one that is of none."""
    return next((kind for kind in KINDS if kind.fits(template)), None)


def choose(file: GGUFFile, usual: str = "", brought: Brought | None = None) -> Choice:
    """Choose the format of a file; `usual` names that of its architecture, if any."""
    clues = Clues(file, usual, brought or Brought())
    templates = {"file": clues.template, "store": clues.brought.template}
    kinds = {where: recognise(template) for where, template in templates.items()}
    if clues.template and kinds["file"] is None and can_run():
        kinds["file"] = OWN
    told = [(kind, templates[where]) for where, kind in kinds.items() if kind]
    known = [
        *((kind, template) for kind, template in told if clues.allow(kind)),
        *((kind, "") for kind in KINDS if kind.name == usual),
        *((kind, "") for kind in KINDS if clues.speaks(kind)),
        *told,  # its turns are plain text in this vocabulary
    ]
    kind, template = known[0] if known else (None, "")
    return _choice(kind, template, clues, kinds)


def _choice(
    kind: Kind | None, template: str, clues: Clues, kinds: Mapping[str, Kind | None]
) -> Choice:
    notes = tuple(_notes(kind, clues, kinds))
    if kind is None:
        return Choice(None, notes)
    found = kind.make(template, clues)
    return Choice(found, notes, () if clues.has(kind, found.end) else (found.end,))


def _notes(
    chosen: Kind | None, clues: Clues, kinds: Mapping[str, Kind | None]
) -> Iterator[str]:
    """Say which templates are not followed, and what is done instead."""
    if chosen is OWN:
        yield f"The metadata key {KEY} is in another format, and run as it is."
        return
    done = "no conversation can be written in it"
    if chosen is not None:
        done = f"conversations are written as {chosen.name}'s"
        is_told = any(kinds.values()) or clues.template or chosen.name == clues.usual
        if not is_told:
            yield f"The model brings no chat template, as base models do; {done}."
    own, stored = kinds["file"], kinds["store"]
    if clues.template and (own is None or own is not chosen):
        found = own.name if own else "another format"
        yield f"The metadata key {KEY} is in {found}; {done}."
    if stored is not None and stored is not chosen:
        yield f"The template of the store is in {stored.name}; {done}."
