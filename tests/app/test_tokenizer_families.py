"""Tokenizers of the families: ids of peers, special tokens, ends, rows, round trips."""

from __future__ import annotations

import asyncio
import functools
import json
import unicodedata
import weakref
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyodide_app.errors import FileFormatError, ShapeError, UnsupportedFormatError
from pyodide_app.gguf.metadata import Metadata, Value
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.load.header import read_header
from pyodide_app.text.chat import Prompt, markup, outside
from pyodide_app.text.tokenizer import Tokenizer, merges
from pyodide_app.text.tokenizer.merges import merge
from pyodide_app.text.tokenizer.sentencepiece import Characters, score_rank
from pyodide_app.text.tokenizer.words import Words
from tests.app.vocabularies import (
    BYTE,
    BYTES,
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    byte_level,
    floats,
    ints,
    letters,
    metadata_of,
    scored,
    strings,
    toy_metadata,
)
from tests.samples.gguf_bytes import with_keys
from tests.support.golden_data import (
    committed_cases,
    committed_families,
    golden_roots,
    require,
)
from tools.real_models import GEMMA3, SMOLLM2, ensure

Keys = dict[str, Value]

SMALL = json.loads(require("tokenizer/families.json").read_text("utf-8"))
SMALL_ROWS = [
    pytest.param(name, row, id=f"{name}-{i}")
    for name in SMALL
    for i, row in enumerate(SMALL[name]["cases"])
]
LARGER = sorted(
    path.stem.removeprefix("tokenizer-vocab-")
    for root in golden_roots()
    for path in root.glob("real/tokenizer-vocab-*.json")
    if "ollama" not in path.stem  # on the vocabulary of a real model
)
OF_MOE = {"qwen3moe": "qwen", "mixtral": "spm"}  # which vocabulary a model has
MOE = [
    path
    for root in golden_roots()
    for path in sorted(root.glob("moe/models/*.gguf"))
    if path.stem.startswith(tuple(OF_MOE))
]
REAL = {"gemma-3-270m": GEMMA3, "smollm2-135m": SMOLLM2}


@functools.cache
def small(name: str) -> Tokenizer:
    path = require(f"tokenizer/{name}.gguf")
    return Tokenizer.from_metadata(metadata_of(path))


@functools.cache
def larger(name: str) -> Tokenizer:
    file, _, pre = name.partition("-as-")
    keys = dict(
        metadata_of(require(f"vocab/ggml-vocab-{file.removeprefix('ggml-')}.gguf"))
    )
    if pre:
        keys["tokenizer.ggml.pre"] = pre
    return Tokenizer.from_metadata(Metadata(keys))


def check_cases(tokenizer: Tokenizer, cases: dict[str, Any]) -> None:
    """Hold a tokenizer to every case of a file, to published ids where it has any."""
    assert tokenizer.bos_id == (
        cases["bos"] if cases.get("add_bos", cases.get("add_bos_llama_cpp")) else None
    )
    for case in cases["cases"]:
        text, special = case["text"], case["parse_special"]
        ids = tokenizer.encode(text, special=special, bos=case["add_special"])
        right = [case.get("published", case["ids"])]
        assert ids in right + ([case["also"]] if "also" in case else []), ascii(text)
        if case["add_special"] and tokenizer.bos_id is not None:
            ids = ids[1:]
        assert tokenizer.decode(ids) == text.replace("▁", " ") or "▁" in text
        assert tokenizer.decode(ids) in (text, text.replace("▁", " "))


def ends(cases: dict[str, Any], tokenizer: Tokenizer) -> set[int]:
    """Return llama.cpp's ends without those that are text: </s>, <reponame>."""
    texts = {"</s>", "<reponame>"}
    eos_is_text = {"</s>"} if tokenizer.bos_id == 1 else set()
    wrong = texts - eos_is_text
    return {i for i in cases["eog_llama_cpp"] if tokenizer.piece(i) not in wrong}


