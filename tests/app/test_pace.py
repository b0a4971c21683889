"""The pace on devices that are played: how much is queued, and how fast that gets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pytest

from pyodide_app.run.pace import MOST, WORK_SECONDS, Adaptive, Fixed, Pace, Single


@dataclass(slots=True)
class Played:
    """A GPU on which each token takes `token` seconds, in a browser of its own ways.

    An answer takes `latency`; with a `tick`, work that is done is seen at the next.
    """

    token: float
    latency: float = 0.001
    tick: float = 0.0
    now: float = 0.0
    free: float = 0.0  # when the GPU has done what is queued
    most_work: float = 0.0  # seconds that were ever left to do after a submit
    most_batches: int = 0

    def answered(self, done: float) -> float:
        """Return when the host learns of work that is done."""
        if self.tick:
            done = -(-done // self.tick) * self.tick
        return done + self.latency

    def decode(self, pace: Pace, n_tokens: int) -> float:
        """Decode and return the tokens per second."""
        begin, n_submitted, queued = self.now, 0, deque[tuple[int, int, float, float]]()
        while n_submitted < n_tokens or queued:
            while n_submitted < n_tokens:
                waiting = sum(batch[0] for batch in queued)
                n = min(pace.next_batch(waiting), n_tokens - n_submitted)
                if not n:
                    break
                self.free = max(self.now, self.free) + n * self.token
                answer = self.answered(self.free)
                queued.append((n, waiting + n, self.now, answer))
                n_submitted += n
                self.most_work = max(self.most_work, self.free - self.now)
                self.most_batches = max(self.most_batches, len(queued))
            _, n_queued, submitted, answer = queued.popleft()
            self.now = max(self.now, answer)
            pace.learn(self.now - submitted, n_queued)
        return n_tokens / (self.now - begin)


@pytest.mark.parametrize("latency", [0.0002, 0.001, 0.005])
@pytest.mark.parametrize("token", [0.0005, 0.002, 0.005, 0.012, 0.024, 0.06, 0.3])
def test_keeps_the_gpu_busy_and_the_queue_short(token: float, latency: float) -> None:
    device = Played(token, latency)
    pace = Adaptive(latency)
    device.decode(pace, 40)
    rate = device.decode(pace, 200)
    # What is hidden behind the other batch's answer counts as no work.
    assert device.most_work <= max(token, WORK_SECONDS + 2 * latency) * 1.0001
    assert device.most_batches <= 2
    # One batch's work hides the other's answer; slow tokens wait for theirs.
    aim = 1 / (token + latency) if 2 * token > WORK_SECONDS else 1 / token
    assert rate > 0.9 * min(aim, MOST / latency)


@pytest.mark.parametrize("token", [0.03, 0.1, 1.0])
def test_a_slow_token_is_queued_alone(token: float) -> None:
    device = Played(token, 0.001)
    pace = Adaptive(0.001)
    device.decode(pace, 30)
    assert device.most_work == pytest.approx(token)
    assert device.most_batches == 1


def test_begins_with_one_token_and_doubles() -> None:
    pace = Adaptive(0.001)
    sizes = []
    for _ in range(7):
        queued, batches = 0, []
        while n := pace.next_batch(queued):
            queued += n
            batches.append(n)
        sizes.append(batches)
        pace.learn(0.001, queued)
    assert sizes == [[1], [1, 1], [2, 2], [4, 4], [8, 8], [16, 16], [16, 16]]


@pytest.mark.parametrize("token", [0.001, 0.003, 0.006, 0.02, 0.05, 0.12])
def test_a_browser_that_looks_on_a_tick_gets_more_at_once(token: float) -> None:
    tick = 0.1
    device = Played(token, latency=0.002, tick=tick)
    pace = Adaptive(latency=tick)
    device.decode(pace, 40)
    rate = device.decode(pace, 400)
    one_by_one = Played(token, latency=0.002, tick=tick).decode(Single(), 50)
    # Work is seen in whole ticks, one of which is the answer's: it may be two more.
    assert device.most_work <= max(token, 3 * tick)
    assert rate >= one_by_one
    if token < tick:
        assert rate > 0.8 * min(1 / token, 2 * MOST / tick)


def test_a_latency_that_was_measured_too_long_is_corrected() -> None:
    device = Played(0.02, latency=0.001)
    pace = Adaptive(latency=0.5)
    device.decode(pace, 100)
    device.most_work = 0.0
    device.decode(pace, 100)
    # The least that was seen is an answer with a token's work.
    assert device.most_work <= WORK_SECONDS + 2 * 0.021


def test_follows_tokens_that_get_slower() -> None:
    device = Played(0.002, latency=0.001)
    pace = Adaptive(latency=0.001)
    device.decode(pace, 100)
    device.token = 0.08
    device.decode(pace, 40)
    device.most_work = 0.0
    device.decode(pace, 10)
    assert device.most_work == pytest.approx(0.08)


def test_a_late_answer_is_forgotten() -> None:
    device = Played(0.004, latency=0.001)
    pace = Adaptive(latency=0.001)
    rate = device.decode(pace, 200)
    pace.learn(2.0, 8)
    assert device.decode(pace, 200) > 0.8 * rate


def test_a_fixed_pace_is_two_batches_and_a_single_one_token() -> None:
    assert [Fixed(5).next_batch(n) for n in (0, 5, 10)] == [5, 5, 0]
    assert [Fixed(1).next_batch(n) for n in (0, 1, 2)] == [1, 1, 0]
    assert [Single().next_batch(n) for n in (0, 1)] == [1, 0]
