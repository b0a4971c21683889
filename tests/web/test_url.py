"""Models by address: downloaded past faults, kept whole or not at all, opened again."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Worker, expect

from tests.web.conftest import (
    PATIENCE,
    Watch,
    choose,
    expect_state,
    say,
    use_fake_worker,
    use_model,
)
from tests.web.model_server import Faults, ModelServer, serving
from tests.web.test_accessibility import expect_accessible
from tests.web.test_end_to_end import LAST_DONE, MODELS, PROMPT, native, open_page
from tools import firefox

FIREFOX = Path(__file__).with_name("firefox_download.mjs")
DENSE = MODELS / "dense-q4_k_m.gguf"
# What the page alone is tested with: no engine reads it.
PLAIN = b"GGUF" + bytes(range(251)) * 12_000
# Bytes after which a slow server only trickles: not all of any file.
SLOW = 1_000_000

# Everything that the page has stored, by path, with its size.
STORED = """
async () => {
  const found = {};
  const walk = async (folder, path) => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === 'directory') await walk(handle, `${path}${name}/`);
      else found[path + name] = (await handle.getFile()).size;
    }
  };
  await walk(await navigator.storage.getDirectory(), '');
  return found;
}
"""
RECORD = """
async () => {
  const { listModels } = await import('./downloads/store.js');
  return (await listModels())[0] ?? null;
}
"""
FLIP_A_BYTE = """
async (at) => {
  const { listModels } = await import('./downloads/store.js');
  const [{ id, parts: [{ name }] }] = await listModels();
  const root = await navigator.storage.getDirectory();
  const downloads = await root.getDirectoryHandle('downloads');
  const folder = await downloads.getDirectoryHandle(id);
  const handle = await folder.getFileHandle(name);
  const file = await handle.getFile();
  const [byte] = new Uint8Array(await file.slice(at, at + 1).arrayBuffer());
  const writable = await handle.createWritable({ keepExistingData: true });
  const data = new Uint8Array([byte ^ 1]);
  await writable.write({ type: 'write', position: at, data });
  await writable.close();
}
"""
# What the list said meanwhile.
KEEP_NOTES = """
() => {
  window.notes = [];
  const list = document.querySelector('#downloads-list');
  const note = () => window.notes.push(list.textContent);
  new MutationObserver(note).observe(list, { subtree: true, childList: true });
}
"""
# So that no test waits for half a minute of new tries; that nothing arrives any more is
# found when a test says so, and not on a machine that is busy.
HURRY = """
() => {
  const { setTimeout: later, clearTimeout: forget } = self;
  let watchdog = null;
  self.setTimeout = (action, ms) => {
    if (ms < 30_000) return later(action, 0);
    watchdog = action;
    return 'watchdog';
  };
  self.clearTimeout = (id) => (id === 'watchdog' ? watchdog = null : forget(id));
  self.stall = () => watchdog();
}
"""
# What the browser says of answers that a test asked for.
EXPECTED_COMPLAINT = re.compile(r"Failed to load resource|CORS policy")


@pytest.fixture
def remote() -> Iterator[ModelServer]:
    """Run a server on another origin, with a file that needs no engine."""
    with serving() as opened:
        opened.files["plain.gguf"] = PLAIN
        yield opened


@pytest.fixture
def watch(site: str, remote: ModelServer) -> Iterator[Watch]:
    """Fail the test when the page asked anyone but the server that a person named."""
    watch = Watch(site)
    yield watch
    own = urlsplit(remote.url("")).netloc
    assert [url for url in watch.foreign() if urlsplit(url).netloc != own] == []
    complaints = [c for c in watch.complaints if not EXPECTED_COMPLAINT.search(c)]
    assert complaints == []


@pytest.fixture
def hurried(ui: Page, remote: ModelServer) -> Page:
    """Open the page with a download worker that does not wait."""
    download(ui, remote.url("absent.gguf"))
    problem(ui, "DownloadError")
    download_worker(ui).evaluate(HURRY)
    remote.log.clear()
    return ui


def download_worker(page: Page) -> Worker:
    """Return the worker that downloads, which is there once something was."""
    return next(w for w in page.workers if w.url.endswith("downloads/worker.js"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def download(page: Page, url: str, digest: str = "") -> None:
    """Type an address and ask for it."""
    page.locator("#downloads").evaluate("details => { details.open = true; }")
    page.get_by_label("Address of a .gguf file").fill(url)
    page.get_by_label("Its SHA-256, if you know it").fill(digest)
    page.get_by_role("button", name="Download", exact=True).click()


def wait_ready(page: Page) -> None:
    expect_state(page, "ready")


def line(page: Page, state: str):
    """Wait until the one model of the list is in that state, and return its line."""
    item = page.locator("li.download")
    expect(item).to_have_attribute("data-state", state)
    return item


def wait_partial(page: Page) -> None:
    """Wait until some of a download under way is here."""
    expect(page.locator("li.download")).to_contain_text(re.compile(r"\d [KM]B of"))


def wait_stored(page: Page) -> None:
    """Wait until some of a download under way would outlive the tab."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not (record := page.evaluate(RECORD)) or not record["parts"][0]["done"]:
        assert time.monotonic() < deadline, "nothing was stored"
        page.wait_for_timeout(50)


