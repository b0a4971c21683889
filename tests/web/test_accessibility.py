"""The page by keyboard and screen reader: names, roles, focus, contrast, motion."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import choose, choose_large, say, use_model

CHECKS = Path(__file__).with_name("accessibility_checks.js").read_text()
GOOD = {"parameters": "25.8B", "quantization": "Q4_K_M", "size": 18_000_000_000}
STORE = {
    "root": "/models",
    "models": [
        {"name": "gemma4:26b", "full_name": "x", "problem": None, **GOOD},
        {"name": "gemma4:31b-cloud", "full_name": "y", "problem": {"text": "No GGUF."}},
    ],
}


def check(page: Page, name: str) -> list[object]:
    """Return the faults that a check of accessibility_checks.js finds."""
    return page.evaluate(f"({CHECKS.strip()}).{name}()")


def expect_accessible(page: Page) -> None:
    """Hold what the page shows to all of the checks, in each scheme and size."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert check(page, "lowContrast") == []
    assert check(page, "nameless") == []
    assert check(page, "dangling") == []
    assert check(page, "sameRegions") == []
    for size in ({"width": 1280, "height": 800}, {"width": 320, "height": 640}):
        page.set_viewport_size(size)
        assert check(page, "tooWide") == []
        assert check(page, "tooSmall") == []


def opened(page: Page) -> None:
    page.get_by_text("Already have models in Ollama?").click()


def loading(page: Page) -> None:
    choose(page, "slow.gguf")
    expect(page.locator("#loading-bytes")).to_contain_text("GB")


def loaded(page: Page) -> None:
    choose(page, "gemma-4.gguf")
    expect(page.locator("body")).to_have_attribute("data-state", "ready")


def talked(page: Page) -> None:
    loaded(page)
    page.get_by_role("button", name="Think").click()
    say(page, "markdown")
    page.locator(".thinking summary").click()
    say(page, "markdown")
    say(page, "cut")
    page.get_by_role("button", name="Details").last.click()


def failed(page: Page) -> None:
    loaded(page)
    say(page, "full")


def refused(page: Page) -> None:
    choose(page, "damaged.gguf")
    expect(page.get_by_role("alert")).to_be_visible()


def adjusting(page: Page) -> None:
    loaded(page)
    page.get_by_role("button", name="Settings").click()
    page.locator("#n_ctx").select_option("16384")


def reading_about_the_model(page: Page) -> None:
    loaded(page)
    page.get_by_role("button", name="Model: ").click()


def preparing(page: Page) -> None:
    use_model(page, "slow.gguf")
    page.reload()
    expect(page.locator("#preparing-bytes")).to_contain_text("GB")


def offering_examples(page: Page) -> None:
    use_model(page, "demo.gguf")
    page.reload()
    expect(page.locator("body")).to_have_attribute("data-state", "ready")


def reading_the_card(page: Page) -> None:
    offering_examples(page)
    page.get_by_role("button", name="What it can do").click()
    expect(page.get_by_role("dialog")).to_contain_text("words")


def adjusting_the_demo(page: Page) -> None:
    offering_examples(page)
    page.get_by_role("button", name="Settings").click()


def considering(page: Page) -> None:
    choose_large(page, "gemma-4.gguf")
    expect(page.locator("#fit .card")).to_be_visible()


def measuring(page: Page) -> None:
    choose_large(page, "slow.gguf")
    expect(page.locator("#fit-stage")).to_have_text("Measuring this device")


def listing_models(page: Page) -> None:
    page.route("**/ollama/models.json", lambda route: route.fulfill(json=STORE))
    page.reload()
    page.get_by_text("Your Ollama models (2)").click()


STATES = [
    opened,
    loading,
    loaded,
    talked,
    failed,
    refused,
    adjusting,
    reading_about_the_model,
    preparing,
    offering_examples,
    reading_the_card,
    adjusting_the_demo,
    listing_models,
    considering,
    measuring,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_is_named_readable_and_fits(ui, state):
    ui.emulate_media(reduced_motion="reduce")
    state(ui)
    expect_accessible(ui)


def test_checks_find_what_they_are_for(ui):
    ui.evaluate(
        """() => {
          const pale = document.createElement('p');
          pale.style.color = 'rgb(200 200 200)';
          pale.style.minWidth = '3000px';
          pale.textContent = 'pale';
          const button = document.createElement('button');
          button.style.width = '9px';
          button.setAttribute('aria-describedby', 'nowhere');
          const region = document.createElement('div');
          region.setAttribute('role', 'region');
          region.setAttribute('aria-label', 'Same');
          const same = region.cloneNode();
          document.querySelector('.bar').append(pale, button, region, same);
          region.textContent = same.textContent = 'x';
        }"""
    )
    for name in (
        "lowContrast",
        "nameless",
        "dangling",
        "sameRegions",
        "tooWide",
        "tooSmall",
    ):
        assert len(check(ui, name)) == 1, name


def test_has_landmarks_and_a_language(ui):
    for role in ("banner", "main", "contentinfo"):
        expect(ui.get_by_role(role)).to_have_count(1)
    expect(ui.locator("html")).to_have_attribute("lang", "en")
    ids = ui.locator("[id]").evaluate_all("all => all.map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_can_be_used_by_keyboard_alone(ui):
    ui.keyboard.press("Tab")
    expect(ui.get_by_role("link", name="Skip to the message box")).to_be_focused()
    ui.keyboard.press("Tab")
    expect(ui.get_by_role("button", name="Settings")).to_be_focused()
    ui.keyboard.press("Enter")
    panel = ui.get_by_role("dialog", name="Settings")
    expect(panel).to_be_visible()
    ui.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(ui.get_by_role("button", name="Settings")).to_be_focused()
    # Whether a chooser then opens is the browser's business; that Enter asks, is ours.
    file = ui.locator("#file")
    file.evaluate(
        """input => input.addEventListener('click', (event) => {
          event.preventDefault();
          input.dataset.asked = 'yes';
        })"""
    )
    file.focus()
    ui.keyboard.press("Enter")
    expect(file).to_have_attribute("data-asked", "yes")


def test_focus_is_seen(ui):
    ui.keyboard.press("Tab")
    ui.keyboard.press("Tab")
    style = "node => getComputedStyle(node).outlineStyle"
    assert ui.get_by_role("button", name="Settings").evaluate(style) == "solid"
    ui.locator("#file").focus()
    ui.keyboard.press("Shift+Tab")
    ui.keyboard.press("Tab")
    assert ui.locator(".choose").evaluate(style) == "solid"


def test_only_finished_replies_are_announced(ui):
    loaded(ui)
    ui.evaluate(
        """() => {
          const announcer = document.getElementById('announcer');
          const note = () => window.heard.push(announcer.textContent);
          window.heard = [];
          new MutationObserver(note).observe(announcer, { childList: true });
        }"""
    )
    say(ui, "markdown")
    heard = ui.evaluate("window.heard")
    assert len(heard) == 1
    assert heard[0].startswith("Reply finished: A facet is one flat face")
    live = ui.locator("#conversation [aria-live], #conversation [role=log]")
    expect(live).to_have_count(0)


def test_motion_can_be_switched_off(ui):
    ui.emulate_media(reduced_motion="reduce")
    loading(ui)
    assert ui.evaluate("document.getAnimations().length") == 0
    ui.emulate_media(reduced_motion="no-preference")
    assert ui.evaluate("document.getAnimations().length") > 0
