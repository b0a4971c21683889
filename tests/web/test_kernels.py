"""Kernels beyond the baseline in a real browser: forced, right, shown, and refused."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.web.conftest import SHOW_SHADERS, say, use_worker_with
from tests.web.test_demo_model import native_ids, wait_for_replies
from tests.web.test_end_to_end import KEEP_MESSAGES, LAST_DONE

QUESTION = "What is the capital of France?"
SHADERS = "messages.filter(({ kind }) => kind === 'shader').map(({ code }) => code)"
GREEDY = "localStorage.setItem('lapidary.settings', '{\"temperature\": 0}')"
KEEP_SENT = """
(() => {
  const send = Worker.prototype.postMessage;
  window.sent = [];
  Worker.prototype.postMessage = function (message) {
    window.sent.push(message);
    return send.call(this, message);
  };
})();
"""
SENT = "sent.find(({ kind }) => kind === 'load').options"
KEPT = "JSON.parse(localStorage.getItem('lapidary.kernels'))"


def open_page(page: Page, address: str) -> None:
    """Open the page; its model begins to load."""
    page.add_init_script(KEEP_MESSAGES)
    page.add_init_script(GREEDY)
    use_worker_with(page, SHOW_SHADERS)
    page.goto(address)


def wait_until_ready(page: Page) -> None:
    """Wait until the page's own model is loaded."""
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=120_000)


def answered(page: Page) -> list[int]:
    """Ask a question and return the tokens of the answer."""
    say(page, QUESTION, wait=False)
    wait_for_replies(page, 1)
    ids: list[int] = page.evaluate(LAST_DONE)["ids"]
    return ids


def about_kernels(page: Page) -> str:
    """Return what the panel about the model says of its kernels."""
    page.locator("#model-chip").click()
    row = page.locator("#info-rows div").filter(has_text="Kernels")
    return row.locator("dd").inner_text()


def test_sums_in_subgroups_answer_as_the_baseline(page: Page, site: str) -> None:
    open_page(page, f"{site}?kernels=subgroup")
    assert answered(page) == native_ids([[{"role": "user", "content": QUESTION}]])[0]
    assert about_kernels(page) == "subgroup"
    shaders = page.evaluate(SHADERS)
    using = [code for code in shaders if "subgroupShuffleXor" in code]
    assert len(using) > 5
    assert all(code.startswith("enable subgroups;\n") for code in using)
    assert page.evaluate(KEPT) is None  # what is forced says nothing of the adapter


def test_software_takes_the_baseline_unasked_and_that_is_kept(
    page: Page, site: str
) -> None:
    page.add_init_script(KEEP_SENT)
    open_page(page, site)
    wait_until_ready(page)
    assert page.evaluate(SENT)["chosen"] == {}
    assert about_kernels(page) == "baseline"
    assert not [code for code in page.evaluate(SHADERS) if "enable" in code]
    kept = page.evaluate(KEPT)
    (record,) = kept.values()
    assert record["options"] == []
    page.reload()
    wait_until_ready(page)
    assert page.evaluate(SENT)["chosen"] == kept


def test_what_the_device_lacks_is_left_out_and_said(page: Page, site: str) -> None:
    open_page(page, f"{site}?kernels=f16-kv")
    wait_until_ready(page)
    assert about_kernels(page) == ("baseline; no f16-kv: the device lacks shader-f16")


def test_an_unknown_name_is_refused_with_the_known_ones(page: Page, site: str) -> None:
    open_page(page, f"{site}?kernels=warp")
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "RequestError", timeout=60_000)
    expect(card).to_contain_text("'warp'")
    expect(card).to_contain_text("baseline, or some of subgroup, f16-kv")
