"""The header of a full-size model in the browser, within the promised memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.samples import real_vocabulary, realshape
from tests.support import golden_data
from tests.web.conftest import replace_worker, use_model
from tests.web.test_end_to_end import KEEP_MESSAGES

WORKER = Path(__file__).with_name("header_worker.js")
REAL = golden_data.find("tokenizer/vocab-262144.gguf")
MAX_HEAP = 130e6  # bytes; WebAssembly's memory never shrinks, so this is the peak

DONE = """
async () => {
  const done = () => window.messages.find(({ kind }) => kind === 'done');
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 20));
  return done().info;
}
"""


@pytest.mark.parametrize("real", [False, True] if REAL else [False])
def test_a_full_size_header_fits_in_the_heap(
    page: Page, site: str, tmp_path: Path, real: bool
) -> None:
    file = REAL if real and REAL else tmp_path / "26b.gguf"
    if not real:
        size = realshape.write(file, "26b-a4b", "Q4_K_M").size
        assert size > 16e9
    replace_worker(page, WORKER.read_text(encoding="utf-8"))
    use_model(page, None)
    page.add_init_script(KEEP_MESSAGES)
    page.goto(site)
    page.set_input_files("#file", file)
    info = page.evaluate(DONE)
    assert info["n_vocab"] == real_vocabulary.N_TOKENS
    assert info["n_ids"] > 5
    assert info["n_tensors"] == (0 if real else 658)
    assert info["heap"] < MAX_HEAP
