"""Figures that the page shows as it is told them."""

from __future__ import annotations

import pytest

from pyodide_app.browser.figures import Meter, allowed_memory, verdict
from pyodide_app.run.finished import Finished

GIB = 2**30


def test_a_meter_says_nothing_at_first_and_then_the_speed_since_the_first_token():
    meter = Meter()
    assert meter.rate(3, 10.0) == 0
    assert meter.rate(4, 11.0) == 0  # one token is no measure
    assert meter.rate(8, 10.1) == 0  # nor is a tenth of a second
    assert meter.rate(9, 12.0) == 3


@pytest.mark.parametrize(
    ("n_bytes", "hint", "fits"),
    [
        (3 * GIB, 2, False),
        (2 * GIB, 2, True),
        (GIB, 0.5, False),
        (100 * GIB, 8, True),  # the ceiling: there may be more
        (100 * GIB, 32, True),
        (100 * GIB, None, True),
    ],
)
def test_a_verdict_goes_by_what_the_browser_hints_at(n_bytes, hint, fits):
    said = verdict(n_bytes, hint)
    assert said.startswith(
        "It fits" if fits else f"It may not fit: the browser tells of about {hint}"
    )


def test_an_adapter_in_software_may_hold_half_of_the_hint():
    assert allowed_memory(8, True) == 4 * GIB
    assert allowed_memory(8, False) is None
    assert allowed_memory(None, True) is None


def test_the_end_of_a_reply_says_how_fast_it_was():
    end = Finished("stop", (1, 2, 3), 12, 2, 3, 0.5, 0.25, 1, 1, 1)
    assert end.tokens_per_second == 8
    assert end.prefill_tokens_per_second == 20
    assert not end.tells_speed
    long = Finished("stop", (1,) * 8, 12, 2, 8, 0.5, 0.25, 1, 1, 1)
    assert long.tells_speed
    alone = Finished("stop", (1,), 12, 2, 1, 0.0, 0.0, 1, 1, 1)
    assert alone.tokens_per_second == alone.prefill_tokens_per_second == 0
