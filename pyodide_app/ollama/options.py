"""Ollama's options of a stored model: what they mean here, and which mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.run.sampling import SamplingOptions
from pyodide_app.text.chat.stop_strings import StopStrings

_SHOWN = 8  # unused options, in a note


@dataclass(frozen=True, slots=True)
class Options:
    """The options that a model brings, in our terms."""

    sampling: Mapping[str, Any] = field(default_factory=dict)  # of SamplingOptions
    max_tokens: int | None = None  # of a reply; None: any number
    n_ctx: int | None = None  # tokens of context, if the model was made for as many
    stop: tuple[str, ...] = ()  # stop strings
    unused: tuple[str, ...] = ()  # by Ollama's names

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> Options:
        """Read a model's options; those that cannot be used are only noted."""
        found: dict[str, Any] = {}
        unused: list[str] = []
        for name, value in params.items():
            if name not in _READERS:
                unused.append(name)
                continue
            try:
                found[name] = None if value is None else _READERS[name](value)
            except RequestError:
                unused.append(name)
        sampling = {ours: found.get(name) for name, ours in _SAMPLING.items()}
        return cls(
            {ours: value for ours, value in sampling.items() if value is not None},
            found.get("num_predict"),
            found.get("num_ctx"),
            found.get("stop") or (),
            tuple(sorted(unused)),
        )

    @property
    def note(self) -> str:
        """Return what a person should know of what is not used, empty if all is."""
        if not self.unused:
            return ""
        names = ", ".join(ascii(name)[1:-1][:40] for name in self.unused[:_SHOWN])
        more = len(self.unused) - _SHOWN
        return f"Options not used here: {names}{f' and {more} more' * (more > 0)}."


def sampling_value(option: str, value: object) -> object:
    """Return the value of a sampling option; negative ones stand for another.

    Raises: RequestError when it has none.
    """
    if option in _NEGATIVE:
        value = _whole(option, value)
        if value < 0:
            return _NEGATIVE[option]
    SamplingOptions(**{option: value})  # type: ignore[arg-type]  # it checks
    return value


def _length(value: object) -> int | None:
    """Return a number of tokens; zero and negative ones leave it open."""
    n = _whole("a length", value)
    return n if n > 0 else None


def _whole(what: str, value: object) -> int:
    """Return a whole number, which JSON may have written as 64.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RequestError(what, found=ascii(value)[:60], expected="a whole number")


def _stop(value: object) -> tuple[str, ...]:
    """Return the stop strings, one or several; empty ones would end every reply."""
    strings: list[Any] = value if isinstance(value, list) else [value]
    kept = tuple(string for string in strings if string != "")
    StopStrings(kept)  # it checks
    return kept


# Ollama's names of the sampling options that there are here, too.
_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "repeat_last_n",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
}
_NEGATIVE = {"top_k": 0, "seed": None}  # what a negative number stands for
_READERS: dict[str, Callable[[Any], Any]] = {
    **{name: partial(sampling_value, ours) for name, ours in _SAMPLING.items()},
    "num_predict": _length,
    "num_ctx": _length,
    "stop": _stop,
}
