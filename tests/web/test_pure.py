"""Rules of the page that need no browser: numbers, settings, actions, names, speeds."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.web.node_cases import play

FORMAT = "shared/format.js"
VALUES = "settings/values.js"
FILES = "models/files.js"
FINE = {"badInput": False, "valid": True}
WRONG = {"badInput": False, "valid": False}
NO_NUMBER = {"badInput": True, "valid": False}

# Module, function, what it is given, what it gives.
Case = tuple[str, str, list[Any], Any]

NUMBERS: list[Case] = [
    (FORMAT, "bytes", [0], "0 bytes"),
    (FORMAT, "bytes", [999], "999 bytes"),
    (FORMAT, "bytes", [1500], "1.50 KB"),
    (FORMAT, "bytes", [12_345], "12.3 KB"),
    (FORMAT, "bytes", [123_456], "123 KB"),
    (FORMAT, "bytes", [999_600], "1.00 MB"),
    (FORMAT, "bytes", [5.3e9], "5.30 GB"),
    (FORMAT, "bytes", [2e15], "2000 TB"),
    (FORMAT, "duration", [0.456], "0.46 s"),
    (FORMAT, "duration", [1], "1.0 s"),
    (FORMAT, "duration", [9.96], "10 s"),
    (FORMAT, "duration", [59.4], "59 s"),
    (FORMAT, "duration", [59.6], "1 min"),
    (FORMAT, "duration", [3600], "1.0 h"),
    (FORMAT, "rate", [42], "42.0 tok/s"),
    (FORMAT, "rate", [123.4], "123 tok/s"),
    (FORMAT, "share", [0.836], "84\u00a0%"),
    (FORMAT, "count", [1234.6], "1,235"),
    (FORMAT, "short", [25_800_000_000], "25.8 B"),
    (FORMAT, "short", [134_515_008], "135 M"),
    (FORMAT, "short", [999_600_000], "1.0 B"),
    (FORMAT, "short", [12], "12"),
]

WRITTEN = '\\n\\nUser:\n"quoted"\nC:\\\\x'  # a backslash is told apart
TEXTS = ["\n\nUser:", '"quoted"', "C:\\x"]
RANGE = {"min": "0", "max": "1024"}
SETTINGS: list[Case] = [
    (VALUES, "readTexts", ['\\n\\nUser:\n"quoted"\nC:\\x'], TEXTS),
    (VALUES, "readTexts", [WRITTEN], TEXTS),
    (VALUES, "readTexts", ["\n\nEND\n"], ["END"]),
    (VALUES, "readTexts", [""], []),
    (VALUES, "writeTexts", [TEXTS], WRITTEN),
    (VALUES, "readValue", ["top_k", {"value": "12", "validity": FINE}], 12),
    (VALUES, "readValue", ["top_k", {"value": "2.6", "validity": FINE}], None),
    (VALUES, "readValue", ["top_k", {"value": "-5", "validity": WRONG}], None),
    (VALUES, "readValue", ["temperature", {"value": "0.65", "validity": FINE}], 0.65),
    (VALUES, "readValue", ["stops", {"value": "A\nB", "validity": FINE}], ["A", "B"]),
    (
        *(VALUES, "nearest"),
        [{"value": "-5", "validity": WRONG, **RANGE}, 64],
        {"value": 0, "text": "Whole numbers from 0 to 1,024: 0 is used."},
    ),
    (
        *(VALUES, "nearest"),
        [{"value": "2.6", "validity": WRONG, **RANGE}, 64],
        {"value": 3, "text": "Whole numbers from 0 to 1,024: 3 is used."},
    ),
    (
        *(VALUES, "nearest"),
        [{"value": "9999", "validity": WRONG, **RANGE}, 64],
        {"value": 1024, "text": "Whole numbers from 0 to 1,024: 1,024 is used."},
    ),
    (
        *(VALUES, "nearest"),
        [{"value": "", "validity": FINE, **RANGE}, 64],
        {"value": 64, "text": "When empty, 64 is used."},
    ),
    (
        *(VALUES, "nearest"),
        [{"value": "", "validity": NO_NUMBER, **RANGE}, None],
        {"value": None, "text": "Not a number: empty is used."},
    ),
    (VALUES, "sampling", [{"top_k": 7, "seed": None, "max_tokens": 9}], {"top_k": 7}),
    (VALUES, "sampling", [{"temperature": 0}], {"temperature": 0}),
    (
        *(VALUES, "readKept"),
        ['{"top_k": 7, "seed": null, "stops": ["END"], "think": true}'],
        {"top_k": 7, "seed": None, "stops": ["END"], "think": True},
    ),
    (
        *(VALUES, "readKept"),
        ['{"top_k": "7", "top_p": null, "stops": [""], "think": 1, "other": 1}'],
        {},
    ),
    (VALUES, "readKept", ["no JSON"], {}),
    (VALUES, "readKept", [None], {}),
    (VALUES, "readKept", ["null"], {}),
]

EVERY = ("list", "choose", "check", "reload", "retry", "settings", "shorten", "newChat")
DOORS: dict[str, Any] = {name: "()" for name in (*EVERY, "again", "f32", "leaveOut")}
DOORS |= {"restore": "()", "dismiss": "()"}
DOORS |= {name: {"label": name} for name in ("shorter", "longer")}


def offered(kind: str, without: tuple[str, ...] = (), **error: Any) -> list[Any]:
    ways = {name: None if name in without else way for name, way in DOORS.items()}
    return [{"type": kind, **error}, ways]


def labelled(*names: str) -> list[Any]:
    """Return what the page offers: the label of each action, the main one first."""
    labels = {
        "list": "Back to the list",
        "choose": "Choose another file",
        "check": "Check the file",
        "reload": "Reload model",
        "retry": "Try again",
        "again": "Download again",
        "settings": "Open settings",
        "shorten": "Shorten the message",
        "newChat": "New chat",
        "leaveOut": "Leave out the oldest turns",
        "restore": "Back to the model before",
        "dismiss": "Dismiss",
    }
    every = (*names, "restore", "dismiss")
    return [[name, {"label": labels.get(name, name)}] for name in every]


ACTIONS: list[Case] = [
    ("shared/actions.js", "offered", given, labelled(*names))
    for given, names in (
        (offered("FileFormatError"), ("list", "choose", "check")),
        (offered("FileFormatError", ("list", "check")), ("choose",)),
        (offered("UnsupportedArchitectureError"), ("list", "choose")),
        (offered("ContextFullError"), ("leaveOut", "shorten", "longer", "newChat")),
        (offered("ContextFullError", ("leaveOut", "longer")), ("shorten", "newChat")),
        (offered("IntegrityError"), ("again",)),
        # A setting helps only where a shorter context is known to fit.
        (offered("DeviceLimitError", n_ctx=0), ("shorter", "list", "choose")),
        (
            offered("DeviceLimitError", n_ctx=4096),
            ("shorter", "list", "choose", "settings"),
        ),
        (offered("RequestError"), ("retry", "settings", "reload")),
        (offered("NobodyKnowsThisError"), ("reload",)),
    )
]

BLOB = f"sha256-{'0123456789abcdef' * 4}"
NAMES: list[Case] = [
    (FILES, "modelName", [[{"name": "gemma-4.Q4_K_M.GGUF"}]], "gemma-4.Q4_K_M"),
    (
        *(FILES, "modelName"),
        [[{"name": "a-00002-of-00002.gguf"}, {"name": "a-00001-of-00002.gguf"}]],
        "a",
    ),
    (FILES, "modelName", [[{"name": BLOB}]], "Blob 0123456789ab"),
    (FILES, "fileName", [["one.gguf"]], "one.gguf"),
    (FILES, "fileName", [["one", "two"]], "2 parts"),
    (
        *(FILES, "describe"),
        [{"name": "a", "size": 5e9, "file": "2 parts"}],
        "a · 5.00 GB in 2 parts",
    ),
    (FILES, "describe", [{"name": "a", "size": 5e9, "file": "a.gguf"}], "a · 5.00 GB"),
]

SPEEDS: list[Case] = [
    (
        *("models/speed.js", "compare"),
        [{"measured": 42, "predicted": 50, "reached": 0.84}],
        "predicted at most 50.0 tok/s, measured 42.0 tok/s (84\u00a0%)",
    ),
    ("models/speed.js", "compare", [{"measured": 42}], "measured 42.0 tok/s"),
    (
        *("models/speed.js", "compare"),
        [{"predicted": 50}],
        "predicted at most 50.0 tok/s",
    ),
    ("models/speed.js", "compare", [{}], ""),
]

OWN = {"key": "lapidary.settings", "fixedContext": False}
PROFILES: list[Case] = [
    (
        *("models/ollama.js", "profile"),
        [{"name": "gem", "sampling": {"top_k": 7}, "max_tokens": 9, "stop": ["END"]}],
        {
            **OWN,
            "defaults": {"top_k": 7, "max_tokens": 9, "stops": ["END"]},
            "context": None,
            "note": "gem brings settings of its own. What you change here counts for "
            "all of your models.",
        },
    ),
    (
        *("models/ollama.js", "profile"),
        [{"name": "gem", "sampling": {}, "max_tokens": None, "stop": []}],
        {**OWN, "defaults": {}, "context": None, "note": ""},
    ),
]

CASES = [*NUMBERS, *SETTINGS, *ACTIONS, *NAMES, *SPEEDS, *PROFILES]


@functools.cache
def results() -> list[Any]:
    given: list[Any] = play("pure_cases.mjs", [list(case[:3]) for case in CASES])
    return given


@pytest.mark.parametrize("i", range(len(CASES)), ids=lambda i: f"{CASES[i][1]}-{i}")
def test_gives(i: int) -> None:
    assert results()[i] == CASES[i][3]
