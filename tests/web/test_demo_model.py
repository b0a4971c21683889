"""The bundled model in a real browser: loaded when the page opens, right when asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from oracle.gguf_file import GGUFFile
from pyodide_app.gguf.sources import FileSource
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions
from tests.support.gpu import device
from tests.web.test_end_to_end import KEEP_MESSAGES, LAST_DONE, MODELS, load, native
from tools import bundle

# What the page's examples must be answered with, in their order.
ANSWERS = ("85", "Paris", "enots", "dragon", "Clara")
Message = dict[str, str]

ENDS = ("<turn|>", "<eos>", "<|tool_response>")
N_GOLDEN = 24  # tokens of each golden reply that are compared
KEEP_WORKER = """
(() => {
  const { Worker } = window;
  window.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      window.engineWorker = this;
    }
  };
})();
"""
ASK = """
(request) => new Promise((resolve) => {
  const { engineWorker } = window;
  engineWorker.addEventListener('message', function hear({ data }) {
    if (data.id !== request.id || !['done', 'error'].includes(data.kind)) return;
    engineWorker.removeEventListener('message', hear);
    resolve(data);
  });
  const sampling = { temperature: 0 };
  engineWorker.postMessage({ ...request, kind: 'generate', sampling });
})
"""


@pytest.fixture
def opened(page: Page, site: str) -> Page:
    """Open the page as it is served; the model begins to load."""
    page.add_init_script(KEEP_MESSAGES)
    page.goto(site)
    return page


def native_ids(conversations: Sequence[list[Message]]) -> list[list[int]]:
    """Return the tokens of the native engine's greedy answers."""
    # Playwright keeps an event loop running in this thread.
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, _native_ids(conversations)).result()


async def _native_ids(conversations: Sequence[list[Message]]) -> list[list[int]]:
    source = FileSource(bundle.DEMO)
    engine = await Engine.load([source], device())
    ids = []
    for messages in conversations:
        greedy = SamplingOptions(temperature=0)
        async for event in engine.chat(messages, sampling=greedy):
            if isinstance(event, Finished):
                ids.append(list(event.ids))
    engine.close()
    source.close()
    return ids


def wait_for_replies(page: Page, n: int) -> None:
    """Wait until so many replies stand there, whole."""
    replies = page.locator(".reply[aria-busy='false']")
    expect(replies).to_have_count(n, timeout=120_000)
    expect(page.locator("body")).to_have_attribute("data-state", "ready")


def conversation(page: Page) -> list[Message]:
    """Return the conversation on the page without its last reply."""
    said = page.locator(".bubble").all_inner_texts()
    replies = page.locator(".reply .prose:not(.thoughts)").all_inner_texts()
    messages = []
    for text, reply in zip(said, replies, strict=True):
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": reply})
    return messages[:-1]


def test_examples_are_answered_right_and_as_natively(opened):
    examples = opened.locator("#examples button")
    expect(examples).to_have_count(len(ANSWERS))
    asked, ids = [], []
    for i, answer in enumerate(ANSWERS):
        n_turns = 3 if "…" in examples.nth(i).inner_text() else 1
        examples.nth(i).click()  # the first while the model is loading
        wait_for_replies(opened, n_turns)
        assert answer in opened.locator(".reply .prose").last.inner_text()
        asked.append(conversation(opened))
        ids.append(opened.evaluate(LAST_DONE)["ids"])
        opened.get_by_role("button", name="New chat").click()
    assert ids == native_ids(asked)


def test_requests_are_answered_as_by_hugging_face(page, site):
    """All golden requests, tools and thinking too, straight to the page's worker."""
    page.add_init_script(KEEP_WORKER)
    page.goto(site)
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=120_000)
    tokens = GGUFFile(bundle.DEMO).metadata["tokenizer.ggml.tokens"]
    with np.load(bundle.DEMO.parent / "golden" / "demo.npz") as golden:
        for i, text in enumerate(golden["requests"]):
            request = json.loads(text) | {"id": 1000 + i, "max_tokens": N_GOLDEN}
            done = page.evaluate(ASK, request)
            # The page keeps keys and values in f16: of two tokens that are nearer than
            # this (the best margins are around ten), either may win.
            sure = golden[f"margin_{i}"][:N_GOLDEN] > 0.1
            n = N_GOLDEN if sure.all() else int(np.argmin(sure))
            # The golden replies go on after their end; the page's stop there.
            expected = golden[f"greedy_{i}"].tolist()
            ends = [at for at, token in enumerate(expected) if tokens[token] in ENDS]
            length = min([N_GOLDEN, *ends])
            assert done["ids"][:n] == expected[: min(n, length)], text


def test_file_chosen_meanwhile_takes_its_place(opened):
    opened.evaluate(
        "localStorage.setItem('lapidary.settings', JSON.stringify("
        "{temperature: 0, max_tokens: 24, n_ctx: 256}))"
    )
    expect(opened.locator("#preparing")).to_be_visible()
    load(opened, MODELS / "dense-q4_k_m.gguf")
    assert opened.evaluate("messages.filter(({ info }) => info).length") == 1
    opened.get_by_label("Message", exact=True).fill("Name a gem.")
    opened.keyboard.press("Enter")
    wait_for_replies(opened, 1)
    assert opened.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def test_is_fetched_by_range_where_it_cannot_be_whole(page, site, watch):
    ranges = []

    def refuse_whole(route: Route) -> None:
        wanted = route.request.headers.get("range")
        ranges.append(wanted)
        if wanted:
            route.continue_()
        else:
            route.fulfill(status=503)

    page.route("**/embedded/*.gguf", refuse_whole)
    page.goto(site)
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=120_000)
    assert ranges[:2] == [None, "bytes=0-0"]
    assert len(ranges) > 10
    watch.complaints = [text for text in watch.complaints if "503" not in text]


def test_missing_model_is_explained_and_files_still_load(page, site, watch):
    page.route("**/embedded/*.gguf", lambda route: route.fulfill(status=404))
    page.goto(site)
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "SourceError", timeout=60_000)
    expect(card).to_contain_text("HTTP status 404")
    load(page, MODELS / "dense-q4_k_m.gguf")
    expect(card).to_have_count(0)
    watch.complaints = [text for text in watch.complaints if "404" not in text]


def test_card_says_what_the_model_is(opened):
    opened.get_by_role("button", name="What it can do").click()
    panel = opened.get_by_role("dialog", name="The demonstration model")
    expect(panel).to_contain_text("trained from scratch")
    expect(panel.get_by_role("table").first).to_contain_text("Parameters")


def test_manifest_names_the_model_and_its_card(dist):
    model = json.loads((dist / "manifest.json").read_text())["model"]
    assert (dist / model["url"]).read_bytes() == bundle.DEMO.read_bytes()
    assert model["size"] == bundle.DEMO.stat().st_size
    assert (dist / model["card"]).read_text().startswith("# ")


def test_bundle_can_do_without_a_model(tmp_path: Path):
    bundle.fill(tmp_path, tmp_path / "none.gguf")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["model"] is None
    assert [name for name in manifest["files"] if name.startswith("embedded/")] == []
