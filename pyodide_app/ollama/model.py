"""A model of Ollama's store: what its blobs are, its defaults, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    RequestError,
    UnsupportedFormatError,
)
from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.ollama.manifest import PULL, Config, Layer, Manifest, Reference
from pyodide_app.ollama.options import Options
from pyodide_app.text.chat import gemma4_template
from pyodide_app.text.chat import messages as chat_messages
from pyodide_app.text.chat.choice import Brought
from pyodide_app.text.chat.json_values import refuse

SURELY_LARGE = 12_000_000_000  # parameters; E4B has 8 billion


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store whose weights are GGUF: its blobs, and how to run it."""

    reference: Reference
    config: Config
    weights: tuple[Layer, ...]  # one GGUF, or all shards of one
    projectors: tuple[Layer, ...]  # for images and sound; may be within the weights
    drafts: tuple[Layer, ...]  # for speculative decoding
    params: Mapping[str, Any]  # default options; unchecked but for being an object
    system: str  # the default system prompt
    template: str  # Go's text/template; it is shown, never run
    messages: tuple[Mapping[str, Any], ...]  # that a conversation begins with
    faults: tuple[str, ...] = ()  # of blobs that text needs not, in whole sentences

    @property
    def name(self) -> str:
        """Return the name as Ollama lists it."""
        return self.reference.name

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Return the blobs that are read by range: weights, and projectors."""
        return (*self.weights, *self.projectors)

    @property
    def n_bytes(self) -> int:
        """Return the bytes of the weights."""
        return sum(layer.size for layer in self.weights)

    @property
    def large(self) -> bool | None:
        """Say whether the model has the large models' template; None if unknown.

        The renderer decides, then the name, then a number of parameters that no small
        one has. What is left, only the file itself can tell.
        """
        if self.config.renderer in ("gemma4-small", "gemma4-large"):
            return self.config.renderer == "gemma4-large"
        named = gemma4_template.by_name(self.name)
        is_big = self.config.n_parameters >= SURELY_LARGE
        return True if named is None and is_big else named

    @property
    def brought(self) -> Brought:
        """Return what the store knows of the model's chat format."""
        return Brought(self.template, self.large)

    @property
    def options(self) -> Options:
        """Return the default options, those that can be used."""
        return Options.parse(self.params)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of the model's other blobs."""
        notes = []
        if len(self.weights) > 1:
            notes.append(f"The weights are split over {len(self.weights)} blobs.")
        if self.projectors:
            notes.append("The projector for images and sound is a blob of its own.")
        notes += self.faults
        if self.drafts:
            notes.append("There is a draft model, which is not used.")
        if note := self.options.note:
            notes.append(note)
        return tuple(notes)

    def projector(self, file: GGUFFile) -> tuple[Layer, ...]:
        """Return the blobs with the vision tower; monolithic weights hold their own."""
        monolithic = any(name.startswith("v.") for name in file.tensors)
        return self.projectors or (self.weights if monolithic else ())


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list of models: the model, or why it cannot be used, or both."""

    reference: Reference
    model: StoredModel | None
    problem: EngineError | None


def check_supported(reference: Reference, config: Config, manifest: Manifest) -> None:
    """Raise UnsupportedFormatError unless the weights are a GGUF, and all of it."""
    gguf = "weights in one GGUF blob"
    if manifest.of_kind("adapter"):
        raise UnsupportedFormatError(
            f"{reference.name} is a model with a LoRA adapter",
            found="a layer of the kind adapter",
            expected="weights that are complete without one",
            remedy="Merge the adapter into the model, or choose its base model.",
        )
    if manifest.of_kind("model"):
        return
    if config.is_remote:
        raise UnsupportedFormatError(
            f"{reference.name} runs in Ollama's cloud",
            found=f"a link to {config.remote_model!a:.90} at "
            f"{config.remote_host!a:.90}",
            expected=gguf,
            remedy="Pull a tag whose weights are on this machine.",
        )
    if manifest.of_kind("tensor") or config.model_format == "safetensors":
        raise UnsupportedFormatError(
            f"{reference.name} is a safetensors model (made for MLX)",
            found=f"{len(manifest.of_kind('tensor'))} tensors in blobs of their own",
            expected=gguf,
            remedy="Pull a GGUF tag of the same model, such as one ending in q4_K_M.",
        )
    raise UnsupportedFormatError(
        f"{reference.name} has no weights",
        found=", ".join(sorted({layer.kind for layer in manifest.layers})) or "nothing",
        expected=gguf,
        remedy=PULL,
    )


def check_messages(
    reference: Reference, content: list[Any]
) -> tuple[Mapping[str, Any], ...]:
    """Return the messages of a model, whose contents are texts.

    Raises: FileFormatError.
    """
    try:
        chat_messages.check_messages(content)
        for i, message in enumerate(content):
            if not isinstance(text := message.get("content"), str):
                refuse(f"messages[{i}].content", text, "a text")
    except RequestError as error:
        raise FileFormatError(
            f"the messages of {reference.name}: {error.what}",
            found=error.found,
            expected=error.expected,
            remedy=PULL,
        ) from error
    return tuple(content)


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return a line of the list as JSON can hold it."""
    model, problem = entry.model, entry.problem
    line: dict[str, Any] = {
        "name": entry.reference.name,
        "full_name": entry.reference.full_name,
        "problem": None if problem is None else describe_problem(problem),
    }
    if model is None:
        return line
    options = model.options
    return line | {
        "size": model.n_bytes,
        "family": model.config.family,
        "parameters": model.config.parameters,
        "quantization": model.config.quantization,
        "capabilities": list(model.config.capabilities),
        "weights": list(map(_blob, model.weights)),
        "projectors": list(map(_blob, model.projectors)),
        "large": model.large,
        "template": model.template,
        "sampling": dict(options.sampling),
        "max_tokens": options.max_tokens,
        "n_ctx": options.n_ctx,
        "stop": list(options.stop),
        "params": dict(model.params),
        "system": model.system,
        "messages": list(model.messages),
        "notes": list(model.notes),
    }


def _blob(layer: Layer) -> dict[str, Any]:
    return {"blob": layer.blob, "size": layer.size}


def describe_problem(error: EngineError) -> dict[str, str]:
    """Return an error as JSON can hold it: its type, its parts and the whole text."""
    return {
        "type": type(error).__name__,
        "what": error.what,
        "found": error.found,
        "expected": error.expected,
        "remedy": error.remedy,
        "text": str(error),
    }