def problem(page: Page, kind: str):
    """Wait for an error of that type, and return its card."""
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", kind)
    return card


def act(page: Page, action: str) -> None:
    """Press a button of the one model in the list."""
    name = re.compile(f"^{action}")
    page.locator("li.download").get_by_role("button", name=name).click()


def expect_whole(page: Page, content: bytes = PLAIN) -> None:
    """Hold what is stored to what the server has."""
    record = page.evaluate(RECORD)
    assert record["complete"]
    assert [part["sha256"] for part in record["parts"]] == [sha256(content)]
    stored = page.evaluate(STORED)
    assert stored.pop(f"downloads/{record['id']}/.record")
    assert list(stored.values()) == [len(content)]
    act(page, "Verify")
    expect(page.locator("li.download")).to_contain_text("Verified")


# The whole path, with the engine


def test_downloads_chats_and_opens_again_without_the_server(page, site, remote):
    remote.files["dense.gguf"] = DENSE.read_bytes()
    open_page(page, site)
    download(page, remote.url("dense.gguf"), sha256(DENSE.read_bytes()))
    wait_ready(page)
    assert remote.log == [("GET", "/dense.gguf", "")]
    remote.shutdown()
    remote.server_close()
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids
    page.reload()
    item = line(page, "complete")
    expect(item).to_contain_text("1.79 MB · used")
    act(page, "Load")
    wait_ready(page)
    say(page, PROMPT, timeout=120_000)
    assert page.evaluate(LAST_DONE)["ids"] == native("dense-q4_k_m").ids


# Interruptions


def test_reload_goes_on_with_the_bytes_that_are_missing(ui, remote):
    remote.faults.slow_after = SLOW
    download(ui, remote.url("plain.gguf"))
    wait_stored(ui)
    ui.reload()
    item = line(ui, "partial")
    expect(item).to_contain_text("partly downloaded")
    done = ui.evaluate(RECORD)["parts"][0]["done"]
    assert 0 < done < len(PLAIN)
    remote.faults.slow_after = None
    act(ui, "Resume")
    wait_ready(ui)
    # A question beforehand (OPTIONS) would be in the log too.
    assert [entry[0] for entry in remote.log] == ["GET", "GET"]
    assert remote.ranges() == ["", f"bytes={done}-"]
    open_list(ui)
    expect_whole(ui)


def open_list(page: Page) -> None:
    """Show the list next to the model that is loaded."""
    page.get_by_role("button", name="Model: ").click()
    page.get_by_role("button", name="Choose another model").click()


def test_pause_keeps_what_is_there(ui, remote):
    remote.faults.slow_after = SLOW
    download(ui, remote.url("plain.gguf"))
    wait_partial(ui)
    act(ui, "Pause")
    line(ui, "partial")
    expect(ui.get_by_role("button", name="Resume")).to_be_focused()
    done = ui.evaluate(RECORD)["parts"][0]["done"]
    remote.faults.slow_after = None
    act(ui, "Resume")
    wait_ready(ui)
    assert remote.ranges() == ["", f"bytes={done}-"]


def test_dropped_connection_is_taken_up_again(hurried, remote):
    remote.faults.drops = [1_000_000, 500_000]
    download(hurried, remote.url("plain.gguf"))
    wait_partial(hurried)
    remote.may_break.release(2)
    wait_ready(hurried)
    first, second = (int(r[6:-1]) for r in remote.ranges()[1:])
    assert 0 < first <= 1_000_000
    assert first <= second <= first + 500_000
    open_list(hurried)
    expect_whole(hurried)


