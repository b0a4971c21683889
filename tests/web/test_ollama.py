"""Ollama's models in a real browser: from the local server, and from its folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.samples.ollama_store import add_model, blob_of, make_store
from tests.web.conftest import say, use_model
from tests.web.test_end_to_end import (
    KEEP_MESSAGES,
    LAST_DONE,
    MODELS,
    N_TOKENS,
    PROMPT,
    native,
    open_page,
)
from tools.model_store import ModelStore
from tools.server import PageServer

NAME = "gemma4:tiny"
# Puts a store where a page may write, and answers the request for a folder with it.
# What a person would be asked is granted without asking there.
GIVE_FOLDER = """
async (files) => {
  const root = await navigator.storage.getDirectory();
  const store = await root.getDirectoryHandle('models', { create: true });
  for (const [path, content] of Object.entries(files)) {
    const parts = path.split('/');
    let folder = store;
    for (const part of parts.slice(0, -1)) {
      folder = await folder.getDirectoryHandle(part, { create: true });
    }
    const file = await folder.getFileHandle(parts.at(-1), { create: true });
    const writable = await file.createWritable();
    await writable.write(Uint8Array.fromBase64(content));
    await writable.close();
  }
  window.showDirectoryPicker = async () => store;
}
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a store with a model that works and one that cannot."""
    folder = make_store(tmp_path / "models", {NAME: MODELS / "dense-q4_k_m.gguf"})
    remote = {"remote_model": "big", "remote_host": "https://ollama.com:443"}
    add_model(folder, "gemma4:big-cloud", [], config=remote)
    return folder


@pytest.fixture
def serving(served: PageServer, store: Path) -> Iterator[None]:
    """Let the local server offer the store's models."""
    before, served.store = served.store, ModelStore(str(store))
    yield
    served.store = before


def contents(store: Path) -> dict[str, str]:
    """Return the files of a store by path, as GIVE_FOLDER takes them."""
    return {
        path.relative_to(store).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in store.rglob("*")
        if path.is_file()
    }


def models(page: Page) -> list[str]:
    """Open the list of models and return what it says of each."""
    expect(page.locator("#ollama-title")).to_have_text("Your Ollama models (2)")
    page.locator("#ollama-title").click()
    return page.get_by_role("list", name="Your Ollama models").locator("li").all()


def choose_model(page: Page) -> None:
    """Load the model from the list, and check that it answers like the file."""
    offer(page, NAME).click()
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


def open_folder(page: Page) -> None:
    """Show the way to a folder and take it."""
    page.locator("#ollama-title").click()
    page.get_by_role("button", name="Open Ollama’s folder").click()


def test_local_server_offers_the_models(page, site, serving):
    open_page(page, site)
    tiny, cloud = models(page)  # by name the other way round
    expect(tiny).to_contain_text("5.1B · Q4_K_M · 1.79 MB")
    expect(cloud.get_by_role("button")).to_be_disabled()
    expect(cloud).to_contain_text("runs in Ollama's cloud")
    choose_model(page)
    page.get_by_role("button", name="Model: ").click()
    expect(page.get_by_role("dialog")).to_contain_text("sha256-")


def test_another_model_can_be_taken_from_the_list_later(page, site, serving):
    open_page(page, site)
    models(page)
    choose_model(page)
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("button", name="Choose another model").click()
    expect(page.get_by_label("Choose a model file")).to_be_focused()
    expect(page.locator(".bubble")).to_be_visible()
    expect(offer(page, NAME)).to_be_visible()
    say(page, PROMPT, timeout=120_000)
    expect(offer(page, NAME)).to_be_hidden()


def prompt_lengths(page: Page, *names: str) -> list[int]:
    """Return how many tokens the same message makes for each model of the list."""
    lengths = []
    for name in names:
        offer(page, name).click()
        body = page.locator("body")
        expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
        say(page, PROMPT, timeout=120_000)
        lengths.append(page.evaluate(LAST_DONE)["n_prompt"])
        page.get_by_role("button", name="New chat").click()  # else it is told again
        page.get_by_role("button", name="Model: ").click()
        page.get_by_role("button", name="Choose another model").click()
    return lengths


def test_system_prompt_of_a_model_is_kept(page, site, store, serving):
    weights = MODELS / "dense-q4_k_m.gguf"
    make_store(store, {"gemma4:french": weights}, system="Answer in French.")
    open_page(page, site)
    page.locator("#ollama-title").click()
    french, plain = prompt_lengths(page, "gemma4:french", NAME)
    assert french > plain + len("Answer in French.".split())


OPTIONS = {"temperature": 0, "num_predict": 8, "num_ctx": 192, "mirostat": 1}


def use_no_settings(page: Page) -> None:
    """Open the page as a person does who has never changed a setting."""
    use_model(page, None)
    page.add_init_script(KEEP_MESSAGES)


def expect_own_settings(page: Page) -> None:
    """Load the model and find its own settings in the panel and in a reply."""
    offer(page, NAME).click()
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#profile-note")).to_contain_text(f"{NAME} brings settings")
    expect(page.get_by_label("Temperature")).to_have_value("0")
    expect(page.get_by_label("Longest reply")).to_have_value("8")
    expect(page.locator("#n_ctx")).to_contain_text("Auto: 192")
    page.get_by_role("button", name="Done").click()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids[:8]
    page.get_by_role("button", name="Model: ").click()
    panel = page.get_by_role("dialog", name="Model", exact=True)
    expect(panel).to_contain_text("192 tokens")
    expect(panel).to_contain_text("Options not used here: mirostat.")
    page.keyboard.press("Escape")


