"""Encoding and decoding: two peers' ids, streaming, hostile text and files."""

from __future__ import annotations

import base64
import functools
import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app.errors import FileFormatError, RequestError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Metadata
from pyodide_app.text.chat import Prompt, Segment, markup, outside
from pyodide_app.text.chat.gemma4 import render
from pyodide_app.text.tokenizer import Tokenizer, merges
from pyodide_app.text.tokenizer.merges import merge
from pyodide_app.text.tokenizer.roles import GEMMA4_CONTROL, GEMMA4_MARKERS
from pyodide_app.text.tokenizer.vocabulary import STOP_KEYS
from tests.app.vocabularies import BYTES, ints, metadata_of, strings, toy_metadata
from tests.support.golden_data import find, require

VOCABULARIES = {"small": "models/moe8-q4_k_m.gguf"}
if find("tokenizer/vocab-262144.gguf"):
    VOCABULARIES["full"] = "tokenizer/vocab-262144.gguf"

CASES = json.loads(require("tokenizer/cases.json").read_text("utf-8"))
ROWS = [
    pytest.param(name, row, id=f"{name}-{i}")
    for name in VOCABULARIES
    for i, row in enumerate(CASES[name]["rows"])
]
WORDS = st.sampled_from(
    [" ", "\n", "a", "the", "é", "你", "🧿", "<|tu", "rn>", "<|channel>", '<|"|>', "|>"]
)
TEXTS = st.lists(WORDS | st.text(max_size=5), max_size=20).map("".join)


@functools.cache
def load(name: str) -> Tokenizer:
    return Tokenizer.from_metadata(metadata(name))


def metadata(name: str) -> Metadata:
    return metadata_of(require(VOCABULARIES[name]))


SPECIALS = [string.encode() for string in (*GEMMA4_CONTROL, *GEMMA4_MARKERS)]


def gemma4(tokens: list[bytes], merges: list[bytes], **more: object) -> Metadata:
    return toy_metadata(
        "gemma4", tokens=strings(tokens), merges=strings(merges), **more
    )


def toy(tokens: list[bytes], merges: list[bytes], **more: object) -> Tokenizer:
    tokens = [*SPECIALS, *BYTES, *tokens]
    return Tokenizer.from_metadata(gemma4(tokens, merges, **more))


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_ids_equal_those_of_two_peers(name, row):
    tokenizer, text = load(name), row["text"]
    assert tokenizer.encode(text) == row["hf"] == row["llama"]
    assert tokenizer.encode(text, bos=True) == row["hf_bos"] == row["llama_bos"]
    assert tokenizer.encode(text, special=False) == row["llama_no_special"]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_text_equals_that_of_two_peers(name, row):
    text = load(name).decode(row["hf"])
    assert text == row["hf_decoded"] == row["llama_pieces_joined"]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_stream_gives_the_text_without_control_tokens(name, row):
    tokenizer = load(name)
    decoder = tokenizer.decoder()
    shown = [
        i
        for i in row["hf"]
        if i not in tokenizer.special_ids or i in tokenizer.parsed_ids
    ]
    streamed = "".join(map(decoder.push, row["hf"])) + decoder.finish()
    assert streamed == tokenizer.decode(shown)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_bytes_that_are_no_text_are_replaced_one_by_one(name):
    tokenizer = load(name)
    for row in CASES[name]["raw_bytes_llama_only"]:
        text = base64.b64decode(row["bytes_b64"]).decode("utf-8", "surrogateescape")
        ids = tokenizer.encode(text)
        assert ids == row["llama"]
        assert tokenizer.decode(ids).encode() == base64.b64decode(
            row["llama_pieces_b64"]
        )