def test_connection_that_breaks_for_good_keeps_what_is_there(hurried, remote):
    remote.faults.drops = [1_000_000, *[0] * 20]
    download(hurried, remote.url("plain.gguf"))
    wait_partial(hurried)
    remote.may_break.release()
    card = problem(hurried, "DownloadError")
    expect(card).to_contain_text("The connection broke")
    expect(card).to_contain_text("What is here is kept")
    assert len(remote.ranges()) == 6  # the one that broke off, and five more
    line(hurried, "partial")
    remote.faults.drops = []
    card.get_by_role("button", name="Try again").click()
    wait_ready(hurried)
    assert int(remote.ranges()[-1][6:-1]) > 0
    open_list(hurried)
    expect_whole(hurried)


def test_server_that_stalls_is_asked_again(hurried, remote):
    remote.faults.slow_after = SLOW
    hurried.evaluate(KEEP_NOTES)
    download(hurried, remote.url("plain.gguf"))
    wait_partial(hurried)
    download_worker(hurried).evaluate("self.stall()")
    remote.faults.slow_after = None
    wait_ready(hurried)
    notes = hurried.evaluate("notes")
    assert any("Nothing arrives: trying again" in note for note in notes)


def test_busy_server_is_asked_again(hurried, remote):
    remote.faults.passing = [503] * 5  # one more is one too many
    hurried.evaluate(KEEP_NOTES)
    download(hurried, remote.url("plain.gguf"))
    wait_ready(hurried)
    assert remote.ranges() == [""] * 6
    assert any("503" in note for note in hurried.evaluate("notes"))


# A server that has something else now, or that cannot do what it should


def interrupted(page: Page, remote: ModelServer) -> int:
    """Download a part of the file; give how much."""
    remote.faults.slow_after = SLOW
    download(page, remote.url("plain.gguf"))
    wait_partial(page)
    act(page, "Pause")
    line(page, "partial")
    remote.faults.slow_after = None
    return page.evaluate(RECORD)["parts"][0]["done"]


@pytest.mark.parametrize("content", [PLAIN[::-1][:-4], PLAIN + b"more"], ids=len)
def test_file_that_changed_is_fetched_anew(ui, remote, content):
    interrupted(ui, remote)
    content = b"GGUF" + content[4:]
    remote.files["plain.gguf"] = content
    remote.faults.etag = '"second"'
    ui.evaluate(KEEP_NOTES)
    act(ui, "Resume")
    wait_ready(ui)
    assert remote.ranges()[-1] == ""
    assert any("has changed" in note for note in ui.evaluate("notes"))
    open_list(ui)
    expect_whole(ui, content)


def test_server_without_ranges_sends_all_again(ui, remote):
    interrupted(ui, remote)
    remote.faults.ranges = False
    ui.evaluate(KEEP_NOTES)
    act(ui, "Resume")
    wait_ready(ui)
    assert any("cannot go on" in note for note in ui.evaluate("notes"))
    open_list(ui)
    expect_whole(ui)


def test_server_that_hides_its_headers_will_do(ui, remote):
    remote.faults.exposed = ""  # Last-Modified and Content-Length are never hidden
    done = interrupted(ui, remote)
    act(ui, "Resume")
    wait_ready(ui)
    assert remote.ranges()[-1] == f"bytes={done}-"
    open_list(ui)
    expect_whole(ui)


def test_wrong_range_is_refused_and_what_is_there_kept(ui, remote):
    done = interrupted(ui, remote)
    remote.faults.content_range = f"bytes 7-{len(PLAIN) - 1}/{len(PLAIN)}"
    act(ui, "Resume")
    card = problem(ui, "DownloadError")
    expect(card).to_contain_text("another range")
    expect(card).to_contain_text(f"bytes {done}-{len(PLAIN) - 1}/{len(PLAIN)}")
    remote.faults.content_range = ""
    card.get_by_role("button", name="Try again").click()
    wait_ready(ui)
    open_list(ui)
    expect_whole(ui)


@pytest.mark.parametrize(
    ("faults", "texts"),
    [
        (Faults(status=404), ["HTTP status 404", "check the address"]),
        (Faults(status=403), ["HTTP status 403", "login"]),
        (Faults(cors=False), ["no connection", "CORS"]),
    ],
    ids=["absent", "closed", "no CORS"],
)
def test_refusal_is_explained_and_leaves_nothing(ui, remote, faults, texts):
    remote.faults = faults
    download(ui, remote.url("plain.gguf"))
    card = problem(ui, "DownloadError")
    for text in texts:
        expect(card).to_contain_text(text)
    assert ui.evaluate(STORED) == {}
    expect(ui.locator("li.download")).to_have_count(0)
    remote.faults = Faults()
    card.get_by_role("button", name="Try again").click()
    wait_ready(ui)


