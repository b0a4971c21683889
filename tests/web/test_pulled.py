"""The page with real models that were pulled; a fake worker plays them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from pyodide_app.pulled import cache
from pyodide_app.pulled.catalogue import GEMMA3, SMOLLM2, PackagedModel
from tests.web.conftest import (
    choose,
    expect_state,
    sent,
    use_fake_worker,
    use_model,
)


def line(model: PackagedModel, *, is_here: bool) -> dict[str, Any]:
    """Return a line of the local server's list."""
    known = {k: v for k, v in cache.describe(model).items() if k != "path"}
    weights = [{"blob": model.blob, "size": model.size}] if is_here else None
    return known | {"problem": None, "weights": weights}


def open_page(page: Page, site: str, *here: PackagedModel, software: bool) -> Page:
    models = [line(model, is_here=model in here) for model in (SMOLLM2, GEMMA3)]
    use_fake_worker(page, software=software)
    use_model(page, "demo.gguf")
    page.route(
        "**/pulled/models.json", lambda route: route.fulfill(json={"models": models})
    )
    page.goto(site)
    return page


def cards(page: Page) -> Locator:
    return page.get_by_role("list", name="Models here").get_by_role("listitem")


def test_opens_with_the_real_one_on_a_gpu(page: Page, site: str) -> None:
    open_page(page, site, SMOLLM2, software=False)
    expect_state(page, "ready")
    expect(page.get_by_role("button", name="Model: SmolLM2")).to_be_visible()
    real, base = cards(page).first, page.locator("#more-list")
    expect(real).to_contain_text("SmolLM2 135M Instruct")
    expect(real).to_contain_text("Apache-2.0 · 135M parameters · Q4_1")
    expect(real.locator(".demo-head .figures")).to_have_text("ready")
    expect(real.get_by_role("button")).to_be_hidden()
    for width, height in ((1280, 860), (420, 844)):
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#downloads-title")).to_be_in_viewport(ratio=1)
    page.get_by_text("More real models").click()
    expect(base).to_contain_text("continues texts in many languages")
    expect(base).to_contain_text("Gemma Terms of Use")
    expect(base.locator("code")).to_have_text("lapidary pull gemma3:270m --accept")
    examples = page.get_by_role("list", name="Examples to try").get_by_role("button")
    expect(examples.last).to_contain_text("rainy Sunday")
    sampling = sent(page)["sampling"]  # as its authors use it
    assert (sampling["temperature"], sampling["top_p"]) == (0.2, 0.9)
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="Load it (5.90 MB)").click()
    expect(page.get_by_role("button", name="Model: A small demo")).to_be_visible()
    expect(examples.first).to_have_text("What is 47 + 38?")
    expect(real.get_by_role("button")).to_have_text("Load it (98.4 MB)")


def test_in_software_it_opens_with_the_small_one_and_tells_the_others_speed(
    page: Page, site: str
) -> None:
    open_page(page, site, SMOLLM2, software=True)
    expect_state(page, "ready")
    expect(page.get_by_role("button", name="Model: A small demo")).to_be_visible()
    real = cards(page).first
    expect(real).to_contain_text("at most 60.0 tok/s on this adapter")
    real.get_by_role("button", name="Load it (98.4 MB)").click()
    expect(page.get_by_role("button", name="Model: SmolLM2")).to_be_visible()
    expect_state(page, "ready")
    expect(page.locator("#demo-status")).to_have_text("")


@pytest.mark.parametrize("here", [(), (GEMMA3,)], ids=["none", "base"])
def test_without_one_that_converses_it_opens_with_the_small_one(
    page: Page, site: str, here: tuple[PackagedModel, ...]
) -> None:
    open_page(page, site, *here, software=False)
    expect(page.get_by_role("button", name="Model: A small demo")).to_be_visible()
    if not here:
        expect(cards(page)).to_have_count(0)
        page.get_by_text("More real models").click()
        command = page.locator("#more-list code").first
        expect(command).to_have_text("lapidary pull smollm2:135m")


def test_a_person_who_was_quicker_is_left_alone(page: Page, site: str) -> None:
    open_page(page, site, SMOLLM2, software=False)
    choose(page, "gemma-4.gguf")
    expect(page.get_by_role("button", name="Model: Gemma 4 26B-A4B")).to_be_visible()
    assert len(sent(page)["messages"]) == 1
