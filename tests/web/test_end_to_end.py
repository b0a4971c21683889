"""The whole path in a real browser: choose a GGUF, send a message, read the reply."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
import unittest.mock
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pyodide_app.gguf.sources import FileSource
from pyodide_app.graph.plan import Plan
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.engine import Engine
from pyodide_app.run.finished import Finished
from pyodide_app.run.sampling import SamplingOptions
from tests.support.gpu import device
from tests.web.conftest import (
    CHROMIUM_FLAGS,
    LOSE_DEVICE,
    SHOW_SHADERS,
    expect_state,
    say,
    use_model,
    use_worker_with,
)
from tools import environment

MODELS = Path(__file__).resolve().parents[1] / "golden/models"
ROUTED = "../moe/models/qwen3moe16-q8_0"
NAMES = ("dense-q4_k_m", "moe8-q4_k_m", "ple-q4_k_m", ROUTED)
PROMPT = "Name a gem."
N_TOKENS = 24
SETTINGS = {"temperature": 0, "max_tokens": N_TOKENS, "n_ctx": 256}

KEEP_MESSAGES = """
(() => {
  const { Worker } = window;
  window.messages = [];
  window.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      this.addEventListener('message', ({ data }) => window.messages.push(data));
    }
  };
})();
"""
N_TOKENS_TOLD = "messages.filter(({ kind }) => kind === 'token').length"
LAST_DONE = "messages.findLast(({ kind, reason }) => kind === 'done' && reason)"


@dataclass(frozen=True, slots=True)
class Native:
    """What the same request gives natively."""

    ids: list[int]
    text: str
    shaders: dict[str, str]  # the WGSL of each variant, by label


@functools.cache
def native(name: str) -> Native:
    """Answer the prompt with the native device, as the page's settings ask."""
    # Playwright keeps an event loop running in this thread.
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, _native(MODELS / f"{name}.gguf")).result()


async def _native(path: Path) -> Native:
    source, plans, gpu = FileSource(path), [], device()
    with unittest.mock.patch.object(gpu, "prepare", keeping(gpu.prepare, plans)):
        engine = await Engine.load([source], gpu, LoadOptions(SETTINGS["n_ctx"]))
        text, ids = await answer(engine)
    engine.close()
    source.close()
    variants = {step.variant for plan in plans for step in plan.dispatches}
    return Native(ids, text, {v.label: v.code for v in variants})


def keeping(prepare: Callable[[Plan], Any], plans: list[Plan]) -> Callable[[Plan], Any]:
    """Return `prepare`, which also keeps each plan."""

    async def prepare_and_keep(plan: Plan) -> Any:
        plans.append(plan)
        return await prepare(plan)

    return prepare_and_keep


async def answer(engine: Engine) -> tuple[str, list[int]]:
    """Return the text and the ids of the reply."""
    text = ""
    async for event in engine.chat(
        [{"role": "user", "content": PROMPT}],
        sampling=SamplingOptions(temperature=0),
        max_tokens=N_TOKENS,
    ):
        if isinstance(event, Finished):
            return text, list(event.ids)
        text += getattr(event, "text", "")
    raise AssertionError("a reply without an end")


