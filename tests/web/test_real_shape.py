"""Models of real shape in a real browser: listed, refused, and run at full width.

    python3 build.py test -k real_shape -s

prints how long each stage takes, and the memory of each process.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.app.test_realshape import BILLIONS, BYTES, EXPECTED
from tests.samples.ollama_store import blob_of
from tests.samples.real_store import OTHERS, TAGS, write_model, write_store
from tests.support.compare import relative_l2
from tests.support.full_width import PROMPT, open_wide
from tests.web.conftest import replace_worker
from tests.web.processes import peaks
from tests.web.test_end_to_end import open_page
from tools.model_store import ModelStore
from tools.server import PageServer

WORKER = Path(__file__).resolve().parents[2] / "web/engine/worker.js"
CUT = "gemma4:26b-cut"
MAX_HEAP = 200e6  # bytes, of WebAssembly's memory; it never shrinks: this is the peak

# A BroadcastChannel takes Python for the engine's worker, and gives what it returns.
DOOR = """
const door = new BroadcastChannel('python');
door.onmessage = ({ data }) => self.pyodide.runPythonAsync(data).then(
  (result) => door.postMessage({ result }),
  ({ message }) => door.postMessage({ error: message }),
);
"""
RUN_PYTHON = """
(code) => new Promise((resolve, reject) => {
  const door = new BroadcastChannel('python');
  door.onmessage = ({ data }) => {
    door.close();
    if ('error' in data) reject(new Error(data.error));
    else resolve(data.result);
  };
  door.postMessage(code);
})
"""
# Before the page's own scripts: keys and values of loads are f32, as the oracle's.
EXACT_CACHE = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...others) {
  if (message.kind === 'load') message.options.kv = 'f32';
  return post.call(this, message, ...others);
};
"""
# Each message of the worker gets the time at which it came, in seconds.
KEEP_TIMES = """
() => {
  window.messages.push = function (message) {
    message.at = performance.now() / 1000;
    return Array.prototype.push.call(this, message);
  };
}
"""
STAGES = """
() => {
  const begins = {};
  for (const { stage = 'done', at } of window.messages) begins[stage] ??= at;
  return begins;
}
"""
RUN = """
import base64, json
from time import perf_counter
import pyodide_js
from pyodide_app.browser.worker import _worker as worker

async def run(ids):
    begin = perf_counter()
    parts = [part async for part in worker.engine.logits(ids)]
    return json.dumps({
        "logits": base64.b64encode(b"".join(parts)).decode(),
        "seconds": perf_counter() - begin,
        "buffers": sum(buffer.size for buffer in worker.engine.device._buffers),
        "heap": pyodide_js._module.HEAPU8.length,
    })

"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of all models: 100 GB in name, 73 MB on the disk."""
    folder = tmp_path_factory.mktemp("real") / "models"
    return write_store(folder, tags=TAGS | OTHERS)


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Path]:
    """Write a store of one model: a layer of each kind, everything else whole."""
    root = tmp_path / "models"
    # The experts' down in Q5_0, then in Q8_0; V = K in the global layer.
    blob = write_model(root, CUT, "26b-a4b", layers=(3, 29), fill=lambda name: True)
    yield root
    blob.unlink()  # 1.7 GB


def open_with_door(page: Page, site: str, **settings: Any) -> None:
    """Open the page; its worker keeps Pyodide where the door finds it."""
    script = WORKER.read_text(encoding="utf-8")
    line = "  pyodide.registerJsModule("
    assert script.count(line) == 1
    replace_worker(
        page, DOOR + script.replace(line, "  self.pyodide = pyodide;\n" + line)
    )
    page.add_init_script(EXACT_CACHE)
    open_page(page, site, **settings)
    page.evaluate(KEEP_TIMES)


def check_list(page: Page, root: Path) -> None:
    """Hold the list of models to the store."""
    title = page.locator("#ollama-title")
    expect(title).to_have_text("Your Ollama models (11)", timeout=30_000)
    title.click()
    models = page.get_by_role("list", name="Your Ollama models")
    for tag, model in TAGS.items():
        size = blob_of(root, tag).stat().st_size
        facts = f"{BILLIONS[model]}B · Q4_K_M · {size / 1e9:.3g} GB"
        row = models.get_by_role("listitem").filter(has_text=tag)
        expect(row).to_contain_text(facts)
        expect(row.locator("button.model")).to_be_enabled()
    for tag in OTHERS:  # of other families
        expect(models.locator("button.model", has_text=tag)).to_be_enabled()


def logits(page: Page, ids: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
    """Have the worker's engine run a pass; return its logits, and what it took."""
    took = json.loads(page.evaluate(RUN_PYTHON, f"{RUN}await run({ids})"))
    raw = base64.b64decode(took.pop("logits"))
    return np.frombuffer(raw, np.float32).reshape(len(ids), -1), took


def test_local_server_lists_all(
    page: Page, site: str, served: PageServer, root: Path
) -> None:
    before, served.store = served.store, ModelStore(str(root))
    try:
        open_page(page, site)
        check_list(page, root)
    finally:
        served.store = before


def test_chosen_folder_lists_all_and_what_does_not_fit_is_refused(
    page: Page, site: str, root: Path
) -> None:
    open_page(page, site, n_ctx=None)
    page.evaluate(KEEP_TIMES)
    page.set_input_files("#folder", root)
    check_list(page, root)
    begin = page.evaluate("performance.now() / 1000")
    page.locator("button.model", has_text="gemma4:31b").click()
    card = page.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "DeviceLimitError", timeout=30_000)
    by_type = EXPECTED["31b"].types("Q4_K_M", ollama=True)
    n_bytes = sum(n * BYTES[name] // 256 for name, n in by_type.items())
    expect(card).to_contain_text(f"weights {n_bytes / 1e9:.2f} GB")
    expect(page.locator("body")).to_have_attribute("data-state", "empty")
    stages = page.evaluate(STAGES)
    print(f"\nrefused after {page.evaluate('messages.at(-1).at') - begin:.1f} s")
    assert "weights" not in stages


@pytest.mark.timeout(600)  # about a minute on two idle cores
def test_full_width_equals_the_oracle(page: Page, site: str, cut: Path) -> None:
    open_with_door(page, site)
    page.set_input_files("#folder", cut)
    page.locator("#ollama-title").click()
    page.locator("button.model", has_text=CUT).click(timeout=60_000)
    page.get_by_role("button", name="Load", exact=True).click(timeout=60_000)
    body = page.locator("body")
    expect(body).to_have_attribute("data-state", "ready", timeout=240_000)
    stages = page.evaluate(STAGES)
    ids = PROMPT[:2]
    got, took = logits(page, ids)
    first, took_first = logits(page, ids[:1])
    print(f"\nbegins, s: { {name: round(at, 1) for name, at in stages.items()} }")
    print(f"2 tokens in {took['seconds']:.1f} s, 1 in {took_first['seconds']:.1f} s")
    print(f"WebAssembly {took['heap'] / 1e6:.0f} MB, GPU buffers {took['buffers']:,} B")
    print(f"peaks, MB: { {name: n >> 20 for name, n in peaks().items()} }")
    expected = open_wide(blob_of(cut, CUT)).forward(ids).logits
    assert got.shape == expected.shape == (2, 262_144)
    # Two layers of sums over at most 8192 products: natively within 5e-5 as well.
    assert relative_l2(got, expected) < 5e-5
    assert relative_l2(first, expected[:1]) < 5e-5
    np.testing.assert_array_equal(got.argmax(-1), expected.argmax(-1))
    assert max(took["heap"], took_first["heap"]) < MAX_HEAP