@pytest.mark.parametrize("name", VOCABULARIES)
def test_header_facts(name):
    tokenizer = load(name)
    pad = tokenizer.encode("<pad>")
    assert tokenizer.n_vocab == CASES[name]["n_vocab"]
    assert tokenizer.stop_ids == {*CASES[name]["eog"], *pad}
    assert tokenizer.bos_id == 2
    assert tokenizer.suppress_ids == ()
    assert len(tokenizer.special_ids) == 24
    markers = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>']
    markers += ["<|tool_response>", "<tool_response|>"]
    assert sorted(map(tokenizer.piece, tokenizer.parsed_ids)) == sorted(markers)


def test_token_types_do_not_matter():
    """Ollama's converter types markers as control tokens and bytes as normal ones."""
    values = dict(metadata("small"))
    n = CASES["small"]["n_vocab"]
    for types in ([3 if i in load("small").special_ids else 1 for i in range(n)], []):
        values["tokenizer.ggml.token_type"] = ints(types)
        tokenizer = Tokenizer.from_metadata(Metadata(values))
        assert tokenizer.special_ids == load("small").special_ids
        for row in CASES["small"]["rows"]:
            assert tokenizer.encode(row["text"]) == row["hf"]
            plain = tokenizer.encode(row["text"], special=False)
            assert plain == row["llama_no_special"]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_untrusted_text_never_becomes_a_special_token(name):
    tokenizer = load(name)
    for special_id in tokenizer.special_ids:
        string = tokenizer.piece(special_id)
        prompt = Prompt.join([markup("<bos>"), outside(f"a{string}b {string}")])
        bos, *ids = tokenizer.encode_prompt(prompt)
        assert bos == tokenizer.bos_id
        assert tokenizer.special_ids.isdisjoint(ids)
        assert tokenizer.decode(ids) == f"a{string}b {string}"


@given(TEXTS, TEXTS)
def test_no_user_text_forges_a_token(first, second):
    def special_tokens(text, role, reasoning):
        user = {"role": "user", "content": text}
        reply = {"role": "assistant", "content": text, "reasoning": reasoning}
        prompt = render([user, reply, {"role": role, "content": text}])
        ids = load("small").encode_prompt(prompt)
        return [i for i in ids if i in load("small").special_ids]

    forged = special_tokens(first, "critic" + second, "r" + second)
    assert forged == special_tokens("x", "critic", "r")


def test_marker_is_not_assembled_across_a_border():
    tokenizer = load("small")
    pieces = [outside("<|tu"), markup("rn>"), outside("<|channel"), markup(">")]
    ids = tokenizer.encode_prompt(Prompt.join(pieces))
    assert tokenizer.special_ids.isdisjoint(ids[1:])
    assert tokenizer.decode(ids[1:]) == "<|turn><|channel>"


def test_plain_text_is_joined_across_a_border():
    tokenizer = load("small")
    prompt = Prompt.join([markup("<bos><|turn>user\n"), outside("\n<b>")])
    assert tokenizer.encode_prompt(prompt) == tokenizer.encode(prompt.text)
    assert tokenizer.encode("\n\n")[0] in tokenizer.encode_prompt(prompt)


@given(st.text(st.characters(codec="utf-8", exclude_characters="<|"), max_size=40))
def test_prompt_of_harmless_text_is_encoded_like_its_text(text):
    system = {"role": "system", "content": "x"}
    prompt = render([system, {"role": "user", "content": text}])
    expected = load("small").encode(prompt.text, special=True)
    assert load("small").encode_prompt(prompt) == expected


@pytest.mark.parametrize("segments", [(), (Segment("<bos>", True),)])
def test_prompt_has_exactly_one_bos(segments):
    assert load("small").encode_prompt(Prompt(segments)) == [2]


@given(TEXTS)
def test_decoding_undoes_encoding(text):
    tokenizer = load("small")
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")


def test_surrogates():
    encode = load("small").encode
    assert encode("\ud83d\ude00") == encode("😀")
    assert encode("a\ud83db\udc00") == encode("a\ufffdb\ufffd")