def test_web_page_is_no_model_and_leaves_nothing(ui, remote):
    remote.files["model"] = b"<!doctype html>" + bytes(10_000_000)
    download(ui, remote.url("model"))
    card = problem(ui, "FileFormatError")
    expect(card).to_contain_text("<!do")
    expect(card).to_contain_text("address of the download link")
    assert ui.evaluate(STORED) == {}


# Integrity


def test_damaged_byte_is_found_and_nothing_of_it_loaded(ui, remote):
    download(ui, remote.url("plain.gguf"))
    wait_ready(ui)
    ui.reload()
    line(ui, "complete")
    ui.evaluate(FLIP_A_BYTE, 2_000_000)
    damaged = bytearray(PLAIN)
    damaged[2_000_000] ^= 1
    act(ui, "Verify")
    card = problem(ui, "IntegrityError")
    for text in ("plain.gguf", sha256(damaged), sha256(PLAIN)):
        expect(card).to_contain_text(text)
    item = line(ui, "damaged")
    expect(item.get_by_role("button", name="Load plain")).to_be_hidden()
    ui.reload()
    expect(line(ui, "damaged")).to_contain_text("It is not loaded")
    act(ui, "Download again")
    wait_ready(ui)
    assert remote.ranges() == ["", ""]
    open_list(ui)
    expect_whole(ui)


@pytest.mark.parametrize("way", ["field", "address"])
def test_wrong_digest_is_told_and_the_right_one_taken(ui, remote, way):
    wrong = "0" * 64
    url = remote.url("plain.gguf")
    if way == "field":
        download(ui, url, wrong)
    else:
        download(ui, f"{url}#sha256={wrong}")
    card = problem(ui, "IntegrityError")
    for text in (sha256(PLAIN), wrong, "Nothing of it is loaded"):
        expect(card).to_contain_text(text)
    line(ui, "damaged")
    expect(ui.locator("body")).to_have_attribute("data-state", "empty")
    download(ui, url, f"{sha256(PLAIN)}  plain.gguf")
    wait_ready(ui)
    assert remote.ranges() == [""]  # what was here has been taken for what it is


def test_name_of_a_blob_is_its_digest(ui, remote):
    name = f"sha256-{sha256(PLAIN)}"
    remote.files[name] = PLAIN[:-1]
    download(ui, remote.url(name))
    expect(problem(ui, "IntegrityError")).to_contain_text(sha256(PLAIN))


# Room


def grant(page: Page, site: str, n_bytes: int) -> None:
    """Let the browser grant the page so many bytes in all."""
    session = page.context.new_cdp_session(page)
    origin = site.rstrip("/")
    session.send(
        "Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": n_bytes}
    )


def test_too_large_for_the_browser_is_refused_with_the_numbers(ui, site, remote):
    grant(ui, site, 1_000_000)
    download(ui, remote.url("plain.gguf"))
    card = problem(ui, "StorageError")
    for text in ("no room for plain.gguf", "Expected3.01 MB", "Nothing of it is left"):
        expect(card).to_contain_text(text)
    granted = re.search(r"Found(\d+) KB", card.text_content())
    assert 900 < int(granted[1]) < 1000  # what else is stored counts too
    assert ui.evaluate(STORED) == {}


def test_full_disk_midway_is_explained_and_leaves_nothing(ui, site, remote):
    remote.faults.sized = False  # so that the room cannot be taken beforehand
    grant(ui, site, 1_000_000)
    download(ui, remote.url("plain.gguf"))
    card = problem(ui, "StorageError")
    expect(card).to_contain_text("no room for plain.gguf")
    what_was_left = re.compile("(KB|bytes): the browser gives this page no more")
    expect(card).to_contain_text(what_was_left)
    assert ui.evaluate(STORED) == {}
    expect(ui.locator("li.download")).to_have_count(0)


def test_size_that_is_not_said_beforehand_will_do(ui, remote):
    remote.faults.sized = False
    download(ui, remote.url("plain.gguf"))
    wait_ready(ui)
    open_list(ui)
    expect_whole(ui)


