"""The end that wgpu's library makes of a process, told as any other error.

Where a submit or a wait fails, as they do when the device is lost, the library writes a
backtrace and calls `abort`: no exception comes, and the shell says "Aborted". Seen with
wgpu-native 29 where Vulkan answers VK_ERROR_DEVICE_LOST (gfx-rs/wgpu-native#588). This
can go when a submit raises instead. Windows ends such a process without asking anyone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pyodide_app.errors import DeviceError, EngineError

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


def end(error: EngineError) -> NoReturn:
    """Say what happened and end the process: nothing behind an abort can go on."""
    sys.stdout.flush()
    print(line(error), file=sys.stderr, flush=True)
    os._exit(2)


def line(error: EngineError) -> str:
    """Return an error as the one line that every verb prints of it."""
    return f"lapidary: {' '.join(str(error).split())}"


@contextmanager
def watching(then: Callable[[DeviceError], NoReturn]) -> Iterator[None]:
    """Call `then` with what the library says where it ends the process meanwhile.

    What is written to file descriptor 2 past Python is kept until the end. Where
    Python's own stderr is somewhere else, somebody else looks after the process.
    """
    if os.name != "posix" or not _has_stderr():
        yield
        return
    stderr = sys.stderr
    with tempfile.TemporaryFile() as said, os.fdopen(os.dup(2), "wb", 0) as real:
        sys.stderr = open(
            real.fileno(), "w", 1, stderr.encoding, stderr.errors, closefd=False
        )
        os.dup2(said.fileno(), 2)
        handler = _HANDLER(lambda _: _tell(said.fileno(), real.fileno(), then))
        before = _set_handler(handler)
        try:
            yield
        finally:
            _set_handler(before)
            os.dup2(real.fileno(), 2)
            sys.stderr = stderr
            real.write(_read(said.fileno()))


def _has_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def _tell(said: int, real: int, then: Callable[[DeviceError], NoReturn]) -> None:
    """Serve the signal, in the thread that calls `abort` and has let Python go.

    Where this returns, the process ends as it would have.
    """
    from pyodide_app.gpu.wgpu_faults import of_abort

    os.dup2(real, 2)
    text = _read(said)
    if b"panicked at" not in text:
        os.write(2, text)
        return
    then(of_abort(text.decode(errors="replace")))


def _read(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _set_handler(handler: Any) -> Any:
    """Set what C calls at an abort, and return what it was.

    Python's own `signal` only notes a signal, to be served when C returns.
    """
    function = ctypes.CDLL(None).signal
    function.restype, function.argtypes = (
        ctypes.c_void_p,
        (ctypes.c_int, ctypes.c_void_p),
    )
    return function(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
