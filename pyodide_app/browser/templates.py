"""What runs a chat template that nobody knows: fetched for a model that brings one."""

from __future__ import annotations

import pyodide_js
from pyodide.ffi import JsException

from pyodide_app.run.engine import Engine
from pyodide_app.text.chat import templated
from pyodide_app.text.chat.choice import Brought

templated.host_fetches(True)


async def learn(engine: Engine, brought: Brought) -> tuple[str, ...]:
    """Let an engine know its chat format, and have what that takes.

    Returns what a person should know: where it cannot be had, the model is talked to by
    the tokens of its vocabulary, if these tell a format.
    """
    engine.learn(brought)
    if not engine.runs_template or templated.is_here():
        return ()
    reason = await _fetch()
    if not reason:
        return ()
    templated.host_fetches(False)
    engine.learn(brought)
    templated.host_fetches(True)  # the next may have more luck
    return (f"What runs the model's chat template could not be fetched: {reason}.",)


async def _fetch() -> str:
    """Fetch jinja2 from beside the driver; return what went wrong, empty if nothing."""
    try:
        await pyodide_js.loadPackage("jinja2")
    except JsException as error:
        return str(error).strip().splitlines()[-1][:200].rstrip(".")
    return "" if templated.is_here() else "it is not in this bundle"
