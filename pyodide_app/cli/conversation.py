"""The verb `chat`: a conversation in the terminal, which one bad turn does not end."""

from __future__ import annotations

import asyncio
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyodide_app.cli import abort, report
from pyodide_app.cli.restart import can_restart, restart, take
from pyodide_app.cli.session import Session
from pyodide_app.errors import (
    ContextFullError,
    DeviceError,
    DeviceLostError,
    EngineError,
)
from pyodide_app.gpu import failures
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat import ContentDelta

WELCOME = (
    "/new begins anew, /drop leaves out the oldest exchange. "
    "Ctrl-C stops a reply, Ctrl-D ends the chat."
)
RELOADING = (
    "The model is loaded again now. What was said is kept, but for your last message: "
    "send it again."
)
CUT = {
    "length": "The reply is cut off: it has as many tokens as were asked for.",
    "context": "The reply is cut off: the context is full.",
    "stopped": "The reply is cut off: you have stopped it.",
}


class Conversation:
    """What was said, by exchanges: a message and its reply."""

    def __init__(self, session: Session, system: str) -> None:
        self._session = session
        self._engine: Engine | None = None
        self._opening = session.opened.opening(system)
        self._exchanges: list[list[dict[str, Any]]] = []
        self._losses = 0  # of the device, since a reply was kept

    async def begin(self, kept: dict[str, Any] | None) -> Engine:
        """Load the model, and go on with what was kept of a process before this one."""
        if kept is not None:
            self._exchanges, self._losses = kept["exchanges"], kept["losses"]
            self._session.on_abort = self.go_on
        self._engine = await self._session.load()
        self._session.on_abort = self.go_on
        return self._engine

    def go_on(self, error: DeviceError) -> None:
        """Begin again with a new device in place of one that is lost.

        In a process of its own, as wgpu's library does not outlive most losses. Raises
        the error where it was lost before, or where that cannot be done.
        """
        self._losses += 1
        if not isinstance(error, DeviceLostError) or not can_restart():
            raise error
        if self._losses > 1:
            raise failures.lost(error.found, self._losses, "the machine")
        print()
        _tell(abort.line(error))
        _tell(RELOADING)
        restart({"exchanges": self._exchanges, "losses": self._losses})

    def begin_anew(self) -> str:
        """Forget all exchanges, and say so."""
        n, self._exchanges = len(self._exchanges), []
        left = "1 exchange is" if n == 1 else f"{n} exchanges are"
        return f"Begun anew: {left} left out."

    def drop_oldest(self) -> str:
        """Forget the oldest exchange, and say which."""
        if not self._exchanges:
            return "There is no exchange to leave out."
        oldest = self._exchanges.pop(0)[0]["content"]
        return f"Left out: {ascii(oldest)[:60]} and its reply."

    async def say(self, text: str) -> None:
        """Send a message and show the reply; both are kept, or neither is."""
        message = {"role": "user", "content": text}
        try:
            reply, end = await self._answer(message)
        except DeviceError as error:
            self.go_on(error)
            raise  # the model is gone
        except EngineError as error:
            _tell(f"lapidary: {' '.join(str(error).split())}")
            _tell("Your message is not kept." + self._ways_out(error))
            return
        self._losses = 0
        self._exchanges.append([message, {"role": "assistant", "content": reply}])
        if end.reason in CUT:
            full = end.reason == "context"
            _tell(CUT[end.reason] + (f" {WELCOME.partition('.')[0]}." if full else ""))

    async def _answer(self, message: dict[str, Any]) -> tuple[str, Finished]:
        said = [m for exchange in self._exchanges for m in exchange]
        session, engine, reply = self._session, self._engine, ""
        assert engine is not None
        events = engine.chat(
            [*self._opening, *said, message],
            think=session.options.think,
            sampling=session.sampling(engine.loaded.file.metadata),
            max_tokens=session.max_tokens,
            stop=session.stop,
        )
        async for event in events:
            if isinstance(event, Finished):
                end = event
            else:
                reply += event.text if isinstance(event, ContentDelta) else ""
                report.show(event)
        print()
        _tell(report.speed(end, session.predicted(engine, end)))
        return reply, end

    def _ways_out(self, error: EngineError) -> str:
        if not isinstance(error, ContextFullError):
            return ""
        n = len(self._exchanges)
        return (
            f" Say it shorter, begin anew with /new, or leave out the oldest of {n} "
            "exchanges with /drop."
        )


class CtrlC:
    """What Ctrl-C does in a chat: it stops a reply, and ends the program otherwise.

    asyncio's own way would wait for the line that is being typed.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._in_reply = self._asked = False

    def __enter__(self) -> CtrlC:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def stops_reply(self) -> Iterator[None]:
        """Let the first Ctrl-C from here on end a reply."""
        self._in_reply, self._asked = True, False
        try:
            yield
        finally:
            self._in_reply = False

    def _handle(self, *_: object) -> None:
        if not self._in_reply or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._stop()
        self._loop.call_soon_threadsafe(self._stop_again)

    def _stop_again(self) -> None:
        """Repeat it: a reply that had not quite begun has not heard the first."""
        if self._in_reply:
            self._stop()
            self._loop.call_later(0.1, self._stop_again)


async def chat(options: Namespace, closing: ExitStack) -> None:
    """Talk, a line at a time, until the input ends."""
    session = await Session.open(options, closing)
    conversation = Conversation(session, options.system or "")
    kept = None if options.goes_on is None else take(options.goes_on)
    engine = await conversation.begin(kept)
    commands = {"/new": conversation.begin_anew, "/drop": conversation.drop_oldest}
    ctrl_c = closing.enter_context(CtrlC(engine.stop))
    _tell(WELCOME)
    while (line := _ask()) is not None:
        command = commands.get(line.strip())
        if command is not None:
            _tell(command())
        elif line.strip():
            with ctrl_c.stops_reply():
                await conversation.say(line)


def _ask() -> str | None:
    """Read a line, None at the end."""
    # Python's own prompt goes past it to file descriptor 2.
    print("> ", end="", flush=True)
    try:
        return input()
    except EOFError:
        print()
        return None
    except UnicodeDecodeError as error:
        _tell(f"lapidary: this line cannot be read: {error}")
        return ""


def _tell(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr)
