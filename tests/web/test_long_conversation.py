"""Twenty turns on the page with a real model, which go beyond its context.

Where the context is full the page says so, and a person leaves out the oldest turns.
What the model is sent then is what stands below the page's line, and it answers as it
would in a new chat, whatever its cache still holds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.models.native import logits, opened
from tests.models.test_long_conversation import MESSAGES
from tests.support.real_models import SMOLLM2
from tests.web.conftest import expect_state, use_worker_with
from tests.web.test_conversation import KEEP_SENT
from tests.web.test_end_to_end import LAST_DONE, open_page
from tests.web.test_real_models import PATIENCE, SURE_MARGIN

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

N_CTX = 80  # three of these turns, and the system prompt
N_TOKENS = 2

COUNT_BUFFERS = """
const held = new Set();
const { createBuffer } = GPUDevice.prototype;
GPUDevice.prototype.createBuffer = function (descriptor) {
  const buffer = createBuffer.call(this, descriptor);
  if (descriptor.label !== 'staging') held.add(buffer);
  return buffer;
};
const { destroy } = GPUBuffer.prototype;
GPUBuffer.prototype.destroy = function () {
  held.delete(this);
  return destroy.call(this);
};
new BroadcastChannel('count').onmessage = () => {
  self.postMessage({ id: 0, kind: 'held', n: held.size });
};
"""
COUNT = """() => new Promise((resolve) => {
  const before = messages.length;
  new BroadcastChannel('count').postMessage('');
  const look = () => {
    const found = messages.slice(before).find(({ kind }) => kind === 'held');
    if (found) resolve(found.n);
    else requestAnimationFrame(look);
  };
  look();
})"""
N_REPLIES = "messages.filter(({ kind, reason }) => kind === 'done' && reason).length"
SENT = "sent.at(-1).messages"
# What a person has said, as it stands on the page and is not left out.
STANDING = """[...document.querySelectorAll('.user:not(.left-out) .said')]
  .map((said) => said.innerText)"""
LINE = "Above this line is left out: the model is not sent it any more."


@dataclass(frozen=True, slots=True)
class Turn:
    """What was sent for a reply, and what came."""

    sent: list[dict[str, str]]
    done: dict[str, Any]
    after_full: bool  # whether turns were left out before
    held: int  # buffers on the GPU, but for those of read-backs

    @property
    def n_read(self) -> int:
        """Return how many tokens of the prompt were not in the cache."""
        return int(self.done["n_prompt"] - self.done["n_reused"])


def test_twenty_turns_beyond_the_context(page: Page, site: str) -> None:
    use_worker_with(page, COUNT_BUFFERS)
    page.add_init_script(KEEP_SENT)
    open_page(page, site, n_ctx=N_CTX, max_tokens=N_TOKENS)
    page.set_input_files("#file", SMOLLM2.gguf)
    expect_state(page, "ready", PATIENCE)
    turns = [talk(page, message, n) for n, message in enumerate(MESSAGES, 1)]
    assert sum(turn.after_full for turn in turns) > 5
    check_what_is_held(turns)
    with ThreadPoolExecutor(1) as thread:  # Playwright's event loop runs in this one
        thread.submit(check_natively, turns).result()


def talk(page: Page, message: str, n: int) -> Turn:
    """Say something, leave out the oldest turns if need be, and check what is sent."""
    page.get_by_label("Message", exact=True).fill(message)
    page.keyboard.press("Enter")
    is_over = f"{N_REPLIES} === {n}"
    page.wait_for_function(
        f"() => {is_over} || document.querySelector('.problem')", timeout=PATIENCE
    )
    card = page.get_by_role("alert")
    after_full = card.count() > 0
    if after_full:
        expect(card).to_contain_text("is longer than the context")
        n_before = page.locator(".user.left-out").count()
        card.get_by_role("button", name="Leave out the oldest turns").click()
        page.wait_for_function(f"() => {is_over}", timeout=PATIENCE)
        assert page.locator(".user.left-out").count() > n_before
        expect(page.locator(".border")).to_have_text(LINE)
        expect(page.locator(".border + .user:not(.left-out)")).to_have_count(1)
    expect_state(page, "ready", PATIENCE)
    sent = page.evaluate(SENT)
    assert [said["content"] for said in sent[::2]] == page.evaluate(STANDING)
    assert len(sent) % 2 and (len(sent) > 1 or n == 1)  # some is left to go on from
    done, held = page.evaluate(LAST_DONE), page.evaluate(COUNT)
    return Turn(sent, done, after_full, held)


def check_what_is_held(turns: list[Turn]) -> None:
    """Hold that only a pass of a length that was not there before is kept, too."""
    lengths, n_known = set[int](), 0
    for before, turn in pairwise(turns):
        lengths.add(before.n_read)
        if turn.n_read in lengths:
            n_known += 1
            assert 0 < turn.held <= before.held, turn.n_read
    assert n_known > len(turns) // 2


def check_natively(turns: list[Turn]) -> None:
    """Hold prompts, and replies after some was left out, to a new native engine."""
    after = [turn for turn in turns if turn.after_full]
    with opened(SMOLLM2.gguf, kv="f16", n_ctx=N_CTX) as engine:
        for before, turn in pairwise(turns):
            decoder = engine.tokenizer.decoder(engine.encode_chat(before.sent)[0])
            said = "".join(map(decoder.push, before.done["ids"])) + decoder.finish()
            assert turn.sent[-2] == {"role": "assistant", "content": said}
        for turn in turns:
            ids, _ = engine.encode_chat(turn.sent)
            assert turn.done["n_prompt"] == len(ids)
            assert turn.done["n_reused"] > 0 or turn is turns[0]
            if turn in (after[0], after[-1]):
                then = turn.done["ids"]
                rows = logits(engine, [*ids, *then[:-1]])[len(ids) - 1 :]
                second, best = np.sort(rows, axis=-1)[:, -2:].T
                sure = best - second > SURE_MARGIN
                assert sure.any() and (rows.argmax(axis=-1) == then)[sure].all()
