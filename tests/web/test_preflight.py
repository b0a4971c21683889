"""Before a load: what the page says of a model, and what became of it afterwards."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from pyodide_app import errors
from pyodide_app.browser.figures import described
from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.load.loader import Fitted, preflight
from pyodide_app.load.options import LoadOptions
from tests.samples import realshape
from tests.web.conftest import (
    choose,
    choose_large,
    expect_state,
    say,
    use_model,
    use_worker_with,
)
from tests.web.test_end_to_end import (
    KEEP_MESSAGES,
    LAST_DONE,
    MODELS,
    PROMPT,
    load,
    open_page,
)

KEEP_SENT = """
(() => {
  const { Worker } = window;
  window.sent = [];
  window.Worker = class extends Worker {
    postMessage(message, ...rest) {
      window.sent.push(message);
      super.postMessage(message, ...rest);
    }
  };
})();
"""
# Tells of every range of a file that is asked for.
SHOW_READS = """
const slice = Blob.prototype.slice;
Blob.prototype.slice = function (begin, end, ...rest) {
  self.postMessage({ id: 0, kind: 'read', begin, end });
  return slice.call(this, begin, end, ...rest);
};
"""
# An adapter of WebGPU's default limits.
SMALL_ADAPTER = """
const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, 'limits');
Object.defineProperty(GPUAdapter.prototype, 'limits', {
  get() {
    const limits = get.call(this);
    const most = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 };
    return new Proxy(limits, {
      get: (_, name) => most[name] ?? Reflect.get(limits, name, limits),
    });
  },
});
"""
LIMITS = """async () => {
  const { limits } = await navigator.gpu.requestAdapter();
  return [
    'maxStorageBufferBindingSize', 'maxBufferSize', 'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup', 'maxStorageBuffersPerShaderStage',
    'maxComputeWorkgroupsPerDimension',
  ].map((name) => limits[name]);
}"""

DEVICES = "JSON.parse(localStorage.getItem('lapidary.devices'))"


def card(page: Page) -> Locator:
    return page.locator("#fit .card")


def kinds(page: Page) -> list[str]:
    """Return what the page has asked of the worker, in order."""
    return page.evaluate("sent.map(({ kind }) => kind)")


@pytest.fixture
def ui(ui: Page) -> Page:
    """The page with a worker that plays the engine, watched from its side."""
    ui.add_init_script(KEEP_SENT + KEEP_MESSAGES)
    ui.reload()
    return ui


# -- the page alone --------------------------------------------------------------


def test_large_model_waits_until_it_is_wanted(ui):
    choose_large(ui, "gemma-4.gguf")
    expect_state(ui, "checking")
    for text in (
        "3.30 GB of memory",
        "It fits, as far as a browser can tell.",
        "2.97 GB and 2.31 GB that stay in the file",
        "164 MB for 8,192 tokens",
        "69.0 MB",
        "at most 60.0 tok/s",
        "about 12 s",
    ):
        expect(card(ui)).to_contain_text(text)
    assert kinds(ui) == ["preflight"]
    button = ui.get_by_role("button", name="Load", exact=True)
    expect(button).to_be_focused()
    button.click()
    expect_state(ui, "ready")
    assert kinds(ui) == ["preflight", "load"]
    measured = ui.evaluate("sent[1].options.measured['a fake']")
    assert measured["copy_bytes_per_second"] == 3e11


def test_small_model_loads_unasked_and_says_what_it_takes(ui):
    choose(ui, "slow.gguf")
    expect_state(ui, "loading")
    expect(ui.locator("#loading .card")).to_contain_text("164 MB for 8,192 tokens")
    assert kinds(ui) == ["load"]


def test_demonstration_model_loads_unasked(page, site, ui):
    use_model(ui, "demo.gguf")
    ui.reload()
    expect_state(ui, "ready")
    assert kinds(ui) == ["load"]


def test_refusal_offers_the_context_that_fits(ui):
    choose_large(ui, "crowded.gguf")
    problem = ui.get_by_role("alert")
    expect(problem).to_have_attribute("data-type", "DeviceLimitError")
    expect(problem).to_contain_text("18.2 GB")
    expect(problem).to_contain_text("Use a context of 4,096 tokens or fewer")
    expect_state(ui, "empty")
    problem.get_by_role("button", name="Use 4,096 tokens").click()
    expect(card(ui)).to_contain_text("for 4,096 tokens")
    expect(problem).to_have_count(0)
    expect(ui.get_by_label("Context").first).to_have_value("4096")
    assert [message["options"].get("n_ctx") for message in ui.evaluate("sent")] == [
        None,
        4096,
    ]
    ui.get_by_role("button", name="Load", exact=True).click()
    expect_state(ui, "ready")
    assert ui.evaluate("sent.at(-1).options.n_ctx") == 4096


def test_refusal_without_a_remedy_offers_another_file(ui):
    choose_large(ui, "huge.gguf")
    problem = ui.get_by_role("alert")
    # No setting can help.
    expect(problem.get_by_role("button")).to_have_text(
        ["Choose another file", "Dismiss"]
    )
    assert kinds(ui) == ["preflight"]


def test_refusal_of_a_listed_model_leads_back_to_the_list(ui):
    models = [
        {"name": name, "full_name": name, "problem": None, "size": 18_700_000_000}
        | {"weights": [{"blob": blob}]}
        for name, blob in (("gemma4:e2b", "x"), ("gemma4:31b", "huge.gguf"))
    ]
    store = {"root": "/models", "models": models}
    ui.route("**/ollama/models.json", lambda route: route.fulfill(json=store))
    ui.reload()
    ui.get_by_text("Your Ollama models (2)").click()
    for name in ("gemma4:e2b", "gemma4:31b"):
        check = ui.get_by_role("button", name=f"Check {name} for damage", exact=True)
        expect(check).to_be_visible()
    ui.locator(".model", has_text="gemma4:31b").click()
    problem = ui.get_by_role("alert")
    expect(problem.get_by_role("button")).to_have_text(["Back to the list", "Dismiss"])
    problem.get_by_role("button", name="Back to the list").click()
    expect(ui.locator(".model", has_text="gemma4:31b")).to_be_focused()
    expect(problem).to_have_count(0)


def test_context_is_chosen_before_loading(ui):
    choose_large(ui, "gemma-4.gguf")
    expect(card(ui)).to_contain_text("for 8,192 tokens")
    context = ui.locator("#fit-context")
    values = context.locator("option").evaluate_all("all => all.map((o) => o.value)")
    assert values[0] == "" and values[-1] == "65536"  # what the model was made for
    context.select_option("32768")
    expect(card(ui)).to_contain_text("655 MB for 32,768 tokens")
    ui.get_by_role("button", name="Load", exact=True).click()
    expect_state(ui, "ready")
    assert ui.evaluate("sent.at(-1).options.n_ctx") == 32768
    ui.get_by_role("button", name="Settings").click()
    expect(ui.locator("#n_ctx")).to_have_value("32768")
    expect(ui.locator("#context-pending")).to_be_hidden()


def test_cancelled_check_keeps_the_model_before(ui):
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    say(ui, "Hello")
    for name in ("slow.gguf", "gemma-4.gguf"):  # under way, and answered
        choose_large(ui, name)
        expect_state(ui, "checking")
        if name != "slow.gguf":
            expect(card(ui)).to_be_visible()
        ui.get_by_role("button", name="Cancel").click()
        expect_state(ui, "ready")
        expect(ui.locator(".bubble")).to_have_text("Hello")
    say(ui, "Hello again")
    assert kinds(ui).count("load") == 1


def test_another_choice_replaces_a_check(ui):
    choose_large(ui, "slow.gguf")
    expect_state(ui, "checking")
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    assert kinds(ui) == ["preflight", "stop", "load"]


def speed(page: Page) -> Locator:
    """Open the panel about the model and return what it says of its speed."""
    page.get_by_role("button", name="Model: ").click()
    return page.locator("#info-rows > div", has_text="Speed").locator("dd")


def test_prediction_is_kept_and_compared_after_a_reply(ui):
    choose_large(ui, "gemma-4.gguf")
    ui.get_by_role("button", name="Load", exact=True).click()
    expect_state(ui, "ready")
    say(ui, "markdown")
    compared = "predicted at most 50.0 tok/s, measured 42.0 tok/s (84 %)"
    expect(speed(ui)).to_have_text(compared)
    ui.reload()
    choose(ui, "gemma-4.gguf")  # the same to the engine
    expect_state(ui, "ready")
    expect(speed(ui)).to_have_text(compared)
    assert "preflight" not in kinds(ui)


def test_unmeasured_adapter_is_measured_when_one_asks(ui):
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    say(ui, "markdown")
    assert kinds(ui) == ["load", "generate"]
    expect(speed(ui)).to_have_text(
        "predicted at most 60.0 tok/s, measured 42.0 tok/s (70 %)"
    )
    assert kinds(ui)[-1] == "preflight"
    end = ui.evaluate("messages.findLast(({ ids }) => ids)")
    half_full = end["n_prompt"] + end["n_generated"] // 2
    assert ui.evaluate("sent.at(-1).options.n_keys") == half_full


def test_short_reply_says_nothing_of_the_speed(ui):
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    say(ui, "Hello")  # two tokens
    expect(speed(ui)).to_have_text("predicted at most 60.0 tok/s")


# -- with the engine -------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of full size that is mostly holes."""
    path = tmp_path_factory.mktemp("large") / "gemma-4-12b.gguf"
    realshape.write(path, "12b", "Q4_K_M")
    return path


