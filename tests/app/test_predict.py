"""How fast a model decodes at most: by what a step reads, and a measured device."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest

from pyodide_app.adapter.measure import Measured
from pyodide_app.cli.fit import describe_fit
from pyodide_app.load.predict import kv_bytes_read, predict
from tests.app.test_fit import fit


@pytest.mark.parametrize(
    ("model", "n_keys", "elements"),
    [
        ("26b-a4b", 100, 25 * 100 * 4096 + 5 * 100 * 2048),
        ("26b-a4b", 5000, 25 * 1024 * 4096 + 5 * 5000 * 2048),
        # All 35 layers read a cache, though 15 own one.
        ("e2b", 5000, 28 * 512 * 512 + 7 * 5000 * 1024),
    ],
)
def test_keys_and_values_that_a_step_reads(
    model: str, n_keys: int, elements: int
) -> None:
    config, _ = fit(model)
    assert kv_bytes_read(config, "f16", n_keys) == 2 * elements


def test_measurements_are_kept_as_plain_numbers() -> None:
    measured = Measured(100e9, 5e-6, 0.0)
    assert Measured.kept(json.loads(json.dumps(asdict(measured)))) == measured
    record = asdict(measured)
    for wrong in (
        None,
        [],
        {},
        record | {"more": 1},
        record | {"copy_bytes_per_second": 0},
        record | {"copy_bytes_per_second": "1e9"},
        record | {"dispatch_seconds": -1.0},
        record | {"submit_seconds": math.nan},
        record | {"copy_bytes_per_second": math.inf},
    ):
        assert Measured.kept(wrong) is None, wrong


def test_predicts_from_bytes_and_launches() -> None:
    config, found = fit("26b-a4b")
    measured = Measured(100e9, 5e-6, 200e-6)
    n_bytes = found.step_bytes + kv_bytes_read(config, "f16", 1000)
    predicted = predict(found, config, measured, 1000, 1e9)
    assert predicted.memory_seconds == n_bytes / 100e9
    assert predicted.dispatch_seconds == found.n_dispatches * 5e-6
    total = predicted.memory_seconds + predicted.dispatch_seconds
    assert predicted.tokens_per_second == pytest.approx(1 / total)
    assert predicted.load_seconds == found.weight_bytes / 1e9
    unread = predict(found, config, Measured(1e9, 0.0, 0.0), 1)
    assert unread.load_seconds is None
    longer = predict(found, config, measured, 8000)
    assert longer.tokens_per_second < predicted.tokens_per_second
    full = predict(found, config, measured, found.n_ctx)
    assert predict(found, config, measured, 10**6) == full


def test_waits_for_each_submit_where_rows_come_from_the_host() -> None:
    config, found = fit("e4b", host_embeddings=True)
    predicted = predict(found, config, Measured(100e9, 5e-6, 200e-6))
    expected = 200e-6 + found.n_dispatches * 5e-6
    assert predicted.dispatch_seconds == pytest.approx(expected)


def test_text_tells_the_numbers() -> None:
    config, found = fit("e4b", memory=6_000_000_000, n_ctx=4096)
    assert describe_fit(found).splitlines()[0].startswith("fits in 5.")
    _, found = fit("e4b", host_embeddings=True)
    measured = Measured(300e9, 5e-6, 0.0)
    predicted = predict(found, config, measured, 1000, 2e9)
    text = describe_fit(found, predicted)
    for words in (
        "2.31 GB of per-layer embeddings in the file",
        "weights            2.97 GB",
        "keys and values    0.17 GB for 8,192 tokens, f16",
        f"2.97 GB in {found.n_dispatches} dispatches",
        f"at most {predicted.tokens_per_second:.1f} tokens/s",
        "loads in about 1 s",
    ):
        assert words in text