def test_delete_asks_once_more_and_frees(ui, remote):
    download(ui, remote.url("plain.gguf"))
    wait_ready(ui)
    ui.reload()
    line(ui, "complete")
    expect(ui.locator("#downloads-room")).to_contain_text("Downloads take 3.01 MB.")
    act(ui, "Delete")
    assert ui.evaluate(STORED)
    ui.get_by_role("button", name="Really delete?").click()
    expect(ui.locator("li.download")).to_have_count(0)
    expect(ui.get_by_label("Address of a .gguf file")).to_be_focused()
    assert ui.evaluate(STORED) == {}
    assert ui.evaluate("navigator.storage.estimate().then(({ usage }) => usage)") < 1e6


def delete(page: Page) -> None:
    """Delete the one model in the list."""
    act(page, "Delete")
    page.get_by_role("button", name="Really delete?").click()


def test_download_that_runs_can_be_deleted(ui, remote):
    remote.faults.slow_after = SLOW
    download(ui, remote.url("plain.gguf"))
    wait_partial(ui)
    delete(ui)
    expect(ui.locator("li.download")).to_have_count(0)
    expect(ui.locator("#downloading")).to_be_hidden()
    expect(ui.get_by_role("alert")).to_have_count(0)
    assert ui.evaluate(STORED) == {}


def test_model_that_was_loaded_twice_at_once_can_be_deleted_later(ui, remote):
    download(ui, remote.url("plain.gguf"))
    wait_ready(ui)
    ui.reload()
    name = re.compile("^Load")
    line(ui, "complete").get_by_role("button", name=name).dblclick()
    wait_ready(ui)
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    open_list(ui)
    delete(ui)
    expect(ui.locator("li.download")).to_have_count(0)
    assert ui.evaluate(STORED) == {}


# Split models


def test_split_model_comes_whole_from_the_address_of_any_part(ui, remote):
    names = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        remote.files[name] = b"GGUF" + bytes([number]) * (1_000_000 + number)
    remote.faults.drops = [1_000_005, 300_000]  # the first is whole
    remote.may_break.release()
    digests = "\n".join(sha256(remote.files[name]) for name in names)
    download(ui, f"{remote.url(names[1])}?token=1", digests)
    wait_ready(ui)
    asked = [path for method, path, _ in remote.log if method == "GET"]
    assert asked == [f"/{names[i]}?token=1" for i in (0, 1, 1, 2)]
    expect(ui.locator("#model-chip")).to_be_visible()
    open_list(ui)
    expect(ui.locator("li.download")).to_contain_text("3.00 MB in 3 parts")
    record = ui.evaluate(RECORD)
    assert [part["name"] for part in record["parts"]] == names
    assert [part["done"] for part in record["parts"]] == [
        len(remote.files[name]) for name in names
    ]


def test_missing_part_is_named_and_the_others_kept(ui, remote):
    remote.files["big-00001-of-00002.gguf"] = PLAIN
    download(ui, remote.url("big-00001-of-00002.gguf"))
    card = problem(ui, "DownloadError")
    expect(card).to_contain_text("big-00002-of-00002.gguf")
    line(ui, "partial")
    remote.files["big-00002-of-00002.gguf"] = PLAIN
    remote.log.clear()
    act(ui, "Resume")
    wait_ready(ui)
    asked = [path for method, path, _ in remote.log if method == "GET"]
    assert asked == ["/big-00002-of-00002.gguf"]


