"""What goes wrong in wgpu-py, and how whoever waits is told: as web/engine/faults.js.

wgpu-py raises most of it from the call that it happened in, by several types, and says
which by a text. What happens between two calls it can only log: that is kept, and the
next awaited call raises it. Where its library ends the process instead, no code here
runs: see `cli.abort`.
"""

from __future__ import annotations

import logging
import re
import textwrap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import wgpu

from pyodide_app import errors
from pyodide_app.gpu import failures

# What wgpu-py raises: its own, RuntimeError from a mapping and a request that failed,
# ValueError and KeyError for numbers that it checks itself.
RAISED = (wgpu.GPUError, wgpu.GPUPipelineError, RuntimeError, ValueError, KeyError)
# Words that tell a kind, whatever was raised: a pipeline that there is no memory for,
# or no device any more, is no fault of its shader.
_LOST = ("device is lost", "device lost")
_MEMORY = ("not enough memory", "out of memory", "outofmemory")
# Functions of wgpu-py that log what nobody is there to be told: errors outside of a
# call, and lost devices. All else in its log is Rust's or the driver's talk.
_LOGGERS = ("log_error", "device_lost_callback")

# Rust's own words behind what a panic says.
_BEHIND = re.compile(r"^(?:note: run with|stack backtrace:|fatal runtime error)", re.M)

_open: weakref.WeakSet[Faults] = weakref.WeakSet()


class Faults:
    """What went wrong on one device since somebody was told."""

    def __init__(self) -> None:
        self.lost: str | None = None  # why the device is gone
        self._problem: errors.DeviceError | None = None
        _open.add(self)

    def lose(self, message: str) -> None:
        """Mark the device as lost; the first reason stands."""
        if self.lost is None:
            self.lost = message
            _open.discard(self)

    def alive(self) -> None:
        """Raise DeviceLostError when the device is lost."""
        if self.lost is not None:
            raise failures.as_error("DeviceLost", self.lost)

    def check(self) -> None:
        """Raise what went wrong since the last time, once."""
        self.alive()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def remember(self, message: str) -> None:
        """Keep what was logged for the next awaited call, the first alone."""
        kind = _kind(message, "Validation")
        if self._problem is None and kind != "DeviceLost":  # what is next will say so
            self._problem = failures.as_error(kind, _first(message))

    @contextmanager
    def told(self, what: str, kind: str = "Validation") -> Iterator[None]:
        """Raise what wgpu raises within as what it is, put down to `what`."""
        self.alive()
        try:
            yield
        except RAISED as error:
            self._problem = None  # follows from this, or this from it
            raise self._sorted(error, what, kind) from error

    def _sorted(self, error: Exception, what: str, kind: str) -> errors.DeviceError:
        message = str(error)
        if isinstance(error, wgpu.GPUOutOfMemoryError):
            kind = "OutOfMemory"
        elif isinstance(error, wgpu.GPUInternalError):
            kind = "Internal"
        kind = _kind(message, kind)
        if kind == "DeviceLost":
            self.lose(_first(message))
        return failures.as_error(kind, _first(message), what)


def of_abort(text: str) -> errors.DeviceError:
    """Return the exception for what wgpu's library wrote before it ended the process.

    It does where a submit or a wait fails: gfx-rs/wgpu-native#588.
    """
    said = _BEHIND.split(text.partition("panicked at")[2].partition("\n")[2])[0]
    kind = _kind(said, "Internal")
    return failures.as_error(kind, _first(said), "what it was asked to do")


def listen() -> None:
    """Hear from now on what wgpu-py logs; what is kept is not printed as well."""
    logger = logging.getLogger("wgpu")
    if _hear not in logger.filters:
        logger.addFilter(_hear)


def _hear(record: logging.LogRecord) -> bool:
    """Keep an error for every open device, since it does not say whose it is."""
    if record.funcName not in _LOGGERS or record.levelno < logging.ERROR:
        return True
    for faults in list(_open):
        faults.remember(record.getMessage())
    return False


def _kind(message: str, otherwise: str) -> str:
    """Return the kind of failure that a text tells of."""
    text = message.lower()
    if any(words in text for words in _LOST):
        return "DeviceLost"
    return "OutOfMemory" if any(words in text for words in _MEMORY) else otherwise


def _first(message: str) -> str:
    """Return what is said first, without wgpu's own headings."""
    text = message.partition("Caused by:\n")[2] or message
    text = textwrap.dedent(text).strip()
    place, _, rest = text.partition("\n")
    return (
        textwrap.dedent(rest).strip() if place.startswith("In wgpu") and rest else text
    )