@pytest.mark.parametrize(("name", "row"), SMALL_ROWS)
def test_ids_equal_those_of_llama_cpp(name, row):
    tokenizer, text = small(name), row["text"]
    ids = tokenizer.encode(text)
    assert ids == row["llama_special"]
    if name != "oai":  # llama.cpp takes gpt-oss's markup for user-defined
        assert tokenizer.encode(text, special=False) == row["llama_plain"]
    assert tokenizer.decode(ids) == text
    decoder = tokenizer.decoder()
    shown = [i for i in ids if i not in tokenizer.special_ids]
    streamed = "".join(map(decoder.push, shown)) + decoder.finish()
    assert streamed == tokenizer.decode(shown)


def test_text_is_not_composed_before_it_is_encoded():
    """Hugging Face's tokenizer of Qwen does, and has other ids for two characters."""
    (row,) = [r for r in SMALL["qwen"]["cases"] if r["ids"] != r["llama_special"]]
    composed = unicodedata.normalize("NFC", row["text"])
    assert small("qwen").encode(composed) == row["ids"]
    assert small("qwen").encode(row["text"]) != row["ids"]


@pytest.mark.parametrize("path", MOE, ids=lambda path: path.stem)
def test_vocabulary_in_the_file_of_a_model_is_the_small_one(path):
    (name,) = [name for start, name in OF_MOE.items() if path.stem.startswith(start)]
    metadata = metadata_of(path)
    tokenizer = Tokenizer.from_metadata(metadata, small(name).n_vocab)
    for row in SMALL[name]["cases"]:
        assert tokenizer.encode(row["text"]) == row["llama_special"], ascii(row["text"])
    assert tokenizer.stop_ids == small(name).stop_ids


@pytest.mark.parametrize("name", ["qwen", "spm"])
def test_ends_of_small_vocabularies(name):
    assert small(name).stop_ids == set(SMALL[name]["eog"])


def cases_of(name: str) -> dict[str, Any]:
    return json.loads(require(f"real/tokenizer-{name}.json").read_text("utf-8"))


if LARGER:

    @pytest.mark.parametrize("name", LARGER)
    def test_every_case_of_a_released_vocabulary(name):
        cases = cases_of(f"vocab-{name}")
        check_cases(larger(name), cases)
        assert larger(name).stop_ids == ends(cases, larger(name))

    def test_a_released_vocabulary_of_llama_3_needs_no_pre_tokenizer():
        keys = dict(metadata_of(require("vocab/ggml-vocab-llama-bpe.gguf")))
        del keys["tokenizer.ggml.pre"]
        tokenizer = Tokenizer.from_metadata(Metadata(keys))
        check_cases(tokenizer, cases_of("vocab-llama-bpe"))


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_every_case_of_a_real_model(name):
    tokenizer = Tokenizer.from_metadata(metadata_of(ensure(REAL[name])))
    cases = cases_of(name)
    check_cases(tokenizer, cases)
    assert tokenizer.stop_ids == ends(cases, tokenizer)


@pytest.mark.real
def test_gemma_3_as_ollama_types_it_is_read_as_published():
    keys = dict(metadata_of(ensure(GEMMA3)))
    types = keys["tokenizer.ggml.token_type"].tolist()
    tokens = keys["tokenizer.ggml.tokens"].raw_list()
    retyped = [i for i, kind in enumerate(types) if kind == USER_DEFINED]
    for i in retyped:
        types[i], tokens[i] = NORMAL, tokens[i].replace(b" ", "▁".encode())
    keys["tokenizer.ggml.token_type"] = ints(types)
    keys["tokenizer.ggml.tokens"] = strings([*tokens, b"<image_soft_token>"])
    del keys["tokenizer.ggml.pre"]
    keys["tokenizer.ggml.token_type"] = ints([*types, CONTROL])
    scores = keys["tokenizer.ggml.scores"].tolist()
    keys["tokenizer.ggml.scores"] = floats([*scores, -1000.0])
    tokenizer = Tokenizer.from_metadata(Metadata(keys), n_rows=len(types))
    check_cases(tokenizer, cases_of("vocab-gemma3-ollama-types"))
    assert tokenizer.n_vocab == len(types)
    assert len(types) not in tokenizer.encode("<image_soft_token>")


