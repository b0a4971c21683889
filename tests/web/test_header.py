"""A header of real size in the browser: 262,144 tokens, within time and memory."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests import golden_data
from tests.web.conftest import replace_worker
from tests.web.test_end_to_end import KEEP_MESSAGES

WORKER = Path(__file__).with_name("header_worker.js")
VOCABULARY = golden_data.find("tokenizer/vocab-262144.gguf")

# About a second on an idle machine; this bound holds on a busy one, and is still far
# below what a reader takes that makes 800,000 Python objects of the strings.
MAX_SECONDS = 8
MAX_HEAP = 130e6  # bytes; WebAssembly's memory never shrinks, so this is the peak

if VOCABULARY:

    def test_real_vocabulary_is_ready_soon_and_in_little_memory(
        page: Page, site: str
    ) -> None:
        replace_worker(page, WORKER.read_text(encoding="utf-8"))
        page.add_init_script(KEEP_MESSAGES)
        page.goto(site)
        page.set_input_files("#file", VOCABULARY)
        body = page.locator("body")
        expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
        info = page.evaluate("messages.find(({ kind }) => kind === 'done').info")
        print(info)
        assert info["n_vocab"] == 262_144
        assert info["n_ids"] > 5
        assert info["seconds"] < MAX_SECONDS
        assert info["heap"] < MAX_HEAP