def test_settings_of_a_model_hold_until_a_person_changes_them(
    page, site, store, serving
):
    make_store(store, {NAME: MODELS / "dense-q4_k_m.gguf"}, params=OPTIONS)
    use_no_settings(page)
    page.goto(site)
    models(page)
    expect_own_settings(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Longest reply").fill("3")
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="New chat").click()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids[:3]


def test_settings_of_a_model_in_a_folder_are_used(page, site, store):
    make_store(store, {NAME: MODELS / "dense-q4_k_m.gguf"}, params=OPTIONS)
    use_no_settings(page)
    page.goto(site)
    page.evaluate(GIVE_FOLDER, contents(store))
    open_folder(page)
    expect_own_settings(page)


def test_stop_text_of_a_model_ends_its_replies(page, site, store, serving):
    text = native("dense-q4_k_m").text
    stop = text[len(text) // 3 :][:4]
    params = {"temperature": 0, "num_predict": N_TOKENS, "stop": stop}
    make_store(store, {NAME: MODELS / "dense-q4_k_m.gguf"}, params=params)
    use_no_settings(page)
    page.goto(site)
    models(page)
    offer(page, NAME).click()
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=60_000)
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["reason"] == "stop"
    tokens = page.evaluate("messages.filter(({ kind }) => kind === 'token')")
    assert "".join(token["text"] for token in tokens) == text[: text.index(stop)]


def test_name_of_a_model_tells_its_template(page, site, store, serving):
    make_store(store, {"gemma4:26b": MODELS / "dense-q4_k_m.gguf"})
    open_page(page, site)
    page.locator("#ollama-title").click()
    large, small = prompt_lengths(page, "gemma4:26b", NAME)
    assert large > small  # the large models' template answers without a thought


def damage(blob: Path) -> str:
    """Change one byte in the middle of a blob and return its SHA-256 now."""
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()  # it may be a link to the tests' own file
    blob.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def offer(page: Page, name: str) -> Locator:
    """Return the button that loads a model of the list, not the one that checks it."""
    return page.locator("button.model", has_text=name)


def check_file(page: Page) -> Locator:
    """Check the file of the one model that can be loaded."""
    page.get_by_role("button", name=f"Check {NAME} for damage").click()
    return page.get_by_role("dialog", name="Check the file")


def test_damaged_byte_is_found_on_the_server(page, site, store, serving):
    open_page(page, site)
    models(page)
    panel = check_file(page)
    expect(panel).to_contain_text("The file is intact", timeout=60_000)
    page.keyboard.press("Escape")
    blob = blob_of(store, NAME)
    digest = damage(blob)
    card = check_file(page).get_by_role("alert")
    expect(card).to_have_attribute("data-type", "FileFormatError", timeout=60_000)
    expect(card).to_contain_text(f"The blob {blob.name} is damaged")
    expect(card).to_contain_text(f"SHA-256 {digest}")
    expect(card).to_contain_text(f"ollama pull {NAME}")


def test_damaged_byte_is_found_in_a_folder(page, site, store):
    digest = damage(blob_of(store, NAME))
    open_page(page, site)
    page.evaluate(GIVE_FOLDER, contents(store))
    open_folder(page)
    card = check_file(page).get_by_role("alert")
    expect(card).to_contain_text(f"SHA-256 {digest}", timeout=60_000)
    expect(card).to_contain_text(f"ollama pull {NAME}")


def test_dropped_blob_that_cannot_be_loaded_can_be_checked(page, site, store):
    blob = blob_of(store, NAME)
    data = bytearray(blob.read_bytes())
    data[4] = 9  # the version of the format
    blob.unlink()
    blob.write_bytes(data)
    open_page(page, site)
    page.set_input_files("#file", blob)
    page.get_by_role("alert").get_by_role("button", name="Check the file").click()
    card = page.get_by_role("dialog", name="Check the file").get_by_role("alert")
    expect(card).to_contain_text(f"The blob {blob.name} is damaged", timeout=60_000)


def test_no_models_are_offered_where_there_are_none(page, site):
    use_model(page, None)
    with page.expect_response("**/ollama/models.json"):
        page.goto(site)
    expect(page.locator("#ollama-title")).to_have_text("Already have models in Ollama?")
    expect(page.locator("#ollama-models")).to_be_hidden()


def test_opened_folder_is_read_in_place_and_remembered(page, site, store):
    open_page(page, site)
    page.evaluate(GIVE_FOLDER, contents(store))
    open_folder(page)
    # The list needs the engine, which has only begun to start.
    button = offer(page, NAME)
    expect(button).to_be_focused(timeout=60_000)
    choose_model(page)
    page.reload()
    page.locator("#ollama-title").click()
    page.get_by_role("button", name="Reopen “models”").click()
    expect(offer(page, NAME)).to_be_visible(timeout=60_000)
    expect(page.locator("#ollama-title")).to_have_text("Your Ollama models (2)")


def test_folder_is_chosen_as_files_where_there_is_no_picker(page, site, store):
    page.add_init_script("delete window.showDirectoryPicker;")
    open_page(page, site)
    page.locator("#ollama-title").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open Ollama’s folder").click()
    chooser.value.set_files(store)
    expect(offer(page, NAME)).to_be_visible(timeout=60_000)
    choose_model(page)


def test_another_folder_is_explained(page, site, tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "gem.txt").write_text("no store")
    page.add_init_script("delete window.showDirectoryPicker;")
    open_page(page, site)
    page.set_input_files("#folder", other)
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "SourceError", timeout=60_000)
    expect(card).to_contain_text("No Ollama store")
    expect(page.locator("body")).to_have_attribute("data-state", "empty")