def test_added_tokens_of_gemma_3_are_strings_whatever_their_type_is():
    """A toy of it: white space and tags stand among the first 494 tokens."""
    added = ["▁▁", "▁▁▁", "<table>", "\n\n"]
    words = ["▁", "a", "▁a", "<", "table", ">", "\n", "▁▁a"]
    names = [*added, *(f"<{i}>" for i in range(490)), *words]
    scores = [*[-1000.0] * 494, *[-1000.0 + i for i in range(len(words))]]
    keys = dict(model="llama", tokens=strings([*map(str.encode, names), *BYTES]))
    keys |= dict(scores=floats([*scores, *[0.0] * 256]), add_space_prefix=False)
    keys["token_type"] = ints([NORMAL] * len(names) + [BYTE] * 256)
    texts = {"  a": ["  ", "a"], "<table>\n\na": ["<table>", "\n\n", "a"]}
    texts |= {" a": [" a"], "    a": ["   ", " a"], "▁▁a": ["  a"]}
    tokenizer = Tokenizer.from_metadata(toy_metadata("gemma3", **keys))
    for text, pieces in texts.items():
        ids = tokenizer.encode_prompt(Prompt.join([outside(text)]))
        assert [*map(tokenizer.piece, ids)] == pieces
        assert tokenizer.encode(text, special=False) == ids
    other = Tokenizer.from_metadata(toy_metadata("llama", **keys))
    assert [*map(other.piece, other.encode("  a"))] == ["  a"]  # as it is typed


# -- merging by scores ----------------------------------------------------------------


def merge_slowly(text: str, scores: dict[str, float]) -> list[str]:
    """Merge as the definition says: the highest score, leftmost, again and again."""
    symbols = list(text)
    while True:
        pairs = [
            (-scores[a + b], i)
            for i, (a, b) in enumerate(pairwise(symbols))
            if a + b in scores
        ]
        if not pairs:
            return symbols
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


SCORES = st.sampled_from([-3.5, -2.0, -1.0, -1.0, 0.0, 0.5, 7.0]) | st.floats(-9, 9)
TOKENS = st.dictionaries(st.text("ab▁\n", min_size=2, max_size=4), SCORES, max_size=14)


@given(st.text("ab \n", max_size=30), TOKENS)
def test_scores_merge_like_the_definition(text, tokens):
    """Also where words are cut apart first, and where tokens forbid to."""
    single = {c: -9.0 for c in "ab▁\n"}
    scores = {t: round(s * 8) / 8 for t, s in tokens.items()}  # exact as float32
    tokenizer = scored({t.encode(): s for t, s in {**single, **scores}.items()})
    merged = merge_slowly(text.replace(" ", "▁"), scores)
    assert [tokenizer.piece(i) for i in tokenizer.encode(text)] == [
        symbol.replace("▁", " ") for symbol in merged
    ]


@given(
    st.text("ab >\n", max_size=30),
    st.lists(st.tuples(*[st.text("ab▁>\n", min_size=1, max_size=2)] * 2), max_size=14),
)
def test_merges_of_characters_do_not_depend_on_how_words_are_cut(text, pairs):
    names = dict.fromkeys(["a", "b", "▁", ">", "\n", *(a + b for a, b in pairs)])
    ranks = {f"{a} {b}".encode(): i for i, (a, b) in enumerate(dict.fromkeys(pairs))}
    ids = {name.encode(): i for i, name in enumerate(names)}
    ids |= {byte: len(ids) + i for i, byte in enumerate(BYTES)}
    coder = Characters(ids, ranks.get, ranks, joint=b" ")
    got: list[int] = []
    coder.encode(text, got)
    whole = merge([c.encode() for c in text.replace(" ", "▁")], ranks.get)
    assert got == [ids[symbol] for symbol in whole]


def test_scores_of_every_sign_are_in_order():
    values = [5.0, 1e-30, 0.0, -1e-30, -1.0, -1000.0, -3e38]
    ids = {b"%d" % i: i for i in range(len(values))}
    rank = score_rank(ids, floats(values))
    ranks = [rank(name) for name in ids]
    assert ranks == sorted(ranks) and len(set(ranks)) == len(ranks)
    assert score_rank(ids, floats([0.0, -0.0]))(b"0") == rank(b"2") == 0
    assert rank(b"other") is None


