"""A model of Ollama's store: what its blobs are, its defaults, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyodide_app.chat import gemma4
from pyodide_app.errors import (
    EngineError,
    FileFormatError,
    RequestError,
    UnsupportedFormatError,
)
from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.ollama_manifest import PULL, Config, Layer, Manifest, Reference
from pyodide_app.sampling import SamplingOptions

# Ollama's names of the sampling options that there are here, too.
_OPTIONS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
}
_OFF = {"top_k": 0, "seed": None}  # what a negative value stands for
_OWN_STOPS = {"<turn|>", "<eos>"}  # the model's own tokens end a reply in any case


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

        The renderer decides, then the name, then the number of parameters. What is
        left, only the file itself can tell.
        """
        if self.config.renderer in ("gemma4-small", "gemma4-large"):
            return self.config.renderer == "gemma4-large"
        if gemma4.is_large(0, 0, self.name):
            return True
        if not gemma4.is_large(0, gemma4.LARGE_PARAMETERS, self.name):
            return False
        n_parameters = self.config.n_parameters
        return n_parameters >= gemma4.LARGE_PARAMETERS if n_parameters else None

    @property
    def sampling(self) -> dict[str, Any]:
        """Return the default sampling options: fields of SamplingOptions."""
        return {
            ours: value
            for name, ours in _OPTIONS.items()
            if (value := _option(name, self.params)) is not None
        }

    @property
    def max_tokens(self) -> int | None:
        """Return how long a reply may be by default, None for any length."""
        limit = self.params.get("num_predict")
        if not isinstance(limit, int) or isinstance(limit, bool):
            return None
        return limit if limit > 0 else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of the model's other blobs."""
        notes = []
        if len(self.weights) > 1:
            notes.append(f"The weights are split over {len(self.weights)} blobs.")
        if self.projectors:
            notes.append("The projector for images and sound is a blob of its own.")
        if self.drafts:
            notes.append("There is a draft model, which is not used.")
        stops = self.params.get("stop")
        for stop in stops if isinstance(stops, list) else [stops]:
            if isinstance(stop, str) and stop not in _OWN_STOPS:
                notes.append(f"The stop text {stop!a:.40} is not used.")
        return tuple(notes)

    def projector(self, file: GGUFFile) -> tuple[Layer, ...]:
        """Return the blobs with the vision tower; monolithic weights hold their own."""
        monolithic = any(name.startswith("v.") for name in file.tensors)
        return self.projectors or (self.weights if monolithic else ())


def _option(name: str, params: Mapping[str, Any]) -> Any:
    """Return a default option in our terms, None if there is none or a wrong one."""
    value = params.get(name)
    if isinstance(value, float) and value.is_integer() and name in _OFF:
        value = int(value)
    if name in _OFF and isinstance(value, int) and value < 0:
        return _OFF[name]
    if value is None:
        return None
    try:
        SamplingOptions(**{_OPTIONS[name]: value})
    except RequestError:
        return None
    return value


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
    """Return the messages of a model. Raises: FileFormatError."""
    for message in content:
        is_message = isinstance(message, dict) and all(
            isinstance(message.get(key), str) for key in ("role", "content")
        )
        if not is_message:
            raise FileFormatError(
                f"the messages of {reference.name}",
                found=ascii(message)[:90],
                expected="an object with the texts role and content",
                remedy=PULL,
            )
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
    return line | {
        "size": model.n_bytes,
        "family": model.config.family,
        "parameters": model.config.parameters,
        "quantization": model.config.quantization,
        "capabilities": list(model.config.capabilities),
        "weights": list(map(_blob, model.weights)),
        "projectors": list(map(_blob, model.projectors)),
        "large": model.large,
        "sampling": model.sampling,
        "max_tokens": model.max_tokens,
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
