"""One model in place of another, and the check of a file; a fake worker plays both."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import choose, choose_large, expect_state, say, sent

BLOB = f"sha256-{'ab' * 31}c"


@pytest.fixture
def ready(ui: Page) -> Page:
    """A page with a model and a conversation."""
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    say(ui, "Hello")
    return ui


def cancel(page: Page) -> None:
    page.get_by_role("button", name="Cancel").click()


def test_cancelled_load_leaves_the_model_before_in_use(ready):
    choose(ready, "slow.gguf")
    expect_state(ready, "loading")
    expect(ready.locator("#loading-note")).to_be_hidden()
    cancel(ready)
    expect_state(ready, "ready")
    expect(ready.locator("#announcer")).to_have_text("Loading was cancelled.")
    expect(ready.get_by_role("button", name="Model: Gemma 4")).to_be_visible()
    expect(ready.get_by_label("Message", exact=True)).to_be_focused()
    assert len(sent(ready)["messages"]) == 3  # the conversation goes on


def test_model_that_was_closed_to_make_room_comes_back_after_a_cancel(ready):
    choose(ready, "tight.gguf")
    note = ready.locator("#loading-note")
    expect(note).to_contain_text("Gemma 4 26B-A4B was closed to make room")
    cancel(ready)
    expect(ready.locator("#announcer")).to_contain_text("is loaded")
    expect_state(ready, "ready")
    assert len(sent(ready)["messages"]) == 3


def test_bringing_a_model_back_can_be_cancelled_too(ui):
    choose(ui, "soon.gguf")  # takes long enough to be cancelled
    expect_state(ui, "ready")
    choose(ui, "tight.gguf")
    expect(ui.locator("#loading-note")).to_be_visible()
    cancel(ui)
    expect(ui.locator("#loading-file")).to_contain_text("soon")
    cancel(ui)
    expect_state(ui, "empty")
    expect(ui.get_by_label("Choose a model file")).to_be_focused()
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")


def test_failed_load_leaves_the_model_before_in_use(ready):
    choose(ready, "damaged.gguf")
    card = ready.get_by_role("alert")
    expect(card).to_contain_text("damaged.gguf is truncated")
    expect(card.get_by_role("button", name="Back to the model before")).to_have_count(0)
    expect_state(ready, "ready")
    assert len(sent(ready)["messages"]) == 3


def test_after_a_failure_the_closed_model_is_one_click_away(ready):
    choose(ready, "tight-huge.gguf")
    card = ready.get_by_role("alert")
    expect(card).to_contain_text("The model does not fit")
    expect_state(ready, "empty")
    card.get_by_role("button", name="Back to the model before").click()
    expect_state(ready, "ready")
    expect(card).to_have_count(0)
    assert len(sent(ready)["messages"]) == 3


def test_another_choice_while_one_loads_keeps_the_model_until_then(ready):
    choose(ready, "slow.gguf")
    expect_state(ready, "loading")
    choose(ready, "damaged.gguf")
    expect(ready.get_by_role("alert")).to_contain_text("damaged.gguf is truncated")
    expect_state(ready, "ready")
    choose(ready, "tight.gguf")
    expect(ready.locator("#loading-note")).to_be_visible()
    choose(ready, "slow.gguf")
    expect(ready.locator("#loading-file")).to_contain_text("slow")
    cancel(ready)
    expect_state(ready, "ready")
    expect(ready.get_by_role("button", name="Model: Gemma 4")).to_be_visible()
    assert len(sent(ready)["messages"]) == 3


def test_what_a_file_recommends_holds_until_a_person_changes_it(ui):
    choose(ui, "warm.gguf")
    expect_state(ui, "ready")
    sampling = sent(ui)["sampling"]
    assert (sampling["temperature"], sampling["top_k"]) == (0.65, 20)
    ui.get_by_role("button", name="Model: ").click()
    note = ui.locator("#info-rows > div", has_text="Note")
    expect(note.locator("dd")).to_contain_text("min_p is ignored: found <b>.")
    ui.get_by_role("button", name="Done").click()
    ui.get_by_role("button", name="Settings").click()
    expect(ui.get_by_label("Top-k")).to_have_value("20")
    ui.get_by_label("Temperature").fill("0.5")
    ui.get_by_role("button", name="Done").click()
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    ui.get_by_role("button", name="New chat").click()  # an echo of an echo is no JSON
    sampling = sent(ui)["sampling"]
    assert sampling == {"temperature": 0.5}  # the rest is the driver's
    ui.reload()
    choose(ui, "warm.gguf")
    expect_state(ui, "ready")
    sampling = sent(ui)["sampling"]
    assert (sampling["temperature"], sampling["top_k"]) == (0.5, 20)


def cancelled_check(page: Page) -> None:
    choose_large(page, "gemma-4.gguf")
    expect(page.locator("#fit .card")).to_be_visible()
    cancel(page)


def refused_check(page: Page) -> None:
    choose_large(page, "huge.gguf")
    expect(page.get_by_role("alert")).to_be_visible()


def cancelled_load(page: Page) -> None:
    choose(page, "slow.gguf")
    cancel(page)


def failed_load(page: Page) -> None:
    choose(page, "damaged.gguf")
    expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize(
    "attempt",
    [cancelled_check, refused_check, cancelled_load, failed_load],
    ids=lambda attempt: attempt.__name__,
)
def test_what_a_file_recommends_outlasts_another_that_is_not_loaded(ui, attempt):
    choose(ui, "warm.gguf")
    expect_state(ui, "ready")
    attempt(ui)
    expect_state(ui, "ready")
    sampling = sent(ui)["sampling"]
    assert (sampling["temperature"], sampling["top_k"]) == (0.65, 20)


# -- the check -----------------------------------------------------------------------


def open_check(page: Page, last: str) -> Locator:
    choose(page, BLOB + last)
    expect_state(page, "ready")
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("button", name="Check the file").click()
    return page.get_by_role("dialog", name="Check the file")


def test_intact_file_is_said_to_be_intact(ui):
    panel = open_check(ui, "0")
    expect(panel).to_contain_text("The file is intact")
    expect(panel).to_contain_text("3.20 GB read in")
    panel.get_by_role("button", name="Done").click()
    expect(panel).to_be_hidden()


def test_damaged_file_is_told_with_both_digests(ui):
    panel = open_check(ui, "1")
    card = panel.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "FileFormatError")
    for text in ("SHA-256 0123", f"SHA-256 {'ab' * 31}c1", "Delete this file"):
        expect(card).to_contain_text(text)
    assert panel.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_check_shows_how_far_it_is_and_can_be_cancelled(ui):
    panel = open_check(ui, "2")
    expect(panel).to_contain_text("801 MB of 3.20 GB")
    panel.get_by_role("button", name="Cancel").click()
    expect(panel).to_be_hidden()
    say(ui, "Hello")
    ui.get_by_role("button", name="Model: ").click()
    ui.get_by_role("button", name="Check the file").click()
    expect(panel.get_by_role("progressbar")).to_be_visible()
    ui.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_engine_that_dies_in_a_check_takes_the_model_along(ui):
    panel = open_check(ui, "3")
    expect(panel.get_by_role("alert")).to_contain_text("The engine stopped working")
    panel.get_by_role("button", name="Done").click()
    expect_state(ui, "empty")
    expect(ui.get_by_role("button", name="Model: ")).to_have_count(0)


def test_file_without_a_digest_in_its_name_cannot_be_checked(ready):
    ready.get_by_role("button", name="Model: ").click()
    expect(ready.get_by_role("dialog", name="Model")).to_be_visible()
    expect(ready.get_by_role("button", name="Check the file")).to_be_hidden()