def test_control_and_byte_tokens_are_not_spelled_by_merging():
    tokens = {name: 1.0 for name in (b"<s", b"<s>", b"0x", b"0x4", b"<0x4", b"<0x41")}
    tokenizer = scored({b"<": 0, b"s": 0, b">": 0, **tokens})  # typed as text
    for text in ("<s>", "<0x41>"):
        ids = tokenizer.encode_prompt(Prompt.join([outside(text)]))[1:]
        assert tokenizer.special_ids.isdisjoint(ids)
        assert tokenizer.decode(ids) == text
        assert len(ids) > 1


# -- spaces, bytes, round trips -------------------------------------------------------


ANY = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=40)
PIECES = st.sampled_from(["<|im_end|>", "<think>", "<s>", " ", "\n", "'s", "the", "12"])
TEXTS = st.lists(PIECES | ANY, max_size=8).map("".join)


@pytest.mark.parametrize("name", SMALL)
@given(text=TEXTS)
def test_decoding_undoes_encoding(name, text):
    tokenizer = small(name)
    ids = tokenizer.encode(text, special=False)
    assert tokenizer.decode(ids) == text
    untrusted = tokenizer.encode_prompt(Prompt.join([outside(text)]))
    assert tokenizer.special_ids & {*untrusted} <= {tokenizer.bos_id}
    decoder = tokenizer.decoder()
    streamed = "".join(map(decoder.push, untrusted)) + decoder.finish()
    assert streamed == text


@pytest.mark.parametrize("name", SMALL)
@given(text=ANY, cut=st.integers(0, 40))
def test_a_border_between_segments_of_plain_text_changes_nothing(name, text, cut):
    tokenizer = small(name)
    whole = tokenizer.encode_prompt(Prompt.join([outside(text)]))
    parts = [outside(text[:cut]), markup(""), outside(text[cut:])]
    assert tokenizer.encode_prompt(Prompt.join(parts)) == whole
    assert tokenizer.encode(text, bos=True, special=False) == whole


def spaced(**more: Value) -> Tokenizer:
    tokens = {"▁".encode(): 0.0, b"a": 0.0, "▁a".encode(): 1.0, b"<s>": 0.0}
    more = {"bos_token_id": 260, **more}
    return scored(tokens, {b"<s>": CONTROL}, **more)


