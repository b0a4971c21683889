"""The same page in a real Firefox, so that it is not a page for one browser."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.web.test_end_to_end import MODELS, PROMPT, SETTINGS, native
from tools import environment, firefox

SCRIPT = Path(__file__).with_name("firefox.mjs")


def test_there_is_a_firefox():
    assert environment.find_firefox(), "install it, or name it by LAPIDARY_FIREFOX"


def test_chats_like_natively_and_asks_nobody_else(site, tmp_path):
    wrong = tmp_path / "notes.txt"
    wrong.write_text("This is no model.")
    model, settings = MODELS / "dense-q4_k_m.gguf", json.dumps(SETTINGS)
    result = subprocess.run(
        firefox.command(SCRIPT, site, model, wrong, PROMPT, settings),
        env=firefox.variables(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    seen = json.loads(result.stdout)
    assert seen["complaints"] == []
    assert seen["problem"] == "UnsupportedFormatError"
    expected = native("dense-q4_k_m")
    assert seen["done"]["ids"] == expected.ids
    # Firefox by itself looks for finished work every 100 ms.
    assert statistics.median(seen["answers"]) < 50
    assert seen["requests"]
    own = urlsplit(site).netloc
    assert [url for url in seen["requests"] if urlsplit(url).netloc != own] == []
