"""A second model in a real browser: the first one stays until it is not needed."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.web import conftest
from tests.web.conftest import say, use_worker_with
from tests.web.test_end_to_end import (
    LAST_DONE,
    MODELS,
    PROMPT,
    load,
    native,
    open_page,
)

FIRST, SECOND = "moe8-q4_k_m", "dense-q4_k_m"
SPARE = 1 << 20  # bytes: less than either model, more than what plans leave to the GC
# Each read of a file takes as long as the test says.
SLOW_READS = """
let wait = 0;
new BroadcastChannel('slow').onmessage = ({ data }) => { wait = data; };
const read = Blob.prototype.arrayBuffer;
Blob.prototype.arrayBuffer = async function () {
  if (wait) await new Promise((resolve) => { setTimeout(resolve, wait); });
  return read.call(this);
};
"""
# A device that refuses buffers once those that live take more than the test says.
SMALL_DEVICE = """
let live = 0;
let most = Infinity;
let refused = false;
new BroadcastChannel('spare').onmessage = ({ data }) => { most = live + data; };
const { createBuffer, popErrorScope } = GPUDevice.prototype;
GPUDevice.prototype.createBuffer = function (descriptor) {
  const buffer = createBuffer.call(this, descriptor);
  live += descriptor.size;
  refused ||= live > most;
  const destroy = buffer.destroy.bind(buffer);
  buffer.destroy = () => {
    live -= descriptor.size;
    descriptor = { size: 0 };
    destroy();
  };
  return buffer;
};
GPUDevice.prototype.popErrorScope = async function () {
  const mine = refused;
  refused = false;
  const error = await popErrorScope.call(this);
  return mine ? new GPUOutOfMemoryError('no more than the test allows') : error;
};
"""


def tell(page: Page, channel: str, value: int) -> None:
    page.evaluate(
        "([name, n]) => new BroadcastChannel(name).postMessage(n)", [channel, value]
    )


def expect_state(page: Page, state: str) -> None:
    conftest.expect_state(page, state, 60_000)


def expect_to_answer_as(page: Page, name: str) -> None:
    """Say the prompt in a new chat: the reply is that of the model of that name."""
    if page.locator("#new-chat").is_visible():
        page.locator("#new-chat").click()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native(name).ids


def begin_slowly(page: Page) -> None:
    """Begin to load the second model, so slowly that it can be cancelled."""
    tell(page, "slow", 400)
    page.set_input_files("#file", MODELS / f"{SECOND}.gguf")
    expect_state(page, "loading")
    stage = page.locator("#loading-stage")
    expect(stage).to_have_text(re.compile("Reading the weights"), timeout=60_000)


def test_cancelled_load_leaves_the_first_model_and_its_cache(page, site):
    use_worker_with(page, SLOW_READS)
    open_page(page, site)
    load(page, MODELS / f"{FIRST}.gguf")
    say(page, PROMPT, timeout=120_000)
    begin_slowly(page)
    page.get_by_role("button", name="Cancel").click()
    expect_state(page, "ready")
    say(page, PROMPT, timeout=120_000)
    done = page.evaluate(LAST_DONE)
    assert done["n_reused"] > 0  # the conversation goes on where it was
    expect_to_answer_as(page, FIRST)
    tell(page, "slow", 0)
    page.set_input_files("#file", MODELS / f"{SECOND}.gguf")
    expect_state(page, "ready")
    expect_to_answer_as(page, SECOND)


def test_first_model_makes_room_where_there_is_none(page, site):
    use_worker_with(page, SMALL_DEVICE)
    open_page(page, site)
    load(page, MODELS / f"{FIRST}.gguf")
    tell(page, "spare", SPARE)
    page.set_input_files("#file", MODELS / f"{SECOND}.gguf")
    expect_state(page, "loading")
    expect_state(page, "ready")
    stages = page.evaluate("messages.map(({ stage }) => stage)")
    assert stages.count("room") == 1
    expect_to_answer_as(page, SECOND)


def test_model_that_made_room_is_loaded_again_after_a_cancel(page, site):
    use_worker_with(page, SMALL_DEVICE + SLOW_READS)
    open_page(page, site)
    load(page, MODELS / f"{FIRST}.gguf")
    tell(page, "spare", SPARE)
    begin_slowly(page)
    expect(page.locator("#loading-note")).to_contain_text("was closed to make room")
    page.get_by_role("button", name="Cancel").click()
    tell(page, "slow", 0)
    expect(page.locator("#loading-file")).to_contain_text(FIRST)
    expect_state(page, "ready")
    expect_to_answer_as(page, FIRST)


def test_model_that_never_fits_leaves_the_first_one_click_away(page, site, watch):
    use_worker_with(page, SMALL_DEVICE)
    open_page(page, site)
    load(page, MODELS / f"{SECOND}.gguf")
    tell(page, "spare", -(1 << 16))
    page.set_input_files("#file", MODELS / f"{FIRST}.gguf")
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "DeviceMemoryError", timeout=60_000)
    expect_state(page, "empty")
    card.get_by_role("button", name="Back to the model before").click()
    expect_state(page, "ready")
    expect_to_answer_as(page, SECOND)