def test_a_text_gets_a_space_in_front_and_loses_it_again():
    tokenizer = spaced(add_space_prefix=True)
    pieces = lambda text: [*map(tokenizer.piece, tokenizer.encode(text))]  # noqa: E731
    assert pieces("a") == [" a"]
    assert pieces(" a") == [" ", " a"]
    assert pieces("a a<s>a") == [" a", " a", "<s>", " a"]
    assert pieces("") == []
    for text in ("a", " a", "  a a", "a ", "<s>a"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_text_gets_a_space_unless_the_file_says_no():
    keys = dict(model="llama", tokens=strings(BYTES), scores=floats([0.0] * 256))
    default = Tokenizer.from_metadata(toy_metadata(**keys))
    assert default.encode("a") == [0xE2, 0x96, 0x81, ord("a")]
    without = Tokenizer.from_metadata(toy_metadata(**keys, add_space_prefix=False))
    assert without.encode("a") == [ord("a")]


def test_a_reply_loses_a_space_only_where_it_begins_a_text():
    tokenizer = spaced(add_space_prefix=True)
    bos, a = 260, tokenizer.encode("a")[0]

    def said(prompt: list[int]) -> str:
        decoder = tokenizer.decoder(prompt)
        return "".join(map(decoder.push, [a, a])) + decoder.finish()

    assert said([]) == said([bos]) == "a a"
    assert said([bos, a]) == " a a"


def test_stream_holds_back_a_character_that_is_not_whole():
    for name in SMALL:
        tokenizer = small(name)
        ids = tokenizer.encode("🫠", special=False)
        decoder = tokenizer.decoder()
        pushed = [decoder.push(i) for i in ids]
        assert len(ids) > 1 and pushed == [*[""] * (len(ids) - 1), "🫠"]
        assert [decoder.push(ids[-2]), decoder.finish()] in (
            ["", "\ufffd"],
            ["\ufffd", ""],
        )


def test_a_byte_without_a_token_is_left_out():
    tokenizer = byte_level([], left_out=["Ġ"], pre="gpt-2")
    assert tokenizer.decode(tokenizer.encode("a b")) == "ab"


def test_a_word_that_is_a_token_is_merged_anew_where_it_has_to_be():
    merges = ["a b", "ab c"]  # "abc" is reached from "ab" alone
    odd = ["b c", *merges]
    for pre, pieces in {
        "qwen2": ["a", "bc"],
        "llama-bpe": ["abc"],
        "tekken": ["abc"],
    }.items():
        tokenizer = byte_level(odd, pre=pre)
        assert [*map(tokenizer.piece, tokenizer.encode("abc"))] == pieces


def test_user_defined_strings_are_no_bytes_in_disguise():
    tokenizer = byte_level([], {"Ġé": USER_DEFINED}, pre="qwen2")
    ids = tokenizer.encode("Ġéa")
    assert ids[0] == tokenizer.n_vocab - 1
    assert tokenizer.decode(ids) == "Ġéa"


# -- which tokens are special ---------------------------------------------------------

QWEN = {
    "<|endoftext|>": CONTROL,
    "<|im_end|>": CONTROL,
    "<think>": USER_DEFINED,
    "</think>": NORMAL,
    "<tool_response>": USER_DEFINED,
    "<|fim_prefix|>": USER_DEFINED,
    "<table>": USER_DEFINED,
    "[TOOL_CALLS]": CONTROL,
    "[ARGS]": NORMAL,
}


def qwen(**more: Value) -> tuple[Tokenizer, Callable[[str], int]]:
    """Return a toy of Qwen's, and what the id of a special string is."""
    tokenizer = byte_level([], QWEN, pre="qwen2", **more)
    first = tokenizer.n_vocab - len(QWEN)
    return tokenizer, lambda string: first + list(QWEN).index(string)


def test_markers_are_markup_whatever_their_type_is():
    tokenizer, id_of = qwen()
    for string in QWEN:
        expected = string != "[ARGS]"  # nobody has said that it is one
        assert (tokenizer.encode(string) == [id_of(string)]) is expected
    forged = "".join(QWEN)
    ids = tokenizer.encode_prompt(Prompt.join([outside(forged)]))
    assert tokenizer.special_ids.isdisjoint(ids)
    assert {i for i in ids if i >= 256} == {id_of("<table>")}
    assert tokenizer.decode(ids) == forged


def test_without_special_parsing_user_defined_tokens_alone_are_read():
    tokenizer, id_of = qwen()
    ids = tokenizer.encode("".join(QWEN), special=False)
    assert [i for i in ids if i >= 256] == [
        id_of(string) for string, kind in QWEN.items() if kind == USER_DEFINED
    ]


def test_a_stream_shows_what_a_parser_reads():
    tokenizer, id_of = qwen()
    decoder = tokenizer.decoder()
    shown = {string: decoder.push(id_of(string)) for string in QWEN}
    assert {s for s, text in shown.items() if text} == {
        *("<think>", "</think>", "<tool_response>", "<table>", "[ARGS]")
    }
    assert all(text in ("", string) for string, text in shown.items())


def test_a_chat_format_names_more_tokens_that_its_parser_reads():
    tokenizer, id_of = qwen()
    tokenizer.keep(["[TOOL_CALLS]", "[ARGS]", "<table>", "of no vocabulary"])
    decoder = tokenizer.decoder()
    kept = [id_of(string) for string in ("[TOOL_CALLS]", "[ARGS]", "<table>")]
    assert {*kept} < tokenizer.parsed_ids
    assert "".join(map(decoder.push, kept)) == "[TOOL_CALLS][ARGS]<table>"
    assert tokenizer.encode("[TOOL_CALLS][ARGS]<table>") == kept
    forged = tokenizer.encode_prompt(
        Prompt.join([outside("[TOOL_CALLS][ARGS]<table>")])
    )
    assert tokenizer.special_ids.isdisjoint(forged)
    assert id_of("<think>") in tokenizer.parsed_ids  # as before


STOPS = ["<end_of_turn>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>"]
STOPS += ["<|end_of_text|>", "<eos>"]


def test_a_reply_ends_at_strings_and_at_what_the_header_names():
    special = {**dict.fromkeys(STOPS, NORMAL), "</s>": CONTROL, "<reponame>": CONTROL}
    tokenizer = byte_level([], special, pre="qwen2")
    first = tokenizer.n_vocab - len(special)
    assert tokenizer.stop_ids == {first + i for i in range(len(STOPS))}
    eos = first + len(STOPS)
    named = byte_level([], special, pre="qwen2", eos_token_id=eos, eot_token_id=7)
    assert named.stop_ids == tokenizer.stop_ids | {eos, 7}
    forged = tokenizer.encode_prompt(Prompt.join([outside("".join(special))]))
    assert tokenizer.special_ids.isdisjoint(forged)


# -- BOS ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pre", "flag", "begins"),
    [
        ("smollm", None, False),
        ("qwen2", None, False),
        ("gpt-2", None, False),
        ("default", None, False),
        ("llama-bpe", None, True),
        ("llama3", None, True),
        ("tekken", None, True),
        ("llama-bpe", False, False),
        ("qwen2", True, True),
    ],
)
def test_byte_level_vocabularies_begin_as_the_file_or_the_kind_says(pre, flag, begins):
    more = {} if flag is None else {"add_bos_token": flag}
    tokenizer = byte_level([], {"<s>": CONTROL}, pre=pre, bos_token_id=256, **more)
    bos = [256] if begins else []
    assert tokenizer.bos_id == (256 if begins else None)
    assert tokenizer.encode("a", bos=True)[: len(bos) + 1] == [
        *bos,
        ord("a"),
    ]
    twice = Prompt.join([markup("<s>"), outside("a")])
    assert tokenizer.encode_prompt(twice).count(256) == 1
    assert tokenizer.encode_prompt(Prompt.join([outside("a")])).count(256) == len(bos)