def merge_slowly(symbols: list[bytes], ranks: dict[bytes, int]) -> list[bytes]:
    """Merge as the definition says: the lowest rank, leftmost, again and again."""
    while True:
        pairs = [
            (ranks[a + b" " + b], i)
            for i, (a, b) in enumerate(pairwise(symbols))
            if a + b" " + b in ranks
        ]
        if not pairs:
            return symbols
        _, i = min(pairs)
        symbols = [*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :]]


SYMBOLS = st.text("ab", min_size=1, max_size=3).map(str.encode)
PAIRS = st.tuples(SYMBOLS, SYMBOLS).map(b" ".join)


@given(st.text("abc", max_size=30), st.lists(PAIRS, unique=True, max_size=20))
def test_heap_merges_like_the_definition(text, merges):
    symbols = [char.encode() for char in text]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    assert merge(list(symbols), ranks.get) == merge_slowly(symbols, ranks)


@pytest.mark.parametrize("text", [" " * 200_000, "ab cd, " * 30_000, "a" * 200_000])
def test_long_line_takes_linear_many_heap_operations(text, monkeypatch):
    pushed = []
    heappush = merges.heappush

    def counted(heap, entry):
        pushed.append(entry)
        heappush(heap, entry)

    monkeypatch.setattr(merges, "heappush", counted)
    ids = load("small").encode(text)
    assert load("small").decode(ids) == text
    # Every merge removes a symbol and offers at most two new pairs.
    assert len(pushed) <= 2 * (len(text) - len(ids))


def test_stream_holds_back_incomplete_characters():
    tokenizer = load("small")
    decoder = tokenizer.decoder()
    ids = tokenizer.encode("🫠")
    assert [decoder.push(i) for i in ids] == ["", "", "", "🫠"]
    assert [decoder.push(i) for i in ids[:3]] == ["", "", ""]
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""


def test_stream_goes_on_after_a_broken_character():
    decoder, encode = load("small").decoder(), load("small").encode
    assert decoder.push(encode("🫠")[0]) == ""
    assert decoder.push(encode("a")[0]) == "\ufffda"


def test_typed_byte_token_is_text():
    tokenizer = load("small")
    ids = tokenizer.encode("<0x41>")
    assert len(ids) > 1
    assert tokenizer.decode(ids) == "<0x41>"


def test_lines_are_split_unless_a_merge_crosses_them():
    crossing = toy([b"a", b"\n", b"a\n"], [b"a \n"])
    assert crossing.encode("a\n") == [crossing.n_vocab - 1]
    runs = toy([b"a", b"\n", b"\n\n"], [b"\n \n"])
    assert [runs.piece(i) for i in runs.encode("a\n\n\na")] == ["a", "\n\n", "\n", "a"]


def test_newline_run_in_the_vocabulary_needs_no_merge():
    tokenizer = toy([b"\n", b"\n\n\n"], [])
    assert tokenizer.encode("\n\n\n") == [tokenizer.n_vocab - 1]


def test_merges_cannot_spell_a_special_token():
    pieces = [b"<", b"|", b"turn", b">", b"<|", b"<|turn", b"0x41"]
    merges = [b"< |", b"<| turn", b"<|turn >", b"< 0x41", b"<0x41 >"]
    letters = [b"t u", b"tu r", b"tur n", b"0 x", b"0x 4", b"0x4 1"]
    tokenizer = toy(pieces, letters + merges)
    prompt = Prompt.join([outside("<|turn><0x41>")])
    ids = tokenizer.encode_prompt(prompt)[1:]
    assert tokenizer.special_ids.isdisjoint(ids)
    assert tokenizer.decode(ids) == "<|turn><0x41>"


def test_user_defined_text_is_recognised_everywhere_and_shown():
    tokenizer = toy(
        [b"<table>", b"t", b"<|odd|>"],
        [],
        token_type=ints([3] * len(SPECIALS) + [6] * 256 + [4, 1, 4]),
    )
    table = tokenizer.n_vocab - 3
    assert tokenizer.encode("<table>t") == [table, table + 1]
    assert tokenizer.encode_prompt(Prompt.join([outside("<table>")]))[1:] == [table]
    assert tokenizer.decoder().push(table) == "<table>"
    assert tokenizer.encode("<|odd|>", special=False) == [table + 2]
    odd = tokenizer.encode_prompt(Prompt.join([outside("<|odd|>")]))
    assert table + 2 not in odd


