"""The page with the demonstration model that is bundled; a fake worker plays it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import (
    choose,
    choose_large,
    expect_state,
    sent,
    use_fake_worker,
    use_model,
)

Open = Callable[[str], Page]


@pytest.fixture
def demo(page: Page, site: str) -> Open:
    """Open the page with a model of that name; the fake worker plays by the name."""

    def opened(name: str) -> Page:
        use_fake_worker(page)
        use_model(page, name)
        page.goto(site)
        return page

    return opened


def examples(page: Page) -> Locator:
    return page.get_by_role("list", name="Examples to try").get_by_role("button")


def test_loads_at_once_and_leaves_the_page_usable(demo):
    page = demo("slow.gguf")
    expect_state(page, "preparing")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator("#preparing-bytes")).to_contain_text("1.20 GB of 3.20 GB")
    expect(page.get_by_label("Choose a model file")).to_be_enabled()
    expect(page.get_by_label("Message", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Model: ")).to_have_count(0)


def test_says_what_it_is(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    expect(page.locator("#announcer")).to_have_text("A small demo is loaded.")
    expect(page.get_by_role("progressbar")).to_have_count(0)
    card = page.get_by_role("region", name="A small demo")
    for text in ("trained from scratch on a synthetic corpus", "a model of your own"):
        expect(card).to_contain_text(text)
    card.get_by_role("button", name="What it can do").click()
    panel = page.get_by_role("dialog", name="The demonstration model")
    expect(panel).to_contain_text("It reverses words.")
    expect(panel.get_by_role("link")).to_have_attribute("target", "_blank")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Model: A small demo").click()
    panel = page.get_by_role("dialog", name="Model", exact=True)
    expect(panel).to_contain_text("demo.gguf, 5.90 MB")
    expect(panel).to_contain_text("trained from scratch")


# Of a phone's width the page has 30 pixels more: phones have no scroll bars.
def test_every_door_is_seen_at_once(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    for width, height in ((1280, 800), (1440, 900), (1920, 960), (420, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for door in (".choose", "#ollama-title", "#downloads-title"):
            expect(page.locator(door)).to_be_in_viewport(ratio=1)
        expect(examples(page).first).to_be_in_viewport(ratio=1)


def test_card_is_typeset_and_fits_a_phone(demo):
    page = demo("demo.gguf")
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="What it can do").click()
    card = page.locator("#card-text")
    expect(card.locator("li")).to_have_text(["one item of two lines", "another"])
    expect(card.locator("p").first).to_have_text("It reverses words.")
    expect(card.locator("pre")).to_contain_text("here\nsecond line")
    expect(card.locator("td")).to_have_text(["Size", "small"])
    expect(card.locator("thead")).to_be_hidden()
    panel = page.get_by_role("dialog")
    assert panel.evaluate("node => node.scrollWidth <= node.clientWidth")
    assert page.locator("#card form").evaluate("f => f.scrollWidth <= f.clientWidth")


def test_example_is_sent_and_the_examples_go(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    expect(examples(page)).to_have_count(5)
    text = examples(page).first.inner_text()
    examples(page).first.click()
    expect(page.locator(".bubble")).to_have_text(text)
    expect(page.locator(".reply")).to_contain_text("A short reply.")
    expect(examples(page)).to_have_count(0)
    page.get_by_role("button", name="New chat").click()
    expect(examples(page)).to_have_count(5)


def test_example_of_several_turns_shows_memory(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    page.get_by_role("button", name="My name is").click()
    expect(page.locator(".bubble")).to_have_count(3)
    expect(page.locator(".bubble").last).to_have_text("What is my name?")
    expect(page.locator(".reply .figures").filter(has_text="tokens")).to_have_count(3)
    assert len(sent(page)["messages"]) == 7


def test_new_chat_ends_an_example_of_several_turns(demo):
    page = demo("soon.gguf")
    page.get_by_role("button", name="My name is").click()
    page.get_by_role("button", name="New chat").click()
    expect_state(page, "ready")
    expect(page.locator(".message")).to_have_count(0)
    assert len(sent(page)["messages"]) == 1


def test_question_asked_while_it_loads_is_answered_then(demo):
    page = demo("soon.gguf")
    expect_state(page, "preparing")
    examples(page).first.click()
    expect(page.locator(".bubble")).to_have_count(1)
    expect(page.locator("#composer-hint")).to_have_text(
        "It is answered once the model is loaded."
    )
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    expect(page.locator(".reply")).to_contain_text("A short reply.")
    expect_state(page, "ready")


def test_file_replaces_it_while_it_loads(demo):
    page = demo("slow.gguf")
    examples(page).first.click()
    choose(page, "gemma-4.gguf")
    expect_state(page, "ready")
    expect(page.get_by_role("button", name="Model: Gemma 4 26B-A4B")).to_be_visible()
    expect(page.locator(".message")).to_have_count(0)
    expect(examples(page)).to_have_count(0)
    assert len(sent(page)["messages"]) == 1


def test_look_at_a_large_file_is_left_alone(page, site):
    use_fake_worker(page)
    asked = []
    page.route("**/manifest.json", lambda route: asked.append(route))
    page.goto(site)
    choose_large(page, "gemma-4.gguf")
    expect(page.locator("#fit .card")).to_be_visible()
    (route,) = asked
    model = {"url": "embedded/demo.gguf", "size": 1, "card": None}
    route.fulfill(json={"model": model})
    expect(page.locator("#demo-name")).to_have_text("The demonstration model")
    expect_state(page, "checking")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Load it (1 bytes)")).to_be_visible()


def test_file_replaces_it_when_loaded_and_brings_its_own_settings(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    page.get_by_role("button", name="Settings").click()
    panel = page.get_by_role("dialog", name="Settings")
    expect(panel).to_contain_text("the demonstration model’s own settings")
    expect(panel.get_by_label("Temperature")).to_have_value("0")
    expect(panel.get_by_label("Context")).to_be_disabled()
    panel.get_by_label("Top-k").fill("7")
    page.keyboard.press("Escape")
    sampling = {"temperature": 0, "top_k": 7}
    assert sent(page)["sampling"] == sampling
    choose(page, "gemma-4.gguf")
    expect_state(page, "ready")
    page.get_by_role("button", name="New chat").click()
    assert sent(page)["sampling"] == {}  # the driver knows
    page.reload()
    expect_state(page, "ready")
    assert sent(page)["sampling"] == sampling


def test_failure_is_explained_and_files_still_load(demo):
    page = demo("huge.gguf")
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "DeviceLimitError")
    expect_state(page, "empty")
    expect(examples(page)).to_have_count(0)
    choose(page, "gemma-4.gguf")
    expect_state(page, "ready")
    expect(card).to_have_count(0)


def test_can_be_loaded_after_a_file_that_failed(demo):
    page = demo("soon.gguf")
    expect_state(page, "preparing")
    choose(page, "damaged.gguf")
    expect(page.get_by_role("alert")).to_contain_text("damaged.gguf is truncated")
    expect_state(page, "empty")
    page.get_by_role("button", name="Load it (5.90 MB)").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect_state(page, "ready")
    expect(page.get_by_role("button", name="Model: A small demo")).to_be_visible()


def test_examples_can_be_used_by_keyboard(demo):
    page = demo("demo.gguf")
    expect_state(page, "ready")
    message = page.get_by_label("Message", exact=True)
    expect(message).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(examples(page).last).to_be_focused()
    page.keyboard.press("Shift+Tab")
    text = examples(page).nth(3).inner_text()
    page.keyboard.press("Enter")
    expect(page.locator(".bubble")).to_have_text(text)
    expect(message).to_be_focused()
