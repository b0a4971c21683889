"""The command line: chat, generate, inspect, and the stable verbs for scripts."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from pyodide_app import errors, preflight
from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall, gemma4
from pyodide_app.chat.gemma4_parser import OutputParser
from pyodide_app.engine import Engine, Finished
from pyodide_app.gguf.directories import OpenFile
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gpu.device import Device
from pyodide_app.gpu.host_memory import available_memory
from pyodide_app.graph import tuning
from pyodide_app.inspection import describe, describe_text
from pyodide_app.loader import Progress, check
from pyodide_app.measure import measure, read_rate
from pyodide_app.model_argument import Opened, open_model, table, verify
from pyodide_app.ollama_native import open_store
from pyodide_app.preflight import LoadOptions
from pyodide_app.sampling import SamplingOptions, sampling_defaults
from pyodide_app.tokenizer import Tokenizer

_MODEL = "a GGUF file, or a model of Ollama's such as gemma4:e4b"
_SAMPLING = fields(SamplingOptions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; bad input prints one line on stderr and gives 2."""
    options = _parser().parse_args(argv)
    try:
        with ExitStack() as options.closing:
            asyncio.run(options.run(options))
    except errors.EngineError as error:
        print(f"lapidary: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lapidary", description=__doc__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, run, text, add in (
        ("chat", _chat, "talk with a model in the terminal", _add_chat),
        ("generate", _generate, "continue one prompt", _add_generate),
        ("inspect", _inspect, "show what a model file holds", _add_inspect),
        ("logits", _logits, "write the logits of every position", _add_logits),
        ("tokenize", _tokenize, "turn lines of text into ids", _add_tokenize),
        ("render", _render, "turn conversations into prompts", _add_jsonl),
        ("parse", _parse, "turn raw outputs into parts", _add_parse),
    ):
        verb = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
        if name in ("chat", "generate"):
            text = f"{_MODEL}; by default the small one that comes with the project"
            verb.add_argument("model", metavar="MODEL", nargs="?", help=text)
        else:
            verb.add_argument("model", metavar="MODEL", help=_MODEL)
        add(verb)
        verb.set_defaults(run=run)
    verb = verbs.add_parser("list", help="show Ollama's models on this machine")
    verb.add_argument("--root", metavar="DIR", help="Ollama's folder models")
    verb.add_argument("--verify", action="store_true", help="check the SHA-256, too")
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=_list)
    return parser


def _add_engine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--kv", choices=["f16", "f32"], default="f16")
    verb.add_argument("--context", type=int, metavar="N", help="tokens of context")
    verb.add_argument("--adapter", default="", help="part of the GPU's name")


def _add_fit(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument("--fit", action="store_true", help=text)


def _add_sampling(verb: argparse.ArgumentParser) -> None:
    """Add the options; those that are not given are the model's own, or Gemma's."""
    for field in _SAMPLING:
        option = f"--{field.name.replace('_', '-')}"
        text = "for the same reply again" if field.name == "seed" else None
        verb.add_argument(option, type=type(field.default), help=text)
    verb.add_argument(
        "--greedy", action="store_true", help="always the likeliest token"
    )
    verb.add_argument("-n", "--max-tokens", type=int, metavar="N")
    verb.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text"
    )


_FIT = "say first what it takes here, and compare each reply with what was predicted"


def _add_chat(verb: argparse.ArgumentParser) -> None:
    _add_engine(verb)
    _add_fit(verb, _FIT)
    _add_sampling(verb)
    verb.add_argument("--system", help="a system prompt")
    verb.add_argument("--think", action="store_true", help="let the model think first")