def test_web_page_in_place_of_a_part_leaves_the_others(ui, remote):
    names = [f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    remote.files = {names[0]: PLAIN, names[1]: b"<!doctype html>" + bytes(100_000)}
    download(ui, remote.url(names[0]))
    expect(problem(ui, "FileFormatError")).to_contain_text(names[1])
    line(ui, "partial")
    remote.files[names[1]] = PLAIN
    remote.log.clear()
    act(ui, "Resume")
    wait_ready(ui)
    asked = [path for method, path, _ in remote.log if method == "GET"]
    assert asked == [f"/{names[1]}"]
    assert [part["done"] for part in ui.evaluate(RECORD)["parts"]] == [len(PLAIN)] * 2


# Tabs


def other_tab(page: Page, site: str) -> Page:
    """Open the page once more in the same browser."""
    other = page.context.new_page()
    use_fake_worker(other)
    use_model(other, None)
    other.goto(site)
    return other


def test_second_tab_waits_and_then_has_the_model(ui, site, remote):
    remote.faults.slow_after = SLOW
    download(ui, remote.url("plain.gguf"))
    wait_partial(ui)
    other = other_tab(ui, site)
    download(other, remote.url("plain.gguf"))
    expect(other.locator("li.download")).to_contain_text("another tab")
    remote.faults.slow_after = None
    wait_ready(ui)
    wait_ready(other)
    assert remote.ranges() == [""]


def test_model_that_is_loaded_is_not_deleted_under_it(ui, site, remote):
    download(ui, remote.url("plain.gguf"))
    wait_ready(ui)
    other = other_tab(ui, site)
    for page in (ui, other):
        if page is ui:
            open_list(page)
        line(page, "complete")
        delete(page)
        expect(problem(page, "StorageError")).to_contain_text("is in use")
    assert len(ui.evaluate(STORED)) == 2


def test_model_that_was_to_be_loaded_again_is_not_deleted_either(ui, remote):
    remote.files["soon.gguf"] = PLAIN  # takes long enough to be cancelled
    download(ui, remote.url("soon.gguf"))
    wait_ready(ui)
    open_list(ui)
    act(ui, "Load")
    expect_state(ui, "loading")
    ui.get_by_role("button", name="Cancel").click()
    expect_state(ui, "ready")
    open_list(ui)
    delete(ui)
    expect(problem(ui, "StorageError")).to_contain_text("is in use")
    assert len(ui.evaluate(STORED)) == 2


def test_chat_goes_on_while_a_model_is_downloaded(ui, site, remote):
    use_model(ui, "demo.gguf")
    ui.reload()
    wait_ready(ui)
    remote.faults.slow_after = SLOW
    download(ui, remote.url("plain.gguf"))
    say(ui, "Hello")
    expect(ui.locator("#download-bytes")).to_contain_text("of 3.01 MB")
    expect(ui.get_by_role("button", name="Pause the download")).to_be_visible()
    remote.faults.slow_after = None
    strip = ui.get_by_role("group", name="Download")
    expect(strip).to_contain_text("plain is downloaded.")
    expect(ui.locator(".bubble")).to_have_text("Hello")
    ui.get_by_role("button", name="Load it", exact=True).last.click()
    expect(ui.locator("#model-name")).to_have_text("Gemma 4 26B-A4B")
    expect(strip).to_be_hidden()


# The page


def test_only_the_download_worker_may_reach_another_origin(ui, watch, remote):
    fails = "url => fetch(url).then(() => false, () => true)"
    while not ui.workers:
        ui.wait_for_timeout(50)
    (engine,) = ui.workers
    # The fake engine is served with the policy of the real one.
    for place in (ui, engine):
        assert place.evaluate(fails, remote.url("plain.gguf"))
    assert remote.log == []
    refusals = [c for c in watch.complaints if "Content Security Policy" in c]
    assert len(refusals) >= 2
    watch.complaints.clear()


def no_address(page: Page, remote: ModelServer) -> None:
    download(page, "gemma 4")
    expect(problem(page, "DownloadError")).to_contain_text("no address")


def downloading(page: Page, remote: ModelServer) -> None:
    remote.faults.slow_after = SLOW
    download(page, remote.url("plain.gguf"))
    expect(page.locator("li.download .loading-figures")).to_contain_text("of 3.01 MB")


def partly(page: Page, remote: ModelServer) -> None:
    interrupted(page, remote)


def damaged(page: Page, remote: ModelServer) -> None:
    download(page, remote.url("plain.gguf"), "0" * 64)
    line(page, "damaged")
    act(page, "Delete")
    expect(page.get_by_role("button", name="Really delete?")).to_be_visible()


@pytest.mark.parametrize(
    "state", [no_address, downloading, partly, damaged], ids=lambda s: s.__name__
)
def test_is_named_readable_and_fits(ui, remote, state):
    state(ui, remote)
    expect_accessible(ui)


# Another browser


def test_firefox_goes_on_verifies_and_loads(site, remote):
    remote.files["dense.gguf"] = DENSE.read_bytes()
    remote.faults.slow_after = SLOW
    reply = subprocess.run(
        firefox.command(FIREFOX, site, remote.url("dense.gguf")),
        env=firefox.variables(),
        capture_output=True,
        text=True,
    )
    assert reply.returncode == 0, reply.stderr[-3000:]
    seen = json.loads(reply.stdout)
    assert seen["complaints"] == []
    assert "partly downloaded" in seen["status"]
    first, rest = remote.ranges()
    assert first == ""
    assert 0 < int(rest[6:-1]) < len(remote.files["dense.gguf"])
