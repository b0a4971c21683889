"""The conversation on the page, played by a fake worker: nothing said is lost."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import choose, choose_large, expect_state, last_reply, say

PARAGRAPH = "A line of a long message that fills the window. " * 60
SETTLED = """() => {
  const { scrollTop } = document.getElementById('scroller');
  window.still = scrollTop === window.lastTop ? window.still + 1 : 0;
  window.lastTop = scrollTop;
  return window.still > 10;
}"""
DROP = """([name, content]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([content], name));
  document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true }));
}"""
KEEP_SENT = """
(() => {
  const { Worker } = window;
  window.sent = [];
  window.Worker = class extends Worker {
    postMessage(message, ...rest) {
      if (message.kind === 'generate') window.sent.push(message);
      super.postMessage(message, ...rest);
    }
  };
})();
"""


@pytest.fixture
def ready(ui: Page) -> Page:
    """A page on which a model has been loaded, and which keeps what it is asked."""
    ui.add_init_script(KEEP_SENT)
    ui.reload()
    choose(ui, "gemma-4.gguf")
    expect_state(ui, "ready")
    return ui


def roles(page: Page) -> list[str]:
    """Return who says what in the last request."""
    return page.evaluate("sent.at(-1).messages.map(({ role }) => role)")


def contents(page: Page) -> list[str]:
    return page.evaluate("sent.at(-1).messages.map(({ content }) => content)")


def box(page: Page):
    return page.get_by_label("Message", exact=True)


def expect_end(page: Page) -> None:
    """Hold the view to the end of the conversation, now and for a while."""
    worst = page.evaluate(
        """async () => {
          const area = document.getElementById('scroller');
          const jump = document.getElementById('jump');
          let worst = 0;
          for (let frame = 0; frame < 30; frame += 1) {
            await new Promise(requestAnimationFrame);
            // After the frame's own work, as it is painted.
            await new Promise((resolve) => setTimeout(resolve));
            const { scrollHeight, scrollTop, clientHeight } = area;
            worst = Math.max(worst, scrollHeight - scrollTop - clientHeight);
            if (!jump.hidden) return 'Latest';
          }
          return worst;
        }"""
    )
    assert worst != "Latest" and worst <= 2


def settle(page: Page) -> None:
    """Wait until the view has come to rest: keys and fingers move it bit by bit."""
    page.evaluate("window.still = 0")
    page.wait_for_function(SETTLED)


def expect_still(page: Page) -> None:
    """Hold the view to where a person has put it, while the reply grows."""
    area = page.locator("#scroller")
    settle(page)
    top = area.evaluate("area => area.scrollTop")
    height = area.evaluate("area => area.scrollHeight")
    page.wait_for_function(
        "height => document.getElementById('scroller').scrollHeight > height + 60",
        arg=height,
    )
    assert abs(area.evaluate("area => area.scrollTop") - top) <= 2
    expect(page.get_by_role("button", name="Latest")).to_be_visible()


def wheel(page: Page, down: int) -> None:
    page.mouse.move(190, 100)
    page.mouse.wheel(0, down)


def drag(page: Page, down: int) -> None:
    """Drag with a finger, which has to go some way until that counts."""
    client = page.context.new_cdp_session(page)
    client.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for _ in range(max(1, abs(down) // 400)):
        far = -min(abs(down) + 20, 420) if down > 0 else min(abs(down) + 20, 420)
        start = 250 if far > 0 else 680
        points = [{"x": 190, "y": start + far * step / 5} for step in range(6)]
        kinds = ["touchStart", *(5 * ["touchMove"])]
        for kind, touched in zip(kinds, points, strict=True):
            send = {"type": kind, "touchPoints": [touched]}
            client.send("Input.dispatchTouchEvent", send)
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize(
    ("size", "move"),
    [((1280, 860), wheel), ((390, 844), drag)],
    ids=["desktop", "phone"],
)
def test_long_conversation_is_followed(ready, size, move):
    page, area = ready, ready.locator("#scroller")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    say(page, "markdown")
    say(page, PARAGRAPH)
    assert area.evaluate("a => a.scrollHeight > 1.3 * a.clientHeight")
    for _ in range(2):  # the first falls behind by little
        say(page, "Hello")
        expect_end(page)
    say(page, "endless", wait=False)
    expect_end(page)
    expect(page.locator(".reply").last).to_contain_text("word30")
    expect_end(page)
    # What shrinks moves the view too, and nobody has scrolled.
    page.set_viewport_size({"width": size[0], "height": size[1] - 330})
    expect_end(page)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    expect_end(page)
    page.evaluate("document.querySelector('.reply').style.display = 'none'")
    expect_end(page)
    page.evaluate("document.querySelector('.reply').style.display = ''")
    expect_end(page)
    # A small step up is one as well.
    move(page, -30)
    jump = page.get_by_role("button", name="Latest")
    expect(jump).to_be_visible()
    expect_still(page)
    # The button lies below what is read, not over it.
    assert page.evaluate(
        """() => document.getElementById('jump').getBoundingClientRect().top
          >= document.getElementById('scroller').getBoundingClientRect().bottom"""
    )
    move(page, 5000)
    expect(jump).to_be_hidden()
    expect_end(page)
    area.focus()
    page.keyboard.press("PageUp")
    expect(jump).to_be_visible()
    settle(page)
    jump.click()
    expect_end(page)
    page.keyboard.press("Escape")
    expect_state(page, "ready")
    expect_end(page)


def test_place_is_kept_while_a_model_loads_and_errors_are_seen(ready):
    page, area = ready, ready.locator("#scroller")
    page.set_viewport_size({"width": 320, "height": 256})
    say(page, "markdown")
    choose(page, "warm.gguf")
    expect_state(page, "loading")
    expect_state(page, "ready")
    expect_end(page)
    wheel(page, -500)
    settle(page)
    top = area.evaluate("area => area.scrollTop")
    assert top > 0
    choose(page, "gemma-4.gguf")
    expect_state(page, "loading")
    expect_state(page, "ready")
    settle(page)
    assert abs(area.evaluate("area => area.scrollTop") - top) <= 2
    # The ways to another model come behind the error, and take more than a window.
    say(page, "break", wait=False)
    expect_state(page, "empty")
    expect(page.locator(".problem .card-title")).to_be_in_viewport(ratio=1)


def test_message_that_is_too_long_goes_back_to_the_box(ready):
    say(ready, "Hello")
    box(ready).fill("fill " + 900 * "x")
    box(ready).evaluate(
        """prompt => {
          prompt.form.requestSubmit();
          prompt.value = 'draft'; // typed before the answer is here
        }"""
    )
    card = ready.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "ContextFullError")
    expect(box(ready)).to_have_value("fill " + 900 * "x" + "\n\ndraft")
    expect(ready.locator(".bubble")).to_have_text(["Hello"])
    card.get_by_role("button", name="Shorten the message").click()
    expect(box(ready)).to_be_focused()
    expect(card.get_by_role("button", name="Reload with 16,384 tokens")).to_be_visible()
    say(ready, "And now?")
    assert contents(ready) == ["Hello", "A short reply.", "And now?"]
    expect(card).to_have_count(0)


def test_oldest_turns_can_be_left_out(ready):
    for _ in range(3):
        say(ready, "Hello " + 200 * "y")
    say(ready, "fill " + 260 * "x")
    ready.get_by_role("button", name="Leave out the oldest turns").click()
    expect(ready.get_by_role("alert")).to_have_count(0)
    expect_state(ready, "ready")
    assert roles(ready) == ["user", "assistant", "user"]
    expect(ready.locator(".left-out")).to_have_count(4)
    expect(ready.locator(".bubble")).to_have_count(4)
    expect(ready.locator(".left-out + .border")).to_contain_text("Above this line")
    expect(box(ready)).to_have_value("")


def test_only_what_helps_is_offered(ready):
    say(ready, "fill " + 1200 * "x")
    card = ready.get_by_role("alert")
    expect(card.get_by_role("button", name="Leave out")).to_have_count(0)
    card.get_by_role("button", name="Reload with 16,384 tokens").click()
    expect_state(ready, "ready")
    expect(box(ready)).to_have_value("fill " + 1200 * "x")
    ready.get_by_role("button", name="Model: ").click()
    expect(ready.get_by_role("dialog", name="Model")).to_contain_text("16,384 tokens")


def test_refused_message_is_not_part_of_what_is_sent_later(ready):
    say(ready, "Hello")
    say(ready, "refuse")
    expect(box(ready)).to_have_value("refuse")
    say(ready, "Hello again")
    assert roles(ready) == ["user", "assistant", "user"]
    assert "refuse" not in contents(ready)


def test_text_is_continued_where_no_conversation_can_be_written(ready):
    say(ready, "unspoken")
    card = ready.get_by_role("alert")
    expect(card).to_have_attribute("data-type", "ChatFormatError")
    card.get_by_role("button", name="Continue as plain text").click()
    expect(ready.locator(".reply")).to_have_count(1)
    expect_state(ready, "ready")
    line = "From here on the text is continued as it stands"
    expect(ready.get_by_text(line)).to_be_visible()
    say(ready, "And then?")
    assert ready.evaluate("sent.map(({ raw = false }) => raw)") == [False, True, True]
    assert contents(ready) == ["unspoken", "A short reply.", "And then?"]
    ready.get_by_role("button", name="New chat").click()
    say(ready, "Hello")
    assert not ready.evaluate("'raw' in sent.at(-1)")
    expect(ready.get_by_text(line)).to_have_count(0)


def test_model_that_overflows_is_loaded_with_wider_numbers(ready):
    say(ready, "Hello")
    say(ready, "nan")
    card = ready.get_by_role("alert")
    expect(card).to_contain_text("The model’s numbers are not finite")
    expect(card.get_by_role("button")).to_have_text(
        ["Reload with f32 keys and values", "Choose another file", "New chat"]
    )
    card.get_by_role("button", name="Reload with f32").click()
    expect(card).to_have_count(0)
    expect_state(ready, "ready")
    ready.get_by_role("button", name="Model: ").click()
    expect(ready.get_by_role("dialog", name="Model")).to_contain_text("f32")
    ready.keyboard.press("Escape")
    say(ready, "nan")
    expect(card).to_be_visible()  # and the same is not offered again
    expect(card.get_by_role("button", name="Reload with f32")).to_have_count(0)


def test_text_file_does_not_stop_a_reply(ready):
    say(ready, "endless", wait=False)
    reply = ready.locator(".reply")
    expect(reply).to_contain_text("word3")
    ready.evaluate(DROP, ["notes.txt", "Buy milk."])
    card = ready.get_by_role("alert")
    expect(card).to_contain_text("notes.txt is no model")
    expect(card).to_contain_text("Buy")
    # One of another family is refused by its header; a large one waits for a word.
    ready.evaluate(DROP, ["llama.gguf", "GGUF"])
    expect(card).to_contain_text("a model of another family")
    choose_large(ready, "gemma-4.gguf")
    expect_state(ready, "checking")
    ready.locator("#fit-cancel").click()
    expect_state(ready, "generating")
    expect(ready.locator(".reason")).to_have_count(0)
    expect(reply).to_contain_text("word60")
    ready.evaluate(DROP, ["warm.gguf", "GGUF"])
    expect(ready.locator(".reason")).to_have_text("Stopped")
    expect_state(ready, "ready")
    expect(reply).to_contain_text("word60")


def test_another_model_goes_on_with_the_conversation(ready):
    say(ready, "Hello")
    choose(ready, "warm.gguf")
    line = ready.locator(".border")
    expect(line).to_have_text("From here: Gemma 4 26B-A4B (warm)")
    expect_state(ready, "ready")
    say(ready, "And now?")
    assert contents(ready) == ["Hello", "A short reply.", "And now?"]
    expect(ready.locator(".border + .user")).to_contain_text("And now?")
    choose(ready, "warm.gguf")
    expect_state(ready, "loading")
    expect_state(ready, "ready")
    expect(line).to_have_count(1)


def test_calls_are_shown_in_their_places_and_kept(ready):
    ready.get_by_role("button", name="Think").click()
    say(ready, "calls")
    blocks = ready.locator(".reply .parts > *")
    expect(blocks).to_have_count(5)
    texts = [block.text_content() for block in blocks.all()]
    for text, words in zip(
        texts, ["First", '"look"', "Looked", "Then", '"weigh"'], strict=True
    ):
        assert words in text
    ready.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ready.get_by_role("button", name="Copy reply").click()
    copied = ready.evaluate("navigator.clipboard.readText()")
    assert re.findall(r"look|Looked|weigh|First", copied) == ["look", "Looked", "weigh"]
    say(ready, "And now?")
    calls = ready.evaluate("sent.at(-1).messages[1].tool_calls")
    assert [call["function"]["name"] for call in calls] == ["look", "weigh"]
    assert calls[0]["function"]["arguments"] == '{"id": 12345678901234567890}'


def test_reply_that_was_cut_off_goes_on(ready):
    say(ready, "break twice", wait=False)
    for _ in range(2):
        expect(ready.locator(".reason")).to_have_text("Cut off")
        expect(ready.get_by_role("alert")).to_contain_text("device was lost")
        expect_state(ready, "empty")
        more = ready.get_by_role("button", name="Continue")
        expect(more).to_have_count(0)
        ready.get_by_role("button", name="Reload model").click()
        expect_state(ready, "ready")
        assert last_reply(ready) == "One two three"
        more.click()
    expect_state(ready, "empty")
    assert ready.evaluate("sent.map(({ begun }) => begun?.length)") == [None, 3, 3]
    assert roles(ready) == ["user"]


def test_reply_that_is_empty_says_why(ready):
    say(ready, "nothing", wait=False)
    why = "The model ended its reply at once."
    expect(ready.locator(".reply .reason")).to_have_text(why)


def test_stopped_and_short_replies_go_on(ready):
    say(ready, "cut")
    more = ready.get_by_role("button", name="Continue")
    more.click()
    expect(more).to_have_count(0)
    expect_state(ready, "ready")
    assert last_reply(ready) == "A short reply. It goes on."
    expect(ready.locator(".reason")).to_have_count(0)
    say(ready, "cut")
    say(ready, "Hello")
    # A half that is not the last stays marked, and what follows is a turn of its own.
    expect(ready.locator(".reason")).to_have_count(1)
    expect(more).to_have_count(0)


def test_only_the_beginning_of_a_reply_is_read_out(ready):
    say(ready, "markdown")
    said = ready.locator("#announcer").inner_text()
    assert said == (
        "Reply finished: A facet is one flat face of a cut stone. Three cuts, compared:"
    )
    say(ready, "calls")
    expect(ready.locator("#announcer")).to_have_text("Reply finished: a call of look")