def _add_generate(verb: argparse.ArgumentParser) -> None:
    prompt = verb.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt", help="a user's message")
    prompt.add_argument("--messages", metavar="FILE", help="a JSON list of messages")
    prompt.add_argument("--ids", help="token ids, separated by commas")
    _add_engine(verb)
    _add_fit(verb, _FIT)
    _add_sampling(verb)
    verb.add_argument("--think", action="store_true", help="let the model think first")
    verb.add_argument("--ignore-eos", action="store_true", help="go on after the end")
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def _add_inspect(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    _add_fit(verb, "what it takes to run here")
    _add_engine(verb)


def _add_logits(verb: argparse.ArgumentParser) -> None:
    _add_engine(verb)
    verb.add_argument("--ids", required=True, help="token ids, separated by commas")
    verb.add_argument("--out", required=True, metavar="FILE", help="raw float32")


def _add_jsonl(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--jsonl", action="store_true", required=True, help="JSON lines in and out"
    )


def _add_tokenize(verb: argparse.ArgumentParser) -> None:
    _add_jsonl(verb)
    verb.add_argument("--no-special", action="store_true", help="markers are text")
    verb.add_argument("--bos", action="store_true", help="begin with <bos>")


def _add_parse(verb: argparse.ArgumentParser) -> None:
    _add_jsonl(verb)
    verb.add_argument("--chunk", type=int, metavar="N", help="characters at a time")


# -- verbs -----------------------------------------------------------------------


async def _chat(options: argparse.Namespace) -> None:
    engine = await _load(options)
    messages = options.opened.opening(options.system or "")
    print("Ctrl-D ends the chat, Ctrl-C this program.", file=sys.stderr)
    while (line := _ask()) is not None:
        messages.append({"role": "user", "content": line})
        reply = ""
        events = engine.chat(
            messages,
            think=options.think,
            sampling=_sampling(options, engine.loaded.file.metadata),
            max_tokens=_max_tokens(options),
            stop=_stop(options),
        )
        async for event in events:
            if isinstance(event, ContentDelta):
                reply += event.text
            _show(event)
            if isinstance(event, Finished):
                print(f"\n{_speed(options, engine, event)}", file=sys.stderr)
        print()
        messages.append({"role": "assistant", "content": reply})


def _ask() -> str | None:
    try:
        return input("> ")
    except EOFError:
        print()
        return None


def _show(event: object) -> None:
    if isinstance(event, ContentDelta):
        print(event.text, end="", flush=True)
    elif isinstance(event, ThinkingDelta):
        print(event.text, end="", flush=True, file=sys.stderr)
    elif isinstance(event, ToolCall):
        print(f"[{event.name} {json.dumps(event.arguments)}]")


def _speed(options: argparse.Namespace, engine: Engine, end: Finished) -> str:
    prefilled = end.n_prompt - end.n_reused
    prefill = prefilled / max(end.prefill_seconds, 1e-9)
    decode = max(end.n_generated - 1, 0) / max(end.decode_seconds, 1e-9)
    predicted = _predicted(options, engine, end)
    share = ""
    if predicted:
        percent = 100 * decode / predicted
        share = f", predicted at most {predicted:.1f}/s ({percent:.0f} %)"
    return (
        f"[{end.reason}: prompt {end.n_prompt} tokens at {prefill:.1f}/s, "
        f"reply {end.n_generated} tokens at {decode:.1f}/s{share}]"
    )


def _predicted(
    options: argparse.Namespace, engine: Engine, end: Finished
) -> float | None:
    """Return how fast the reply could have been at most, where that was asked for."""
    if options.measured is None:
        return None
    fit, config = engine.loaded.fit, engine.loaded.model.config
    n_keys = end.n_prompt + end.n_generated // 2
    return preflight.predict(fit, config, options.measured, n_keys).tokens_per_second


async def _generate(options: argparse.Namespace) -> None:
    messages = _messages(options)
    engine = await _load(options)
    ids = _ids(options.ids) if options.ids is not None else None
    if ids is None:
        if options.prompt is not None:
            messages = [*options.opened.opening(), *messages]
        ids, _ = engine.encode_chat(messages, think=options.think)
    requested: dict[str, Any] = {
        "sampling": _sampling(options, engine.loaded.file.metadata),
        "max_tokens": _max_tokens(options),
        "ignore_eos": options.ignore_eos,
    }
    end, text = None, ""
    items: AsyncIterator[str | int | Finished]
    if engine.loaded.tokenizer or options.stop:
        items = engine.generate_text(ids, stop=_stop(options), **requested)
    else:  # a file without a vocabulary still gives ids
        items = engine.generate(ids, **requested)
    async for item in items:
        if isinstance(item, Finished):
            end = item
            continue
        piece = item if isinstance(item, str) else f"{item} "
        text += piece
        if not options.json:
            print(piece, end="", flush=True)
    assert end is not None
    if options.json:
        result = _result(end, text)
        if predicted := _predicted(options, engine, end):
            result["predicted_tokens_per_second"] = predicted
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(f"\n{_speed(options, engine, end)}", file=sys.stderr)


def _result(end: Finished, text: str) -> dict[str, Any]:
    return {
        "ids": list(end.ids),
        "text": text,
        "reason": end.reason,
        "n_prompt": end.n_prompt,
        "n_generated": end.n_generated,
        "prefill_seconds": end.prefill_seconds,
        "decode_seconds": end.decode_seconds,
    }


async def _inspect(options: argparse.Namespace) -> None:
    if options.fit:
        sources = await _sources(options)
        print(await _fit(options, sources, _open_device(options)))
        return
    summary = describe(await _open(options))
    if options.json:
        print(json.dumps(summary, ensure_ascii=True))
    else:
        print(describe_text(summary))


async def _fit(
    options: argparse.Namespace, sources: Sequence[OpenFile], device: Device
) -> str:
    """Say from the header, and from two seconds of measuring, how a model would run."""
    checked = await check(sources, device.info, _load_options(options, device))
    measured = await measure(device, tuning.choose(device.info.is_software))
    options.measured = measured
    rate = await read_rate(sources[0])
    fit = checked.fit
    predicted = preflight.predict(fit, checked.config, measured, read_rate=rate)
    return preflight.describe_text(fit, predicted)


async def _list(options: argparse.Namespace) -> None:
    store = await open_store(options.root)
    entries = await store.entries()
    if options.json:
        print(json.dumps(store.describe(entries)))
    else:
        print(f"Ollama's store: {store.root.name}", file=sys.stderr)
        print(table(entries))
    if options.verify:
        await verify(store, entries, _report_share)


async def _logits(options: argparse.Namespace) -> None:
    ids = _ids(options.ids)
    engine = await _load(options)
    rows: AsyncIterator[bytes] = engine.logits(ids)
    try:
        with open(options.out, "wb") as out:
            async for data in rows:
                out.write(data)
    except OSError as error:
        raise errors.RequestError(f"cannot write {options.out}: {error}") from error


async def _tokenize(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_metadata((await _open(options)).metadata)
    lines = [
        tokenizer.encode(
            _expect(line, str, "a JSON string"),
            special=not options.no_special,
            bos=options.bos,
        )
        for line in _json_lines()
    ]
    print(json.dumps(lines))


async def _render(options: argparse.Namespace) -> None:
    file = await _open(options)
    large = options.opened.is_large(file)
    for line in _json_lines():
        request = _expect(line, dict, "a JSON object {messages, tools, think}")
        prompt = gemma4.render(
            request.get("messages") or [],
            tools=request.get("tools") or (),
            think=bool(request.get("think")),
            large=large,
        )
        print(json.dumps(prompt.text))


async def _parse(options: argparse.Namespace) -> None:
    await _open(options)
    for line in _json_lines():
        text = _expect(line, str, "a JSON string")
        step = options.chunk or max(len(text), 1)
        if step < 1:
            raise errors.RequestError("--chunk", found=str(step), expected="1 or more")
        parser = OutputParser(True)
        events = [
            event
            for begin in range(0, len(text), step)
            for event in parser.push(text[begin : begin + step])
        ]
        print(json.dumps(_parts([*events, *parser.finish()])))


def _parts(events: Sequence[object]) -> dict[str, Any]:
    return {
        "thinking": "".join(e.text for e in events if isinstance(e, ThinkingDelta)),
        "content": "".join(e.text for e in events if isinstance(e, ContentDelta)),
        "tool_calls": [
            {"name": e.name, "arguments": e.arguments}
            for e in events
            if isinstance(e, ToolCall)
        ],
    }


# -- input -----------------------------------------------------------------------


async def _sources(options: argparse.Namespace) -> list[OpenFile]:
    opened = options.opened = await open_model(options.model)
    for source in opened.sources:
        options.closing.callback(source.close)
    return opened.sources


async def _open(options: argparse.Namespace) -> GGUFFile:
    return await read_gguf(await _sources(options))


def _open_device(options: argparse.Namespace) -> Device:
    try:
        from pyodide_app.gpu.wgpu_native import open_device
    except ImportError as error:
        raise errors.DeviceMissingError(
            f"the package wgpu cannot be imported ({error})",
            remedy="Install it: pip install 'lapidary[native]'",
        ) from error
    device = open_device(options.adapter)
    options.closing.callback(device.close)
    return device


async def _load(options: argparse.Namespace) -> Engine:
    sources = await _sources(options)
    device = _open_device(options)
    options.measured = None
    if getattr(options, "fit", False):
        print(await _fit(options, sources, device), file=sys.stderr)
    load_options = _load_options(options, device)
    engine = await Engine.load(sources, device, load_options, progress=_report)
    engine.large = options.opened.is_large(engine.loaded.file)
    return engine


def _load_options(options: argparse.Namespace, device: Device) -> LoadOptions:
    """Return what was asked for; a GPU in software has what the machine has left."""
    opened: Opened = options.opened
    return LoadOptions(
        n_ctx=options.context,
        default_ctx=opened.options.n_ctx,
        kv=options.kv,
        memory=available_memory() if device.info.is_software else None,
    )


def _report(progress: Progress) -> None:
    if progress.stage == "weights":
        _report_share("loading", progress.done, progress.total)


def _report_share(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        percent = 100 * done // max(total, 1)
        end = "\n" if done == total else ""
        print(f"\r{what} {percent:3d} %", end=end, flush=True, file=sys.stderr)


def _sampling(options: argparse.Namespace, metadata: Metadata) -> SamplingOptions:
    """Return what was asked for, else the model's own defaults, else Gemma's."""
    asked = {field.name: getattr(options, field.name) for field in _SAMPLING}
    asked["temperature"] = 0.0 if options.greedy else asked["temperature"]
    given = {name: value for name, value in asked.items() if value is not None}
    seed = {"seed": int.from_bytes(os.urandom(4), "little")}
    own = sampling_defaults(metadata) | dict(options.opened.options.sampling)
    return SamplingOptions(**(seed | own | given))


def _max_tokens(options: argparse.Namespace) -> int | None:
    asked: int | None = options.max_tokens
    opened: Opened = options.opened
    return opened.options.max_tokens if asked is None else asked


def _stop(options: argparse.Namespace) -> Sequence[str]:
    if options.stop is not None:
        return list(options.stop)
    opened: Opened = options.opened
    # The model's own may be the text of its end token.
    return () if getattr(options, "ignore_eos", False) else opened.options.stop


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.RequestError(
            "--ids", found=repr(text[:60]), expected="numbers separated by commas"
        ) from None


def _messages(options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.prompt is not None:
        return [{"role": "user", "content": options.prompt}]
    if options.messages is None:
        return []
    try:
        messages = json.loads(Path(options.messages).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.RequestError(f"--messages {options.messages}: {error}") from error
    return list(_expect(messages, list, "a JSON list of messages"))


def _json_lines() -> Iterator[Any]:
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise errors.RequestError(
                    f"line {number} of the input is no JSON: {error}"
                ) from error


def _expect(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise errors.RequestError("input", found=repr(value)[:60], expected=what)
    return value


if __name__ == "__main__":
    sys.exit(main())
