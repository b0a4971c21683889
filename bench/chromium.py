"""The engines that run in Chromium: our own page's worker, and wllama.

Both are driven by messages in one page of one browser, without the page's own scripts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright

from bench import peers
from bench.first_reply import FLAGS, served
from bench.players import BROWSER, PlayerError, Run, run_of
from bench.prompts import Model, Prompt
from tools import bundle, environment

SCRIPT = Path(__file__).with_suffix(".js")
TIMEOUT = 600_000  # milliseconds of one reply, in software


class Tab:
    """One page in one browser, started when the first engine wants it."""

    def __init__(self, model: Model, stack: ExitStack, with_wllama: bool) -> None:
        self._model, self._stack, self._with_wllama = model, stack, with_wllama
        self._page: Page | None = None
        self.browser = ""

    @property
    def urls(self) -> list[str]:
        """Return where the model's files are served."""
        return [f"/models/{path.name}" for path in self._model.files]

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of bench/chromium.js. Raises: PlayerError."""
        try:
            if self._page is None:
                self._page = self._open()
            return self._page.evaluate(
                f"(given) => bench.{function}(...given)", list(arguments)
            )
        except Error as error:
            raise PlayerError(error.message.splitlines()[0]) from error

    def _open(self) -> Page:
        site = self._stack.enter_context(serving(self._model, self._with_wllama))
        playwright = self._stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=environment.find_chromium(), args=list(FLAGS)
        )
        self._stack.callback(browser.close)
        self.browser = f"Chromium {browser.version}"
        # wllama makes its workers of text, which our own policy does not allow.
        page = browser.new_context(bypass_csp=True).new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(f"{site}style.css")  # the page's origin without its scripts
        page.evaluate(SCRIPT.read_text(encoding="utf-8"))
        return page


class Ours:
    """Our own engine in its worker."""

    name = host = BROWSER

    def __init__(self, tab: Tab, n_ctx: int) -> None:
        self._tab = tab
        self.about: dict[str, Any] = tab.call("ours.load", tab.urls, n_ctx)
        self.about["browser"] = tab.browser
        self.copy_bytes_per_second = self.about["copy_bytes_per_second"]

    def play(self, prompt: Prompt, n: int) -> Run:
        """Let the worker render and answer the message."""
        if not prompt.text:
            raise PlayerError("this file has no vocabulary, and the page takes text")
        return run_of(self._tab.call("ours.play", prompt.text, n))

    def close(self) -> None:
        """Leave it to the browser."""


class Wllama:
    """llama.cpp in WebAssembly: on WebGPU that has shader-f16, else on the CPU."""

    name, host = peers.WLLAMA, BROWSER

    def __init__(self, tab: Tab, n_ctx: int) -> None:
        self._tab = tab
        self.about: dict[str, Any] = tab.call("theirs.load", tab.urls, n_ctx)
        self.about["package"] = peers.NPM_PACKAGE
        self.copy_bytes_per_second = 0.0
        self._ids: dict[tuple[Prompt, int], tuple[int, ...]] = {}

    def play(self, prompt: Prompt, n: int) -> Run:
        """Continue the rendered prompt, for it takes no ids."""
        known = (prompt, n) in self._ids
        reply = self._tab.call("theirs.play", prompt.rendered, n, not known)
        run = run_of(reply)
        if run.n_prompt != len(prompt.ids):
            raise PlayerError(
                f"it reads {run.n_prompt} tokens where we read {len(prompt.ids)}"
            )
        ids = self._ids.setdefault((prompt, n), run.ids)
        return replace(run, ids=ids)

    def close(self) -> None:
        """Leave it to the browser."""


def starts(
    model: Model, n_ctx: int, stack: ExitStack, with_wllama: bool
) -> dict[str, Callable[[], Ours | Wllama]]:
    """Return how to start what runs in the browser, ours first."""
    tab = Tab(model, stack, with_wllama)
    found: dict[str, Callable[[], Ours | Wllama]] = {BROWSER: lambda: Ours(tab, n_ctx)}
    if with_wllama:
        found[peers.WLLAMA] = lambda: Wllama(tab, n_ctx)
    return found


@contextmanager
def serving(model: Model, with_wllama: bool) -> Iterator[str]:
    """Bundle the page, the model and the peer beside it; gives the address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle.fill(folder)
        for path in model.files:
            place(path, folder / "models" / path.name)
        if with_wllama:
            shutil.copytree(peers.wllama(), folder / "wllama")
        with served(folder) as url:
            yield url


def place(path: Path, target: Path) -> None:
    """Have a file at a second place, without a copy where the disk allows."""
    if target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