def natively(large: Path, limits: list[int], **options: Any) -> Fitted:
    """Ask the driver itself, of an adapter with these limits."""
    info = AdapterInfo("the browser's", "WebGPU", True, frozenset(), Limits(*limits))
    source = realshape.HoleSource(realshape.plan("12b", "Q4_K_M"), large.name)
    request = preflight([source], info, LoadOptions(**options))
    # Playwright keeps an event loop running in this thread.
    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, request).result()


def reads(page: Page) -> list[tuple[int, int]]:
    found = page.evaluate("messages.filter(({ kind }) => kind === 'read')")
    return [(message["begin"], message["end"]) for message in found]


def most_header() -> int:
    """Return what is read for the header at most: it comes in large pieces."""
    return len(realshape.plan("12b", "Q4_K_M").header) + (8 << 20)


def test_numbers_are_the_drivers_own(page, site, large):
    use_worker_with(page, SHOW_READS)
    open_page(page, site, n_ctx=16384)
    page.set_input_files("#file", large)
    expect(card(page)).to_be_visible(timeout=60_000)
    answer = page.evaluate("messages.find(({ preflight }) => preflight).preflight")
    expected = natively(large, page.evaluate(LIMITS), n_ctx=16384)
    hint = page.evaluate("navigator.deviceMemory")
    assert answer["fit"] == described(expected.fit, hint)
    assert answer["n_bytes"] == large.stat().st_size
    assert answer["n_ctx_train"] == expected.config.n_ctx_train
    shown = f"{expected.fit.total_bytes / 1e9:.2f} GB"
    expect(card(page)).to_contain_text(shown)
    for value in answer["measured"].values():
        assert value > 0
    assert 0 < answer["prediction"]["tokens_per_second"] < 1e6
    # The header, and half a second of reading from the middle.
    data = [begin for begin, _ in reads(page) if begin > most_header()]
    assert data and min(data) == large.stat().st_size // 2


