"""What an address and a server's answer mean, case by case; no browser is needed."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.web.node_cases import play

A, B = "a" * 64, "B" * 64
HF = "https://huggingface.co"

# What is typed, the digests beside it, where the page is; then what comes of it: the
# files as (address, digest), or what an error says.
ADDRESSES: dict[str, tuple[tuple[str, str, str], Any]] = {
    "plain": (
        ("https://x.org/m.gguf", "", "https:"),
        [("https://x.org/m.gguf", None)],
    ),
    "without a scheme, with blanks": (
        (" x.org/m.gguf\n", "", "https:"),
        [("https://x.org/m.gguf", None)],
    ),
    "digest in the address": (
        (f"https://x.org/m?a=1#sha256={B}", "", "https:"),
        [("https://x.org/m?a=1", B.lower())],
    ),
    "digest as sha256sum prints it": (
        ("https://x.org/m", f"{A}  m.gguf\n", "https:"),
        [("https://x.org/m", A)],
    ),
    "another fragment": (
        ("https://x.org/m#top", "", "https:"),
        [("https://x.org/m", None)],
    ),
    "blob": (
        (f"https://x.org/blobs/sha256:{A}", "", "https:"),
        [(f"https://x.org/blobs/sha256:{A}", A)],
    ),
    "second shard of three": (
        ("https://x.org/m-00002-of-00003.gguf?t=1", "", "https:"),
        [(f"https://x.org/m-0000{n}-of-00003.gguf?t=1", None) for n in (1, 2, 3)],
    ),
    "digests of two shards": (
        ("https://x.org/m-00001-of-00002.gguf", f"{A}, sha256:{B}", "https:"),
        [
            ("https://x.org/m-00001-of-00002.gguf", A),
            ("https://x.org/m-00002-of-00002.gguf", B.lower()),
        ],
    ),
    "digest of one shard in its address": (
        (f"https://x.org/m-00002-of-00002.gguf#sha256={A}", "", "https:"),
        [
            ("https://x.org/m-00001-of-00002.gguf", None),
            ("https://x.org/m-00002-of-00002.gguf", A),
        ],
    ),
    "http beside an http page": (
        ("http://x.org/m", "", "http:"),
        [("http://x.org/m", None)],
    ),
    "http on this machine": (
        ("http://127.0.0.1:8000/m", "", "https:"),
        [("http://127.0.0.1:8000/m", None)],
    ),
    "with spaces in it": (
        ("https://x.org/my model.gguf", "", "https:"),
        [("https://x.org/my%20model.gguf", None)],
    ),
    "with a port, without a scheme": (
        ("x.org:8443/m", "", "https:"),
        [("https://x.org:8443/m", None)],
    ),
    "this machine, without a scheme": (
        ("localhost:8000/m", "", "https:"),
        [("http://localhost:8000/m", None)],
    ),
    **{
        f"in {around[0]}": (
            (around.replace("@", "https://x.org/m.gguf"), "", "https:"),
            [("https://x.org/m.gguf", None)],
        )
        for around in (
            "<@>",
            '"@"',
            "'@'",
            "“@”",
            " (@). ",
            "[a](@)",
            "wget @",
            "curl -LO '@'",
            "@,",
        )
    },
    **{
        page: ((page, "", "https:"), [(file, None)])
        for page, file in (
            (f"{HF}/u/r/blob/main/m.gguf", f"{HF}/u/r/resolve/main/m.gguf"),
            (f"{HF}/u/r/raw/main/a/m.gguf", f"{HF}/u/r/resolve/main/a/m.gguf"),
            (f"{HF}/u/r/resolve/b/m?a=1", f"{HF}/u/r/resolve/b/m?a=1"),
            ("hf.co/u/r/blob/main/m.gguf", f"{HF}/u/r/resolve/main/m.gguf"),
            (
                "https://hf-mirror.com/u/r/blob/main/m.gguf",
                "https://hf-mirror.com/u/r/resolve/main/m.gguf",
            ),
            ("https://x.org/u/r/blob/v/m.gguf", "https://x.org/u/r/resolve/v/m.gguf"),
            (
                "https://github.com/u/r/blob/main/m.gguf",
                "https://github.com/u/r/raw/main/m.gguf",
            ),
            (
                "https://github.com/u/r/releases/download/v1/m.gguf",
                "https://github.com/u/r/releases/download/v1/m.gguf",
            ),
            (
                "https://www.modelscope.cn/models/u/r/file/view/master/m.gguf",
                "https://www.modelscope.cn/models/u/r/resolve/master/m.gguf",
            ),
        )
    },
    **{
        page: ((page, "", "https:"), "of a page")
        for page in (
            f"{HF}/u/r",
            f"{HF}/u/r/",
            f"{HF}/u/r/tree/main",
            f"{HF}/u/r?show_file_info=m.gguf",
            f"{HF}/u",
            f"{HF}/models",
            "hf.co/u/r",
            "hf.co/u/r-GGUF:Q4_K_M",
            "ollama run hf.co/u/r:Q4_K_M",
            "https://github.com/u/r",
            "https://modelscope.cn/models/u/r",
            "https://ollama.com/library/gemma4",
        )
    },
    **{
        name: ((name, "", "https:"), "name of a model for Ollama")
        for name in (
            "ollama run gemma4:31b",
            "$ ollama pull gemma4",
            "gemma4:31b",
            "me/gemma4:mine",
            "ollama run",
        )
    },
    **{
        path: ((path, "", "https:"), "no address")
        for path in (
            "/data/me/m.gguf",
            "~/m.gguf",
            "C:\\models\\m.gguf",
            "file:///data/me/m.gguf",
            "magnet:?xt=urn:btih:0",
            "hf://u/r/m.gguf",
            "gemma4",
            "https://x.org/a https://x.org/b",
        )
    },
    "nothing": (("", "", "https:"), "no address"),
    "words": (("gemma 4", "", "https:"), "no address"),
    "another scheme": (("ftp://x.org/m", "", "https:"), "no address"),
    "script": (("javascript:alert(1)", "", "https:"), "no address"),
    "folder": (("https://x.org/models/", "", "https:"), "folder"),
    "host alone": (("https://x.org", "", "https:"), "folder"),
    "password": (("https://me:pw@x.org/m", "", "https:"), "password"),
    "http on an https page": (("http://x.org/m", "", "https:"), "https cannot read"),
    "shard zero": (
        ("https://x.org/m-00000-of-00003.gguf", "", "https:"),
        "no such part",
    ),
    "shard past the end": (
        ("https://x.org/m-00004-of-00003.gguf", "", "https:"),
        "no such part",
    ),
    "endless shards": (
        ("https://x.org/m-00001-of-99999.gguf", "", "https:"),
        "no such part",
    ),
    "short digest": (("https://x.org/m", "abc", "https:"), "not the SHA-256"),
    "long digest": (("https://x.org/m", A + "0", "https:"), "not the SHA-256"),
    "too many digests": (("https://x.org/m", f"{A} {B}", "https:"), "not the SHA-256"),
    "empty digest in the address": (
        ("https://x.org/m#sha256=", "", "https:"),
        "not the SHA-256",
    ),
    "two opinions": ((f"https://x.org/m#sha256={A}", B, "https:"), "Two different"),
}

TAGGED = {"etag": '"1"', "modified": "Mon"}
WEAK = {"etag": 'W/"1"', "modified": ""}
NAMELESS = {"etag": "", "modified": ""}


def part(mark: dict[str, str] = TAGGED, done: int = 40, **more: Any) -> dict[str, Any]:
    """Return a file of 100 bytes of which some are here."""
    return {
        "name": "m",
        "done": done,
        "size": 100,
        "mark": mark,
        "expected": None,
    } | more


def ranged(text: str = "bytes 40-99/100", **more: str) -> dict[str, str]:
    """Return the headers of the rest of it."""
    return {"Content-Range": text, "Content-Length": "60", "ETag": '"1"', **more}


# What is here, the answer's status and headers; then how it is used, or the error.
ANSWERS: dict[str, tuple[tuple[Any, int, dict[str, str]], str]] = {
    "all": ((part(done=0), 200, {"Content-Length": "100"}), "whole"),
    "all, size not said": ((part(done=0, size=None), 200, {}), "whole"),
    "the rest": ((part(), 206, ranged()), "append"),
    "the rest, headers hidden": (
        (part(), 206, {"Content-Length": "60", "Last-Modified": "Mon"}),
        "append",
    ),
    "no ranges": ((part(), 200, {"Content-Length": "100", "ETag": '"1"'}), "whole"),
    "no ranges, another file": (
        (part(), 200, {"Content-Length": "100", "ETag": '"2"'}),
        "changed",
    ),
    "another tag": ((part(), 206, ranged(ETag='"2"')), "changed"),
    "another date": (
        (part(), 206, {"Content-Length": "60", "Last-Modified": "Tue"}),
        "changed",
    ),
    "another size": ((part(), 206, ranged("bytes 40-98/99")), "changed"),
    "past its end": ((part(), 416, {}), "changed"),
    "a weak tag alone": ((part(WEAK), 206, ranged(ETag='W/"1"')), "changed"),
    "no name for the version": ((part(NAMELESS), 206, ranged(ETag="")), "changed"),
    "no name, but a digest": (
        (part(NAMELESS, expected=A), 206, ranged(ETag="")),
        "append",
    ),
    "from elsewhere": ((part(), 206, ranged("bytes 41-99/100")), "another range"),
    "not to its end": ((part(), 206, ranged("bytes 40-98/100")), "another range"),
    "no range at all": ((part(), 206, ranged("bytes */100")), "another range"),
    "headers hidden, wrong length": (
        (part(), 206, {"Content-Length": "61", "Last-Modified": "Mon"}),
        "another range",
    ),
    "busy": ((part(), 503, {}), "later"),
    "too often": ((part(done=0), 429, {}), "later"),
    "gone": ((part(), 404, {}), "refuses"),
    "closed": ((part(), 403, {}), "refuses"),
    "a range that nobody asked for": ((part(done=0), 206, ranged()), "refuses"),
    "nothing": ((part(done=0), 204, {}), "refuses"),
}


@functools.cache
def outcomes() -> dict[str, list[Any]]:
    """Run all cases at once in Node."""
    cases = {
        "addresses": [case for case, _ in ADDRESSES.values()],
        "answers": [case for case, _ in ANSWERS.values()],
    }
    return play("address_cases.mjs", cases)


def expect_error(outcome: Any, text: str) -> None:
    """Hold an outcome to be a typed error that says so and what to do."""
    assert outcome["kind"] == "error"
    assert outcome["type"] == "DownloadError"
    assert text in outcome["what"]
    assert outcome["found"]
    assert outcome["remedy"]


@pytest.mark.parametrize("name", ADDRESSES)
def test_address(name):
    outcome = outcomes()["addresses"][list(ADDRESSES).index(name)]
    expected = ADDRESSES[name][1]
    if isinstance(expected, str):
        return expect_error(outcome, expected)
    assert [(file["url"], file["expected"]) for file in outcome] == expected
    assert all("/" not in f["name"] and f["name"][0] != "." for f in outcome)


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(name):
    outcome = outcomes()["answers"][list(ANSWERS).index(name)]
    expected = ANSWERS[name][1]
    if "use" not in outcome:
        return expect_error(outcome, expected)
    assert outcome["use"] == expected
