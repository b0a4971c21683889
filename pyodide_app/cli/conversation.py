"""The verb `chat`: a conversation in the terminal, which one bad turn does not end."""

from __future__ import annotations

import asyncio
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyodide_app.cli import report
from pyodide_app.cli.session import Session
from pyodide_app.errors import ContextFullError, DeviceError, EngineError
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat import ContentDelta

WELCOME = (
    "/new begins anew, /drop leaves out the oldest exchange. "
    "Ctrl-C stops a reply, Ctrl-D ends the chat."
)
CUT = {
    "length": "The reply is cut off: it has as many tokens as were asked for.",
    "context": "The reply is cut off: the context is full.",
    "stopped": "The reply is cut off: you have stopped it.",
}


class Conversation:
    """What was said, by exchanges: a message and its reply."""

    def __init__(self, session: Session, engine: Engine, system: str) -> None:
        self._session = session
        self._engine = engine
        self._opening = session.opened.opening(system)
        self._exchanges: list[list[dict[str, Any]]] = []

    def begin_anew(self) -> str:
        """Forget all exchanges, and say so."""
        n, self._exchanges = len(self._exchanges), []
        return f"Begun anew: {n} exchanges are left out."

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
        except DeviceError:
            raise  # the model is gone
        except EngineError as error:
            _tell(f"lapidary: {' '.join(str(error).split())}")
            _tell("Your message is not kept." + self._ways_out(error))
            return
        self._exchanges.append([message, {"role": "assistant", "content": reply}])
        if end.reason in CUT:
            full = end.reason == "context"
            _tell(CUT[end.reason] + (f" {WELCOME.partition('.')[0]}." if full else ""))

    async def _answer(self, message: dict[str, Any]) -> tuple[str, Finished]:
        said = [m for exchange in self._exchanges for m in exchange]
        session, reply = self._session, ""
        events = self._engine.chat(
            [*self._opening, *said, message],
            think=session.options.think,
            sampling=session.sampling(self._engine.loaded.file.metadata),
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
        _tell(report.speed(end, session.predicted(self._engine, end)))
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
    engine = await session.load()
    conversation = Conversation(session, engine, options.system or "")
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
    try:
        return input("> ")
    except EOFError:
        print()
        return None
    except UnicodeDecodeError as error:
        _tell(f"lapidary: this line cannot be read: {error}")
        return ""


def _tell(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr)