def test_what_cannot_fit_is_refused_unread(page, site, large):
    use_worker_with(page, SHOW_READS + SMALL_ADAPTER)
    open_page(page, site, n_ctx=262144)
    page.set_input_files("#file", large)
    problem = page.get_by_role("alert")
    expect(problem).to_have_attribute("data-type", "DeviceLimitError", timeout=60_000)
    limits = page.evaluate(LIMITS)
    limits[:2] = [1 << 27, 1 << 28]
    memory = page.evaluate("navigator.deviceMemory * 2 ** 29")  # in software: half
    with pytest.raises(errors.DeviceLimitError) as raised:
        natively(large, limits, n_ctx=262144, memory=memory)
    error = raised.value
    assert error.what[0].islower()  # on a terminal; here it is a title
    what = f"{error.what[0].upper()}{error.what[1:]}"
    for text in (what, error.found, error.expected, error.remedy):
        expect(problem).to_contain_text(errors.with_separators(text))
    assert 0 < error.n_ctx <= 131072  # 128 MiB of keys of one global layer
    assert max(end for _, end in reads(page)) <= most_header()
    problem.get_by_role("button", name=f"Use {error.n_ctx:,} tokens").click()
    expect(card(page)).to_contain_text(f"for {error.n_ctx:,} tokens", timeout=60_000)


def test_adapter_is_measured_within_two_seconds_and_once(page, site):
    open_page(page, site)
    page.add_init_script(KEEP_SENT)
    page.reload()
    load(page, MODELS / "dense-q4_k_m.gguf")
    say(page, PROMPT, timeout=120_000)
    assert "predicted" not in page.evaluate(LAST_DONE)
    begin = page.evaluate("performance.now()")
    value = speed(page)
    expect(value).to_contain_text("predicted at most", timeout=20_000)
    print(page.evaluate("performance.now()") - begin, "ms")
    expect(value).to_contain_text("measured")
    kept = page.evaluate(DEVICES)
    assert len(kept) == 1
    page.reload()
    load(page, MODELS / "dense-q4_k_m.gguf")
    say(page, PROMPT, timeout=120_000)
    done = page.evaluate(LAST_DONE)
    assert done["predicted"] > 0
    measured = (done["n_generated"] - 1) / done["decode_seconds"]
    share = round(100 * measured / done["predicted"])
    expect(speed(page)).to_contain_text(f"({share} %)")
    assert "preflight" not in page.evaluate("sent.map(({ kind }) => kind)")
    assert page.evaluate(DEVICES) == kept
