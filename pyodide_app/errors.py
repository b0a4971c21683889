"""The exception tree.

EngineError
├── FileFormatError                the file is not what it should be (damaged, hostile)
│   └── UnsupportedFormatError     a sound file of a kind that is not supported
│       └── ChatFormatError        no conversation can be written, but a text continued
├── UnsupportedArchitectureError   a sound GGUF of a model family that is not supported
├── ShapeError                     a tensor is missing or has another shape than needed
├── NumberError                    the model computed NaN or an infinity
├── RequestError                   the caller's own input cannot be served
│   └── ContextFullError           the conversation no longer fits in the context
├── SourceError                    bytes could not be read (gone, changed, network)
├── DeviceError                    the GPU or its driver
│   ├── DeviceMissingError         no WebGPU, or no adapter
│   ├── DeviceLimitError           the model needs more than the adapter offers
│   ├── ShaderCompileError         the compiler rejected a shader
│   ├── DeviceMemoryError          the device ran out of memory
│   └── DeviceLostError            the device was lost; load again to recover
└── InternalError                  this program itself failed where nothing else did
"""

from __future__ import annotations

import re

_LONGEST = 2000  # characters of a part: what a file holds may be of any length
# A number of four digits or more that counts something.
_UNITS = (
    "bytes|tokens?|token ids|rows|elements|tensors|layers|heads|experts|numbers|steps"
)
_COUNT = re.compile(
    rf"(?<![\w.,:/-])\d{{4,}}(?= (?:{_UNITS})\b)"
    r"|(?<=\bat most )\d{4,}\b(?![.\w-])|(?<=\bat least )\d{4,}\b(?![.\w-])"
)

_COMMAND = re.compile(r"\brun: [a-z]+ \S+( \S+)*$")


def shorten(text: str, longest: int) -> str:
    """Return any text of a file as it can be shown: short, and in one line."""
    line = " ".join(text[: 4 * longest].split())
    seen = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    is_whole = len(seen) <= longest and len(text) <= 4 * longest
    return seen if is_whole else f"{seen[: longest - 1]}…"


def with_separators(text: str) -> str:
    """Return a text of an error with its counts as people read them: 8,192 tokens."""
    return _COUNT.sub(lambda count: f"{int(count[0]):,}", text)


def _part(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _sentence(text: str) -> str:
    """Return a remedy with its full stop; a command at its end is to be copied."""
    is_whole = not text or text[-1] in ".!?…" or _COMMAND.search(text)
    return text if is_whole else f"{text}."


class EngineError(Exception):
    """An error that a person can act on.

    The text reads `what: found …; expected …. remedy`, and each part is kept as an
    attribute for interfaces that lay them out themselves. `what` can stand within a
    sentence, the remedy is one.
    """

    def __init__(
        self, what: str, *, found: str = "", expected: str = "", remedy: str = ""
    ) -> None:
        self.what = _part(what).rstrip(".")
        self.found = _part(found)
        self.expected = _part(expected)
        self.remedy = _sentence(_part(remedy).rstrip())
        details = [f"found {self.found}"] if found else []
        details += [f"expected {self.expected}"] if expected else []
        text = f"{self.what}: {'; '.join(details)}" if details else self.what
        super().__init__(f"{text}. {self.remedy}" if remedy else text)


class FileFormatError(EngineError):
    """The file is damaged, truncated or contradicts itself."""


class UnsupportedFormatError(FileFormatError):
    """A sound file of an unsupported kind: container, version or tensor type."""


class ChatFormatError(UnsupportedFormatError):
    """No conversation can be written for the model; a text can still be continued."""


class UnsupportedArchitectureError(EngineError):
    """A sound GGUF whose `general.architecture` is not supported."""


class ShapeError(EngineError):
    """A tensor is missing or has another shape than the model needs."""


class NumberError(EngineError):
    """The model computed NaN or an infinity: damaged weights, or an overflow."""


class RequestError(EngineError):
    """The caller's own input (a prompt, an option, a message) cannot be served."""


class ContextFullError(RequestError):
    """The conversation no longer fits in the context."""

    n_tokens = 0  # of the conversation
    n_most = 0  # that would fit


class SourceError(EngineError):
    """Bytes could not be read: the file is gone, has changed, or the network failed."""


class DeviceError(EngineError):
    """The GPU or its driver failed."""

    n_ctx = 0  # the longest context with which it could work, where one is known


class DeviceMissingError(DeviceError):
    """There is no WebGPU here, or no adapter."""


class DeviceLimitError(DeviceError):
    """The model needs more than the adapter offers."""


class ShaderCompileError(DeviceError):
    """The shader compiler rejected a shader: a fault of ours, never of the model."""


class DeviceMemoryError(DeviceError):
    """The device ran out of memory."""


class DeviceLostError(DeviceError):
    """The device was lost with all on it; the model must be loaded again."""


class InternalError(EngineError):
    """This program itself failed: a fault of ours, never of the model or the caller."""