def digests(shaders: dict[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each text."""
    return {
        label: hashlib.sha256(code.encode()).hexdigest()
        for label, code in shaders.items()
    }


def open_page(page: Page, site: str, **settings: Any) -> None:
    """Open the page with these settings and no model, keeping what its worker says."""
    use_model(page, None)
    kept = json.dumps(SETTINGS | settings)
    page.add_init_script(
        f"localStorage.setItem('lapidary.settings', {json.dumps(kept)});"
    )
    page.add_init_script(KEEP_MESSAGES)
    page.goto(site)


def load(page: Page, *paths: Path) -> None:
    """Choose files and wait until the model is ready."""
    page.set_input_files("#file", list(paths))
    expect(page.locator("body")).to_have_attribute(
        "data-state", "ready", timeout=60_000
    )


@pytest.mark.parametrize("name", NAMES)
def test_same_tokens_from_the_same_shaders_as_natively(page, site, name):
    use_worker_with(page, SHOW_SHADERS)
    open_page(page, site)
    load(page, MODELS / f"{name}.gguf")
    say(page, PROMPT, timeout=120_000)
    done = page.evaluate(LAST_DONE)
    expected = native(name)
    assert done["ids"] == expected.ids
    assert done["n_generated"] == len(expected.ids) > 0
    tokens = page.evaluate("messages.filter(({ kind }) => kind === 'token')")
    assert "".join(token["text"] for token in tokens) == expected.text
    shown = page.evaluate("messages.filter(({ kind }) => kind === 'shader')")
    shaders = {message["label"]: message["code"] for message in shown}
    assert digests(shaders) == digests(expected.shaders)


def test_bundle_holds_the_shaders_that_were_tested(dist):
    manifest = json.loads((dist / "manifest.json").read_text())
    root = Path(__file__).resolve().parents[2] / "shaders"
    files = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in root.rglob("*.wgsl")
    }
    assert manifest["shaders"] == digests(files)


def test_wrong_files_are_explained_and_the_page_goes_on(page, site, tmp_path):
    notes, cut = tmp_path / "notes.txt", tmp_path / "cut.gguf"
    notes.write_text("This is no model.")
    whole = (MODELS / "dense-q4_k_m.gguf").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    open_page(page, site)
    kinds = {notes: "UnsupportedFormatError", cut: "FileFormatError"}
    for path, kind in kinds.items():
        page.set_input_files("#file", path)
        card = page.get_by_role("alert")
        expect(card).to_contain_text(path.name, timeout=60_000)
        expect(card).to_have_attribute("data-type", kind)
        expect(page.locator("body")).to_have_attribute("data-state", "empty")
    load(page, MODELS / "dense-q4_k_m.gguf")
    expect(page.get_by_role("alert")).to_have_count(0)
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def test_wrong_file_does_not_cost_the_loaded_model(page, site, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("This is no model.")
    open_page(page, site)
    load(page, MODELS / "dense-q4_k_m.gguf")
    page.set_input_files("#file", notes)
    expect(page.get_by_role("alert")).to_contain_text("notes.txt")
    expect(page.locator("body")).to_have_attribute("data-state", "ready")
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def test_another_model_replaces_the_first(page, site):
    open_page(page, site)
    load(page, MODELS / "dense-q4_k_m.gguf")
    page.set_input_files("#file", MODELS / "ple-q4_k_m.gguf")
    expect(page.locator("body")).to_have_attribute("data-state", "loading")
    expect(page.locator("body")).to_have_attribute(
        "data-state", "ready", timeout=60_000
    )
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("ple-q4_k_m").ids


def test_stop_ends_a_reply_and_the_next_one_is_whole(page, site):
    open_page(page, site, max_tokens=200)
    load(page, MODELS / "dense-q4_k_m.gguf")
    say(page, PROMPT, wait=False)
    page.wait_for_selector(".reply .block", timeout=60_000)
    page.keyboard.press("Escape")
    expect(page.locator(".reason")).to_have_text("Stopped")
    done = page.evaluate(LAST_DONE)
    assert done["reason"] == "stopped"
    n = min(len(done["ids"]), N_TOKENS)
    assert 0 < len(done["ids"]) < 200
    assert done["ids"][:n] == native("dense-q4_k_m").ids[:n]
    page.get_by_role("button", name="New chat").click()
    say(page, PROMPT, wait=False)
    page.locator(".reply .block").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("body")).to_have_attribute("data-state", "ready")


def test_full_context_is_explained(page, site):
    open_page(page, site)
    load(page, MODELS / "dense-q4_k_m.gguf")
    say(page, "gem " * 400)
    card = page.get_by_role("alert")
    expect(card).to_contain_text("ContextFullError")
    card.get_by_role("button", name="New chat").click()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def test_long_prompt_is_told_of_and_its_reply_has_details(page, site):
    open_page(page, site)
    load(page, MODELS / "dense-q4_k_m.gguf")
    say(page, "gem " * 60, timeout=120_000)
    done = page.evaluate(LAST_DONE)
    told = page.evaluate("messages.filter(({ stage }) => stage === 'prompt')")
    width = told[1]["done"]
    assert [message["done"] for message in told] == [*range(0, done["n_prompt"], width)]
    assert {message["total"] for message in told} == {done["n_prompt"]}
    page.get_by_role("button", name="Details").click()
    details = page.locator(".reply .details")
    n_read = done["weight_bytes"] + done["kv_bytes_read"]
    speed = (done["n_generated"] - 1) / done["decode_seconds"]
    assert done["bytes_per_second"] == pytest.approx(n_read * speed)
    for row in (
        f"Prompt{done['n_prompt']} tokens",
        "Memory read",
        f"Dispatches{done['n_dispatches']} per token",
    ):
        expect(details).to_contain_text(row)


def test_cancelled_load_leaves_the_page_ready_for_another(page, site):
    open_page(page, site)
    page.set_input_files("#file", MODELS / "moe8-q4_k_m.gguf")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("body")).to_have_attribute("data-state", "empty")
    load(page, MODELS / "dense-q4_k_m.gguf")


def test_lost_device_is_told_and_the_model_reloaded(page, site):
    use_worker_with(page, LOSE_DEVICE)
    open_page(page, site)
    load(page, MODELS / "dense-q4_k_m.gguf")
    page.evaluate("new BroadcastChannel('lose-device').postMessage('now')")
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "DeviceLostError")
    expect(page.locator("body")).to_have_attribute("data-state", "empty")
    card.get_by_role("button", name="Reload model").click()
    expect(page.locator("body")).to_have_attribute(
        "data-state", "ready", timeout=60_000
    )
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def test_gpu_process_that_crashes_twice_in_a_reply_leaves_a_way_out(browser, site):
    # In a browser of its own: after the second crash Chromium has no adapter left.
    other = browser.browser_type.launch(
        executable_path=environment.find_chromium(), args=list(CHROMIUM_FLAGS)
    )
    try:
        page = other.new_page()
        open_page(page, site, max_tokens=200)
        load(page, MODELS / "dense-q4_k_m.gguf")
        card = page.get_by_role("alert")
        crash_in_a_reply(page)
        expect(card).to_contain_text("Load the model again.")
        card.get_by_role("button", name="Reload model").click()
        expect_state(page, "ready", 120_000)
        crash_in_a_reply(page)
        expect(card).to_contain_text("It was lost before")
        card.get_by_role("button", name="Reload model").click()
        missing = page.locator("[data-type=DeviceMissingError]")
        expect(missing.or_(page.locator("body[data-state=ready]"))).to_be_visible(
            timeout=60_000
        )
        if missing.is_visible():
            expect(missing).to_contain_text("quit the browser and start it again")
        expect(page.locator(".bubble").first).to_have_text(PROMPT)
    finally:
        other.close()


def crash_in_a_reply(page: Page) -> None:
    """Say the prompt, and crash the browser's GPU process once the reply has begun."""
    n_told = page.evaluate(N_TOKENS_TOLD)
    say(page, PROMPT, wait=False)
    deadline = time.monotonic() + 120
    while page.evaluate(N_TOKENS_TOLD) == n_told:
        assert time.monotonic() < deadline, "no reply has begun"
        page.wait_for_timeout(20)
    session = page.context.browser.new_browser_cdp_session()
    session.send("Browser.crashGpuProcess")
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "DeviceLostError", timeout=60_000)
    expect_state(page, "empty")


def test_thinking_reaches_the_prompt(page, site):
    open_page(page, site, think=True)
    load(page, MODELS / "ple-q4_k_m.gguf")
    say(page, PROMPT, timeout=120_000)
    with_thinking = page.evaluate(LAST_DONE)["n_prompt"]
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="Think").click()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["n_prompt"] < with_thinking
