"""A real Chromium with WebGPU, watched: no foreign request, no error in the console."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tools import bundle, environment, server
from tools.model_store import ModelStore

# Milliseconds that a condition may take to come true. A machine that does other things
# besides is slow, not wrong: no test is the faster for a shorter wait.
PATIENCE = 90_000
expect.set_options(timeout=PATIENCE)

FAKE_WORKER = Path(__file__).with_name("fake_worker.js")
CARD = """# A small demo

It **reverses**
words.

| | |
|---|---|
| Size | small |

```
python -m a.command --that-is-wider-than-a-phone --and-then-some --options=here
second line
```

- one item
  of two lines
- another
"""

# SwiftShader is offered only behind the first flag. The others keep the browser itself
# from looking up its maker's hosts, and the resolver rule makes any other host fail.
CHROMIUM_FLAGS = (
    "--enable-unsafe-webgpu",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="session")
def dist() -> Path:
    """Bundle the page, as `build.py bundle` does."""
    return bundle.bundle()


@pytest.fixture(scope="session")
def served(
    dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[server.PageServer]:
    """Serve the bundle, as `build.py serve` does where Ollama has no models."""
    nothing = ModelStore(str(tmp_path_factory.mktemp("nothing")))
    opened = server.open_server(dist, 0, store=nothing)
    threading.Thread(target=opened.serve_forever, daemon=True).start()
    yield opened
    opened.shutdown()
    opened.server_close()


@pytest.fixture(scope="session")
def site(served: server.PageServer) -> str:
    """Give the address of the page."""
    return served.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one Chromium for a file's tests.

    Not for all: while Playwright runs, so does its event loop, and other files' tests
    want their own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            # The full browser: the headless shell has no WebGPU.
            executable_path=environment.find_chromium(),
            args=list(CHROMIUM_FLAGS),
        )
        yield browser
        browser.close()


class Watch:
    """Keeps what a page asked for and complained about."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def attach(self, context: BrowserContext) -> None:
        """Listen to every page and worker of a context."""
        context.on("request", self.on_request)
        context.on("console", self.on_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def on_request(self, request: Request) -> None:
        """Remember the address."""
        self.requests.append(request.url)

    def on_console(self, message: ConsoleMessage) -> None:
        """Remember errors; a test that expects one removes it."""
        if message.type == "error":
            self.complaints.append(message.text)

    def foreign(self) -> list[str]:
        """Return the requests that left the page's own origin."""
        own = urlsplit(self.site).netloc
        local = ("data", "blob")
        parts = [(url, urlsplit(url)) for url in self.requests]
        return [u for u, p in parts if p.scheme not in local and p.netloc != own]


@pytest.fixture
def watch(site: str) -> Iterator[Watch]:
    """Fail the test when the page asked for anything foreign or wrote an error."""
    watch = Watch(site)
    yield watch
    assert watch.requests, "nothing was recorded, so nothing was proven"
    assert watch.foreign() == []
    assert watch.complaints == []


@pytest.fixture
def context(browser: Browser, watch: Watch) -> Iterator[BrowserContext]:
    """Give a fresh, watched profile."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    watch.attach(context)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Give an empty page."""
    return context.new_page()


@pytest.fixture
def ui(page: Page, site: str) -> Page:
    """Open the page, without a model, with a worker that only plays the engine."""
    use_fake_worker(page)
    use_model(page, None)
    page.goto(site)
    return page


SHOW_SHADERS = """
const create = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const { label, code } = descriptor;
  self.postMessage({ id: 0, kind: 'shader', label, code });
  return create.call(this, descriptor);
};
"""

LOSE_DEVICE = """
const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...options) {
  const device = await request.apply(this, options);
  new BroadcastChannel('lose-device').onmessage = () => device.destroy();
  return device;
};
"""


def use_fake_worker(page: Page, *, software: bool = False) -> None:
    """Answer the request for the worker with the one that plays scenes."""
    script = FAKE_WORKER.read_text(encoding="utf-8")
    if software:
        script = script.replace("SOFTWARE = false", "SOFTWARE = true")
    replace_worker(page, script)


def use_model(page: Page, name: str | None) -> None:
    """Let the bundle hold a model of that name, or none."""
    model = {"url": f"embedded/{name}", "size": 5_900_000, "card": "embedded/card.txt"}
    manifest = {"model": model if name else None}
    page.route("**/manifest.json", lambda route: route.fulfill(json=manifest))
    page.route("**/embedded/card.txt", lambda route: route.fulfill(body=CARD))


def use_worker_with(page: Page, prelude: str) -> None:
    """Run a script in the worker before its own."""
    worker = Path(__file__).resolve().parents[2] / "web/engine/worker.js"
    replace_worker(page, prelude + worker.read_text(encoding="utf-8"))


def replace_worker(page: Page, script: str) -> None:
    """Answer the request for the worker with another script."""
    headers = {**server.HEADERS, "Content-Type": server.TYPES[".js"]}
    page.route(
        "**/engine/worker.js", lambda route: route.fulfill(body=script, headers=headers)
    )


def choose(page: Page, name: str, content: bytes = b"GGUF") -> None:
    """Choose a file of that name, as through the file dialog."""
    page.set_input_files(
        "#file",
        [{"name": name, "mimeType": "application/octet-stream", "buffer": content}],
    )


# The page reads them when it gets to it: they stay until the tests are over.
_LARGE = tempfile.TemporaryDirectory()


def choose_large(page: Page, name: str) -> None:
    """Choose a file of that name that is large and has nothing in it."""
    path = Path(_LARGE.name, name)
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(1_200_000_000)
    page.set_input_files("#file", path)


def say(page: Page, text: str, *, wait: bool = True, timeout: float = PATIENCE) -> None:
    """Send a message, and wait until the page is ready for the next."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    if wait:
        expect_state(page, "ready", timeout)


def sent(page: Page) -> dict[str, Any]:
    """Say `echo`, and return what the engine that only plays was sent."""
    say(page, "echo")
    return json.loads(last_reply(page))


def last_reply(page: Page) -> str:
    """Return the text of the last reply."""
    return page.locator(".reply .prose:not(.thoughts)").last.inner_text()


def expect_state(page: Page, state: str, timeout: float = PATIENCE) -> None:
    """Wait until the page is in that state."""
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", state, timeout=timeout)