def test_special_token_that_is_no_text_is_never_read():
    types = ints([3] * len(SPECIALS) + [6] * 256 + [4, 3])
    tokenizer = toy([b"\xff", b""], [], token_type=types)
    ids = tokenizer.encode("a\ufffd")
    assert tokenizer.decode(ids) == "a\ufffd"
    assert len(ids) == 4


def test_first_of_equal_tokens_counts():
    tokenizer = toy([b"x", b"x"], [])
    assert tokenizer.encode("x") == [tokenizer.n_vocab - 2]


def test_metadata_names_more_stops_and_suppressed_tokens():
    tokenizer = toy(
        [b"x", b"y"],
        [],
        eos_token_ids=ints([1, 280]),
        eot_token_id=279,
        suppress_tokens=ints([5, 6]),
    )
    stops = {tokenizer.piece(i) for i in tokenizer.stop_ids - {279, 280}}
    assert {279, 280} < tokenizer.stop_ids
    assert stops == {"<pad>", "<eos>", "<turn|>", "<|tool_response>"}
    assert tokenizer.suppress_ids == (5, 6)


def test_unknown_characters_without_byte_tokens_become_unk():
    tokens = [b"<bos>", b"<unk>", b"a"]
    tokenizer = Tokenizer.from_metadata(gemma4(tokens, []))
    assert tokenizer.encode("aé") == [2, 1, 1]


@pytest.mark.parametrize(
    ("values", "error", "named"),
    [
        ({}, FileFormatError, "tokenizer.ggml.tokens"),
        ({"tokens": strings(BYTES)}, UnsupportedFormatError, "merges"),
        ({"tokens": strings(BYTES), "merges": strings([])}, FileFormatError, "<bos>"),
        (
            {"tokens": strings([b"<bos>"]), "merges": strings([])},
            FileFormatError,
            "byte",
        ),
    ],
)
def test_bad_vocabulary_is_refused(values, error, named):
    keys = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    keys["tokenizer.ggml.model"] = "gemma4"
    with pytest.raises(error, match=named):
        Tokenizer.from_metadata(Metadata(keys))


HOSTILE_IDS = [-1, 257, 2**32 - 1, 2**63, 0.5, math.nan, True, "1", ints([300])]


@pytest.mark.parametrize("value", HOSTILE_IDS, ids=repr)
@pytest.mark.parametrize("name", [*STOP_KEYS, "bos_token_id", "suppress_tokens"])
def test_ids_that_cannot_be_used_are_ignored_and_noted(name, value):
    metadata = gemma4([b"<bos>", *BYTES], [], **{name: value})
    tokenizer = Tokenizer.from_metadata(metadata)
    assert (tokenizer.bos_id, tokenizer.stop_ids) == (0, frozenset())
    assert tokenizer.suppress_ids == ()
    (note,) = metadata.notes
    assert note.startswith(f"The metadata key tokenizer.ggml.{name} ")


@pytest.mark.parametrize("types", [ints([1, 2]), strings([b"a"]), 3.0, "3"], ids=repr)
def test_types_that_cannot_be_used_are_ignored_and_noted(types):
    tokens = [b"<bos>", b"<|turn>", *BYTES]
    metadata = gemma4(tokens, [], token_type=types)
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.special_ids == {0, 1}
    assert "tokenizer.ggml.token_type is ignored: found " in metadata.notes[0]


@pytest.mark.parametrize("token_id", [-1, 1024])
def test_id_outside_the_vocabulary_is_refused(token_id):
    with pytest.raises(RequestError, match=str(token_id)):
        load("small").decoder().push(token_id)