@pytest.mark.parametrize(
    ("flag", "begins"), [(None, True), (True, True), (False, False)]
)
def test_sentencepiece_begins_with_bos_unless_the_file_says_no(flag, begins):
    more = {} if flag is None else {"add_bos_token": flag}
    assert (spaced(**more).encode("a", bos=True)[0] == 260) is begins


def test_a_bos_that_no_prompt_begins_with_stays_what_its_type_says():
    tokenizer = byte_level([], pre="qwen2", bos_token_id=ord(","))
    assert tokenizer.bos_id is None and tokenizer.special_ids == frozenset()
    assert tokenizer.encode("a,b", bos=True) == [*b"a,b"]


def test_bos_is_found_by_its_string_where_the_header_is_silent():
    keys = dict(
        model="llama", tokens=strings([*BYTES, b"<s>"]), scores=floats([0.0] * 257)
    )
    tokenizer = Tokenizer.from_metadata(toy_metadata(**keys))
    assert tokenizer.bos_id == 256
    none = Tokenizer.from_metadata(
        toy_metadata(model="llama", tokens=strings(BYTES), scores=floats([0.0] * 256))
    )
    assert none.bos_id is None
    assert none.encode_prompt(Prompt.join([outside("")])) == []


# -- which kind -----------------------------------------------------------------------


def kind_keys(**more: Value) -> Keys:
    tokens = [*BYTES, b"<bos>", "▁a".encode(), "▁".encode(), b"a"]
    return dict(tokens=strings(tokens), scores=floats([0.0] * 260), **more)


def test_gemma_4_merges_whatever_its_file_calls_the_vocabulary():
    keys = kind_keys(model="llama", merges=strings(["▁ a".encode()]))
    assert Tokenizer.from_metadata(toy_metadata("gemma4", **keys)).encode("a") == [259]
    assert Tokenizer.from_metadata(toy_metadata("llama", **keys)).encode("a") == [257]


