"""The command line: chat, generate, inspect, and the stable verbs for scripts."""

from __future__ import annotations

import argparse
import asyncio
import glob
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pyodide_app import errors
from pyodide_app.chat import ContentDelta, ThinkingDelta, ToolCall, gemma4
from pyodide_app.chat.gemma4_parser import OutputParser
from pyodide_app.engine import Engine, Finished
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.inspection import describe, describe_text
from pyodide_app.loader import Progress
from pyodide_app.sampling import SamplingOptions
from pyodide_app.tokenizer import Tokenizer


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
        verb.add_argument("model", metavar="MODEL", help="a GGUF file")
        add(verb)
        verb.set_defaults(run=run)
    return parser


def _add_engine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--kv", choices=["f16", "f32"], default="f16")
    verb.add_argument("--context", type=int, metavar="N", help="tokens of context")
    verb.add_argument("--adapter", default="", help="part of the GPU's name")


def _add_sampling(verb: argparse.ArgumentParser) -> None:
    default = SamplingOptions()
    verb.add_argument("--temperature", type=float, default=default.temperature)
    verb.add_argument("--top-k", type=int, default=default.top_k)
    verb.add_argument("--top-p", type=float, default=default.top_p)
    verb.add_argument("--min-p", type=float, default=default.min_p)
    verb.add_argument(
        "--repetition-penalty", type=float, default=default.repetition_penalty
    )
    verb.add_argument("--seed", type=int, help="for the same reply again")
    verb.add_argument(
        "--greedy", action="store_true", help="always the likeliest token"
    )
    verb.add_argument("-n", "--max-tokens", type=int, metavar="N")


def _add_chat(verb: argparse.ArgumentParser) -> None:
    _add_engine(verb)
    _add_sampling(verb)
    verb.add_argument("--system", help="a system prompt")
    verb.add_argument("--think", action="store_true", help="let the model think first")


def _add_generate(verb: argparse.ArgumentParser) -> None:
    prompt = verb.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt", help="a user's message")
    prompt.add_argument("--messages", metavar="FILE", help="a JSON list of messages")
    prompt.add_argument("--ids", help="token ids, separated by commas")
    _add_engine(verb)
    _add_sampling(verb)
    verb.add_argument("--think", action="store_true", help="let the model think first")
    verb.add_argument("--ignore-eos", action="store_true", help="go on after the end")
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def _add_inspect(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print one JSON object")


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
    messages: list[dict[str, Any]] = []
    if options.system:
        messages.append({"role": "system", "content": options.system})
    print("Ctrl-D ends the chat, Ctrl-C this program.", file=sys.stderr)
    while (line := _ask()) is not None:
        messages.append({"role": "user", "content": line})
        reply = ""
        events = engine.chat(
            messages,
            think=options.think,
            sampling=_sampling(options),
            max_tokens=options.max_tokens,
        )
        async for event in events:
            if isinstance(event, ContentDelta):
                reply += event.text
            _show(event)
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
    elif isinstance(event, Finished):
        print(f"\n{_speed(event)}", file=sys.stderr)


def _speed(end: Finished) -> str:
    prefilled = end.n_prompt - end.n_reused
    prefill = prefilled / max(end.prefill_seconds, 1e-9)
    decode = max(end.n_generated - 1, 0) / max(end.decode_seconds, 1e-9)
    return (
        f"[{end.reason}: prompt {end.n_prompt} tokens at {prefill:.1f}/s, "
        f"reply {end.n_generated} tokens at {decode:.1f}/s]"
    )


async def _generate(options: argparse.Namespace) -> None:
    messages = _messages(options)
    engine = await _load(options)
    ids = _ids(options.ids) if options.ids is not None else None
    if ids is None:
        ids, _ = engine.encode_chat(messages, think=options.think)
    tokenizer = engine.loaded.tokenizer  # a file without one still gives ids
    decoder = tokenizer.decoder() if tokenizer else None
    end, text = None, ""
    items = engine.generate(
        ids,
        sampling=_sampling(options),
        max_tokens=options.max_tokens,
        ignore_eos=options.ignore_eos,
    )
    async for item in items:
        if isinstance(item, Finished):
            end, piece = item, decoder.finish() if decoder else ""
        else:
            piece = decoder.push(item) if decoder else f"{item} "
        text += piece
        if not options.json:
            print(piece, end="", flush=True)
    assert end is not None
    if options.json:
        print(json.dumps(_result(end, text), ensure_ascii=False))
    else:
        print(f"\n{_speed(end)}", file=sys.stderr)


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
    file = await _open(options)
    summary = describe(file)
    if options.json:
        print(json.dumps(summary, ensure_ascii=True))
    else:
        print(describe_text(summary))


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
    large = _is_large(await _open(options))
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


def _sources(options: argparse.Namespace) -> list[FileSource]:
    """Open the file, or all shards of the split model that it begins."""
    path = Path(options.model)
    stem, _, rest = path.name.rpartition("-00001-of-")
    paths = [path]
    if stem and rest.endswith(".gguf"):
        paths = sorted(path.parent.glob(f"{glob.escape(stem)}-*-of-{rest}"))
    sources = [FileSource(str(shard)) for shard in paths]
    for source in sources:
        options.closing.callback(source.close)
    return sources


async def _open(options: argparse.Namespace) -> GGUFFile:
    return await read_gguf(_sources(options))


async def _load(options: argparse.Namespace) -> Engine:
    try:
        from pyodide_app.gpu.wgpu_native import open_device
    except ImportError as error:
        raise errors.DeviceMissingError(
            f"the package wgpu cannot be imported ({error})",
            remedy="Install it: pip install 'lapidary[native]'",
        ) from error
    sources = _sources(options)
    device = open_device(options.adapter)
    options.closing.callback(device.close)
    return await Engine.load(
        sources, device, n_ctx=options.context, kv=options.kv, progress=_report
    )


def _report(progress: Progress) -> None:
    if progress.stage == "weights" and sys.stderr.isatty():
        percent = 100 * progress.done // max(progress.total, 1)
        end = "\n" if progress.done == progress.total else ""
        print(f"\rloading {percent:3d} %", end=end, flush=True, file=sys.stderr)


def _is_large(file: GGUFFile) -> bool:
    key = f"{file.architecture}.embedding_length_per_layer_input"
    n_parameters = sum(info.n_elements for info in file.tensors.values())
    name = file.metadata.get_str("general.name", "")
    return gemma4.is_large(file.metadata.get_int(key, 0), n_parameters, name)


def _sampling(options: argparse.Namespace) -> SamplingOptions:
    seed = options.seed
    return SamplingOptions(
        temperature=0.0 if options.greedy else options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        seed=int.from_bytes(os.urandom(4), "little") if seed is None else seed,
    )


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
