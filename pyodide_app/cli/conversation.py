"""The verb `chat`: a conversation in the terminal, which one bad turn does not end."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyodide_app.chat import ContentDelta
from pyodide_app.cli import report
from pyodide_app.cli.session import Session
from pyodide_app.engine import Engine
from pyodide_app.errors import ContextFullError, DeviceError, EngineError
from pyodide_app.runner import Finished

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
            with _stopped_by_ctrl_c(self._engine.stop):
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


async def chat(options: Namespace, closing: ExitStack) -> None:
    """Talk, a line at a time, until the input ends."""
    session = await Session.open(options, closing)
    conversation = Conversation(session, await session.load(), options.system or "")
    commands = {"/new": conversation.begin_anew, "/drop": conversation.drop_oldest}
    _tell(WELCOME)
    while (line := _ask()) is not None:
        command = commands.get(line.strip())
        if command is not None:
            _tell(command())
        elif line.strip():
            await conversation.say(line)


def _ask() -> str | None:
    """Read a line, None at the end. Ctrl-C raises KeyboardInterrupt here, at once."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input("> ")
    except EOFError:
        print()
        return None
    except UnicodeDecodeError as error:
        _tell(f"lapidary: this line cannot be read: {error}")
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """End the reply at the first Ctrl-C, and the program at the second."""
    n_asked = 0

    def handle(*_: object) -> None:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 1:
            raise KeyboardInterrupt
        stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr)