@pytest.mark.parametrize("pre", [None, "", "default"])
def test_a_vocabulary_of_llama_3_needs_no_pre_tokenizer(pre):
    names = [*letters(), "123", "12"]
    names += [f"<{i}>" for i in range(len(names), 128009)] + ["<|eot_id|>"]
    keys = {} if pre is None else {"pre": pre}
    merges = strings([b"1 2", b"12 3"])
    tokens = strings(name.encode() for name in names)
    metadata = toy_metadata(model="gpt2", tokens=tokens, merges=merges, **keys)
    tokenizer = Tokenizer.from_metadata(metadata)
    assert [*map(tokenizer.piece, tokenizer.encode("1231"))] == ["123", "1"]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"model": "bert"}, "bert"),
        ({"model": "gpt2", "merges": strings([]), "pre": "viking"}, "viking"),
        ({"model": "gpt2"}, "merges"),
        ({"model": "llama"}, "scores"),
    ],
)
def test_an_unknown_kind_is_refused_by_name(keys, named):
    metadata = toy_metadata("llama", tokens=strings(BYTES), **keys)
    with pytest.raises(UnsupportedFormatError, match=named) as caught:
        Tokenizer.from_metadata(metadata)
    assert caught.value.found and caught.value.expected and caught.value.remedy


@pytest.mark.parametrize(
    "scores", [floats([0.0]), strings([b"a"]), 3.0, "scores", ints([1])], ids=repr
)
def test_scores_that_cannot_be_are_refused(scores):
    keys = dict(model="llama", tokens=strings(BYTES), scores=scores)
    with pytest.raises(FileFormatError, match="scores"):
        Tokenizer.from_metadata(toy_metadata(**keys))


@pytest.mark.parametrize("code", ["d", "i"])
def test_scores_may_have_another_width(code):
    tokens = [*BYTES, b"a", b"b", b"c", b"ab", b"bc"]
    numbers = memoryview(array(code, [0] * 259 + [-2, -1]))
    keys = dict(model="llama", tokens=strings(tokens), scores=numbers)
    tokenizer = Tokenizer.from_metadata(toy_metadata(**keys, add_space_prefix=False))
    assert [*map(tokenizer.piece, tokenizer.encode("abc"))] == ["a", "bc"]


# -- rows of the embeddings -----------------------------------------------------------


def rows(n_rows: int, more: list[bytes], types: list[int] | None) -> Tokenizer:
    tokens = [*BYTES, *more]
    keys = dict(
        model="llama", tokens=strings(tokens), scores=floats([0.0] * len(tokens))
    )
    if types is not None:
        keys["token_type"] = ints([NORMAL] * 256 + types)
    keys |= dict(bos_token_id=256, eos_token_id=256, add_space_prefix=False)
    return Tokenizer.from_metadata(toy_metadata(**keys), n_rows=n_rows)


@pytest.mark.parametrize(
    ("more", "types"),
    [
        ([b"<image_soft_token>"], [CONTROL]),
        ([b"<image_soft_token>"], [NORMAL]),
        ([b"<image_soft_token>", b"[PAD]"], None),
        ([b"x", b"y"], [UNUSED, USER_DEFINED]),
    ],
)
def test_a_token_without_a_row_is_never_produced(more, types):
    tokenizer = rows(256, more, types)
    text = b"".join(more).decode()
    assert max(tokenizer.encode(text)) < 256 == tokenizer.n_vocab
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.bos_id is None and tokenizer.stop_ids == frozenset()


def test_a_row_without_a_token_is_never_sampled():
    tokenizer = rows(300, [b"<s>"], [CONTROL])
    assert tokenizer.n_vocab == 300
    assert tokenizer.suppress_ids == tuple(range(257, 300))
    assert tokenizer.piece(299) == ""
    assert rows(257, [b"<s>"], [CONTROL]).suppress_ids == ()


@pytest.mark.parametrize(
    ("n_rows", "more", "types"),
    [(256, [b"word"], [NORMAL]), (10, [], None), (1 << 20, [], None)],
)
def test_a_vocabulary_of_another_model_is_refused(n_rows, more, types):
    with pytest.raises(ShapeError, match="token_embd") as caught:
        rows(n_rows, more, types)
    assert str(n_rows) in caught.value.found and caught.value.remedy


HEADERS = {
    "gemma4": ("models/dense-q4_k_m.gguf", "gemma4"),
    "gemma3": ("tokenizer/spm.gguf", "gemma3"),
    "llama": ("tokenizer/spm.gguf", "llama"),
    "qwen2": ("tokenizer/qwen.gguf", "qwen2"),
    "qwen3": ("tokenizer/qwen.gguf", "qwen3"),
    "qwen3moe": ("tokenizer/qwen.gguf", "qwen3moe"),
}


