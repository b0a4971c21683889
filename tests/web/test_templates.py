"""Chat templates that nobody knows: on the page they are what they are natively."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from pyodide_app.run.finished import Finished
from tests.app.test_chat_templated import HOSTILE, TEMPLATES
from tests.models.native import GREEDY, generate, opened
from tests.samples.gguf_bytes import with_keys
from tests.web import template_cases
from tests.web.conftest import Watch, expect_state, say
from tests.web.test_end_to_end import (
    LAST_DONE,
    MODELS,
    N_TOKENS,
    SETTINGS,
    open_page,
)
from tools import environment

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Be <bos> kind.\n"},
        {"role": "user", "content": " <|e|>é😀{{ 1 }} b<think>"},
        {"role": "assistant", "content": "<think>ab</think>\n\nSo."},
        {"role": "user", "content": "<|b|>user\nİ</think> a b"},
    ],
]
TOOLS = [{"type": "function", "function": {"name": "f<|e|>", "parameters": {}}}]
CASES = [
    *([t, messages, TOOLS] for t in TEMPLATES.values() for messages in CONVERSATIONS),
    *([template, CONVERSATIONS[0], []] for template in HOSTILE.values()),
]
SCRIPT = Path(__file__).with_name("template_cases.mjs")

# None of the known ones; what a person writes is to become no token of its own.
TEMPLATE = """{{ bos_token }}{% for m in messages %}({{ m.role | upper }})
{{ m.content | trim }}{% endfor %}(ASSISTANT) """
MESSAGE = "Name a gem. <bos>"


def test_templates_run_in_pyodide_as_they_do_natively(dist: Path) -> None:
    command = [environment.node(), SCRIPT, dist, template_cases.__file__]
    reply = subprocess.run(
        command, input=json.dumps(CASES), capture_output=True, text=True
    )
    assert reply.returncode == 0, reply.stderr[-2000:]
    answer = json.loads(reply.stdout.splitlines()[-1])
    assert (answer["before"], answer["after"]) == (False, True)
    expected = json.loads(template_cases.play(json.dumps(CASES)))
    assert [type(outcome) for outcome in expected].count(list) > len(TEMPLATES)
    for case, got, wanted in zip(CASES, answer["outcomes"], expected, strict=True):
        assert got == wanted, case[0][:200]


def test_a_model_with_such_a_template_chats(
    page: Page, site: str, tmp_path: Path, watch: Watch
) -> None:
    known = MODELS / "dense-q4_k_m.gguf"
    path = tmp_path / "stranger.gguf"
    path.write_bytes(
        with_keys(known.read_bytes(), {"tokenizer.chat_template": TEMPLATE})
    )
    open_page(page, site)
    load(page, known, 1)
    assert wheels(watch) == []  # for a model that does without
    page.route("**/jinja2-*.whl", lambda route: route.abort())
    load(page, path, 2)
    assert "could not be fetched" in notes(page)
    watch.complaints.clear()  # of the request that was refused
    page.unroute("**/jinja2-*.whl")
    load(page, path, 3)
    assert "is in another format, and run as it is." in notes(page)
    assert "could not be fetched" not in notes(page)
    names = {name.partition("-")[0] for name in wheels(watch)}
    assert names == {"jinja2", "markupsafe"}
    say(page, MESSAGE, timeout=120_000)
    done = page.evaluate(LAST_DONE)
    with ThreadPoolExecutor(1) as thread:  # Playwright's event loop runs in this one
        end = thread.submit(native, path).result()
    assert (done["ids"], done["n_prompt"]) == (list(end.ids), end.n_prompt)


def native(path: Path) -> Finished:
    """Answer the message natively, as the page's settings ask."""
    with opened(path, kv="f16", n_ctx=SETTINGS["n_ctx"]) as engine:
        said = [{"role": "user", "content": MESSAGE}]
        ids, _ = engine.encode_chat(said)
        return generate(engine, ids, sampling=GREEDY, max_tokens=N_TOKENS)


def load(page: Page, path: Path, n: int) -> None:
    """Choose a file, and wait until it is the nth model that was loaded."""
    page.set_input_files("#file", path)
    loads = "messages.filter(({ kind, info }) => kind === 'done' && info).length"
    page.wait_for_function(f"() => {loads} === {n}")
    expect_state(page, "ready")


def wheels(watch: Watch) -> list[str]:
    """Return the wheels that were asked for, but for the driver's."""
    names = [url.rpartition("/")[2] for url in watch.requests]
    return [n for n in names if n.endswith(".whl") and not n.startswith("pyodide_app")]


def notes(page: Page) -> str:
    """Return what the engine says of the model that is loaded."""
    infos = "messages.findLast(({ kind, info }) => kind === 'done' && info)"
    return " ".join(page.evaluate(f"{infos}.info.notes"))
