"""Measure from opening the page to the first token of a reply, cold and warm.

    python -m bench.first_reply [-n 5] [--model FILE]

A cold run is a browser that has never seen the page: no cache of any kind. The warm
one opens the page again in the same browser. The question is an example of the page,
asked as soon as it can be, while the model is still loading.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from bench import arguments
from tools import bundle, environment, server

FLAGS = ("--enable-unsafe-webgpu", "--no-sandbox", "--no-first-run")
AIMS = {"cold": 6.0, "warm": 4.0}  # seconds, on two cores with SwiftShader
TIMEOUT = 120_000  # milliseconds

# What the page and its worker say to each other, with the time of each first.
KEEP_TIMES = """
(() => {
  const { Worker } = window;
  window.times = {};
  const note = (name) => { window.times[name] ??= performance.now(); };
  const heard = ({ kind, stage, done, info, text }) => {
    if (kind === 'progress' && (stage !== 'runtime' || done)) note(stage);
    if (kind === 'done' && info) note('loaded');
    if (kind === 'token') note('token');
  };
  window.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      note('worker');
      this.addEventListener('message', ({ data }) => heard(data));
    }

    postMessage(message, ...rest) {
      if (message.kind === 'generate') note('generate');
      super.postMessage(message, ...rest);
    }
  };
})();
"""
# Each phase ends with what is kept under this name, and begins where the one before
# ended.
PHASES = {
    "page": "worker",
    "runtime boot": "runtime",
    "request": "fetch",
    "fetching, adapter": "header",
    "header": "tokenizer",
    "tokenizer": "weights",
    "weights": "pipelines",
    "pipelines": "loaded",
    "prefill": "token",
}

Times = Mapping[str, float]  # seconds since the page was asked for


def phases(times: Times) -> dict[str, float]:
    """Return how long each phase took, in seconds."""
    ends = [times[name] for name in PHASES.values()]
    begins = [0.0, *ends[:-1]]
    return {
        phase: end - begin
        for phase, begin, end in zip(PHASES, begins, ends, strict=True)
    }


def open_once(context: BrowserContext, url: str) -> Times:
    """Open the page, ask an example, and return when what happened."""
    page = context.new_page()
    page.add_init_script(KEEP_TIMES)
    page.goto(url, wait_until="commit")
    page.locator("#examples button").first.click(timeout=TIMEOUT)
    page.locator(".reply .block, .problem").first.wait_for(timeout=TIMEOUT)
    if page.locator(".problem").count():
        raise SystemExit(page.locator(".problem").inner_text())
    times = page.evaluate("window.times")
    page.close()
    return {name: milliseconds / 1000 for name, milliseconds in times.items()}


def measure(browser: Browser, url: str) -> dict[str, Times]:
    """Return the times of a first and of a second opening in one browser."""
    context = browser.new_context()
    return {"cold": open_once(context, url), "warm": open_once(context, url)}


@contextlib.contextmanager
def serving(model: Path) -> Iterator[str]:
    """Bundle the page with the model and serve it; gives the address."""
    with tempfile.TemporaryDirectory() as folder:
        bundle.fill(Path(folder), model)
        with served(Path(folder)) as url:
            yield url


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; gives the address."""
    site = server.open_server(folder, 0)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        yield site.url
    finally:
        site.shutdown()
        site.server_close()


def run(url: str, n_runs: int) -> dict[str, list[Times]]:
    """Return the times of several runs, each in a browser of its own."""
    runs: dict[str, list[Times]] = {name: [] for name in AIMS}
    with sync_playwright() as playwright:
        for _ in range(n_runs):
            browser = playwright.chromium.launch(
                executable_path=environment.find_chromium(), args=list(FLAGS)
            )
            for name, times in measure(browser, url).items():
                runs[name].append(times)
            browser.close()
    return runs


def report(runs: Mapping[str, Sequence[Times]]) -> None:
    """Print the median of each phase, and what dominates."""
    medians = {
        name: {
            phase: statistics.median(phases(times)[phase] for times in found)
            for phase in PHASES
        }
        for name, found in runs.items()
    }
    print(f"{'seconds, median':24}", *(f"{name:>8}" for name in runs))
    for phase in PHASES:
        print(f"{phase:24}", *(f"{medians[name][phase]:8.2f}" for name in runs))
    print("-" * (24 + 9 * len(runs)))
    for name, found in runs.items():
        totals = [times["token"] for times in found]
        total = statistics.median(totals)
        largest = max(PHASES, key=medians[name].__getitem__)
        share = medians[name][largest] / total
        print(
            f"{name}: first token after {total:.2f} s"
            f" ({min(totals):.2f} to {max(totals):.2f}, {len(totals)} runs),"
            f" aim {AIMS[name]:.0f} s; {largest} dominates with {share:.0%}"
        )


def main() -> None:
    """Measure and print."""
    parser = arguments.parser("first_reply", __doc__)
    parser.add_argument("-n", type=int, default=5, help="runs (default: 5)")
    parser.add_argument("--model", type=Path, default=bundle.DEMO)
    args = parser.parse_args()
    print(f"{args.model.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with serving(args.model) as url:
        report(run(url, args.n))


if __name__ == "__main__":
    main()
