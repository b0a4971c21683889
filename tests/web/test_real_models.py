"""A real model in a real browser: what `build.py serve` gives a newcomer."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.models.test_real_models import CONVERSATION
from tests.support.real_models import SMOLLM2
from tests.web.conftest import expect_state, say, use_model
from tests.web.test_end_to_end import KEEP_MESSAGES, LAST_DONE
from tools.real_models import RealModels
from tools.server import PageServer

pytestmark = pytest.mark.real

N_TOKENS = 8
# The page keeps keys and values in f16: of two tokens nearer than this either may win.
SURE_MARGIN = 0.1
PATIENCE = 300_000  # milliseconds: 37 tokens and 8, some 30 s on two idle cores


@pytest.mark.timeout(600)
def test_a_newcomer_has_a_conversation_with_a_real_model(
    page: Page, site: str, served: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SMOLLM2.gguf.exists()
    monkeypatch.setattr(served, "pulled", RealModels())
    use_model(page, None)  # in software the page would open with the small one
    page.add_init_script(KEEP_MESSAGES)
    settings = f"{{temperature: 0, max_tokens: {N_TOKENS}, n_ctx: 256}}"
    page.add_init_script(
        f"localStorage.setItem('lapidary.settings', JSON.stringify({settings}))"
    )
    page.goto(site)
    card = page.get_by_role("list", name="Models here").get_by_role("listitem")
    expect(card.first).to_contain_text(SMOLLM2.packaged.title)
    expect_state(page, "ready", PATIENCE)
    say(page, CONVERSATION[0]["content"], timeout=PATIENCE)
    done = page.evaluate(LAST_DONE)
    assert (SMOLLM2.arrays["greedy_margin_chat"][:N_TOKENS] > SURE_MARGIN).all()
    assert done["ids"] == SMOLLM2.greedy("chat")[:N_TOKENS]
    assert done["n_prompt"] == len(SMOLLM2.ids("chat"))
    reply = page.locator(".reply .prose").last
    expect(reply).to_contain_text("The four seasons of the year are:")
    speeds = [done["n_prompt"] / done["prefill_seconds"]]
    speeds.append((done["n_generated"] - 1) / done["decode_seconds"])
    print(f"\nprefill {speeds[0]:.1f} tokens/s, decode {speeds[1]:.1f}")