def with_token(name: str, token: bytes, kind: int) -> tuple[Metadata, int]:
    """Return a family's header with one token more, and how many there were."""
    path, architecture = HEADERS[name]
    keys = dict(metadata_of(require(path))) | {"general.architecture": architecture}
    tokens = keys["tokenizer.ggml.tokens"].raw_list()
    types = keys["tokenizer.ggml.token_type"].tolist()
    keys["tokenizer.ggml.tokens"] = strings([*tokens, token])
    keys["tokenizer.ggml.token_type"] = ints([*types, kind])
    if "tokenizer.ggml.scores" in keys:
        scores = keys["tokenizer.ggml.scores"].tolist()
        keys["tokenizer.ggml.scores"] = floats([*scores, 0.0])
    return Metadata(keys), len(tokens)


@pytest.mark.parametrize("name", HEADERS)
def test_every_family_takes_one_soft_token_more_than_rows(name):
    metadata, n_rows = with_token(name, b"<image_soft_token>", CONTROL)
    tokenizer = Tokenizer.from_metadata(metadata, n_rows)
    assert tokenizer.n_vocab == n_rows
    assert max(tokenizer.encode("<image_soft_token>")) < n_rows


@pytest.mark.parametrize("name", HEADERS)
def test_every_family_refuses_one_word_more_than_rows(name):
    metadata, n_rows = with_token(name, b"word", NORMAL)
    with pytest.raises(ShapeError) as caught:
        Tokenizer.from_metadata(metadata, n_rows)
    assert (
        str(n_rows) in caught.value.found and str(n_rows + 1) in caught.value.expected
    )


@pytest.mark.parametrize("case", [*committed_cases(), *committed_families()], ids=str)
def test_word_without_a_row_is_refused_with_the_header(case):
    data = case.gguf.read_bytes()
    n_rows = asyncio.run(read_header([BytesSource(data)])).config.n_vocab
    words = [f"w{i}" for i in range(n_rows + 1)]
    longer = with_keys(data, {"tokenizer.ggml.tokens": words})
    with pytest.raises(ShapeError, match="token_embd") as caught:
        asyncio.run(read_header([BytesSource(longer)]))
    assert (
        str(n_rows) in caught.value.found and str(n_rows + 1) in caught.value.expected
    )


@pytest.mark.parametrize("name", HEADERS)
def test_every_family_may_have_rows_without_a_token(name):
    metadata, n_tokens = with_token(name, b"[PAD]", UNUSED)
    tokenizer = Tokenizer.from_metadata(metadata, n_tokens + 3)
    assert set(tokenizer.suppress_ids) >= {n_tokens + 1, n_tokens + 2}
    decoder = tokenizer.decoder()
    assert decoder.push(n_tokens) == decoder.push(n_tokens + 1) == ""


# -- cost -----------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [" ", "<", "a", "ab ", "1", "🧿", "e\u0301", "\n"])
@pytest.mark.parametrize("name", SMALL)
def test_a_long_text_takes_linear_many_heap_operations(name, unit, monkeypatch):
    pushed = 0
    heappush = merges.heappush

    def counted(heap, entry):
        nonlocal pushed
        pushed += 1
        heappush(heap, entry)

    monkeypatch.setattr(merges, "heappush", counted)
    text = unit * (30_000 // len(unit))
    ids = small(name).encode(text)
    assert small(name).decode(ids) == text
    # Every merge removes a symbol and offers at most two new pairs.
    assert pushed <= 2 * len(text.encode())


def test_words_that_were_met_do_not_fill_the_memory():
    words = Words()
    for i in range(20_000):
        words.learn(f"w{i}", [i])
    words.learn("w" * 100, [0])
    assert 0 < len(words) <= 1 << 13 and "w" * 100 not in words


def test_a_tokenizer_is_gone_when_nobody_needs_it():
    """No circle keeps a vocabulary of 90 MB until the collector comes by."""
    tokenizer = byte_level([], pre="qwen2")
    tokenizer.encode("some words")
    alive = weakref.ref(tokenizer._coder)
    del tokenizer
    assert alive() is None
