"""Mutated files: a model or a typed error, and soon, whatever is in the bytes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
from pathlib import Path

import pytest

from pyodide_app.cli.inspection import describe, describe_text
from pyodide_app.cli.pasted import name_in
from pyodide_app.errors import EngineError
from pyodide_app.gguf.directories import PathDirectory
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import BytesSource
from pyodide_app.load import advice
from pyodide_app.models import find_family
from pyodide_app.models.config import Reader
from pyodide_app.models.family import select_tensors
from pyodide_app.ollama.manifest import Reference
from pyodide_app.ollama.model import describe_entry
from pyodide_app.ollama.store import Store
from pyodide_app.text.tokenizer import Tokenizer
from tests.samples.gguf_bytes import build_gguf
from tests.samples.ollama_store import blob_of, make_store, manifest_path
from tests.support.golden_data import committed_cases, committed_families, require

# A longer run by hand: LAPIDARY_FUZZ=100 pytest tests/app/test_fuzz_files.py
ROUNDS = int(os.environ.get("LAPIDARY_FUZZ", "1"))
NUMBERS = [0, 1, 2, 3, 31, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
FLOATS = [struct.pack("<d", v) for v in (float("nan"), float("inf"), 1e300, -1.0)]
MODELS = sorted({case.gguf for case in committed_cases()})
MODELS += [family.gguf for family in committed_families()]
VOCABULARIES = [require(f"tokenizer/{name}.gguf") for name in ("qwen", "oai", "spm")]
TEXT = "Hi <|turn>\n  <|im_end|></s> l'été 12,5 🫠\x00"


def mutated(data: bytes, end: int, rng: random.Random) -> bytes:
    """Change a few places before `end`: bits, numbers, lengths, what is there twice."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not out:
            break
        at = rng.randrange(min(end, len(out)))
        how = rng.randrange(7)
        if how == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            out[at : at + 1] = bytes([out[at] ^ 1 << rng.randrange(8)])
        elif how == 2:
            size = rng.choice([1, 2, 4, 8])
            number = rng.choice(NUMBERS) & (1 << 8 * size) - 1
            out[at : at + size] = number.to_bytes(size, "little")
        elif how == 3:
            out[at : at + 8] = rng.choice(FLOATS)
        elif how == 4:
            del out[at : at + rng.choice([1, 4, 8, 100])]
        elif how == 5:
            out[at:at] = out[at : at + rng.choice([1, 8, 64])]
        else:
            del out[at:]
    return bytes(out)


def encode(tokenizer: Tokenizer) -> None:
    """Encode and decode what meets every part of a vocabulary."""
    ids = tokenizer.encode(TEXT, bos=True)
    tokenizer.decode(ids)
    decoder = tokenizer.decoder(ids)
    for token_id in ids:
        decoder.push(token_id)
    decoder.finish()


def use(data: bytes) -> bool:
    """Read a file as a load does before it meets a device; say whether it would run."""
    try:
        file = asyncio.run(read_gguf([BytesSource(data)]))
        describe_text(describe(file))
        json.dumps(describe(file))
        family = find_family(file.architecture)
        config = family.read(Reader(file.metadata, file.tensors))
        select_tensors(family, config, file.tensors)
        if "tokenizer.ggml.tokens" in file.metadata:
            encode(Tokenizer.from_metadata(file.metadata, config.n_vocab))
        assert all(note.isprintable() for note in advice.notes(file.metadata))
    except EngineError as error:
        assert error.what and (error.found or error.expected or error.remedy)
        assert str(error).isprintable()
        return False
    return True


def small(path: Path) -> tuple[bytes, int]:
    """Return a model whose long arrays are short, and where its header ends."""
    data = path.read_bytes()
    file = asyncio.run(read_gguf([BytesSource(data)]))
    return data, min(info.offset for info in file.tensors.values())


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_mutated_header_is_a_model_or_a_typed_error(path: Path) -> None:
    rng = random.Random(path.stem)
    data, end = small(path)
    assert use(data)
    # A header that is all sizes and tensors is broken by nearly everything.
    n = 40 if end > 1 << 14 else 400
    results = [use(mutated(data, end, rng)) for _ in range(n * ROUNDS)]
    assert True in results and False in results


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda path: path.stem)
def test_a_mutated_vocabulary_encodes_or_is_a_typed_error(path: Path) -> None:
    rng = random.Random(path.stem)
    data, n_good = path.read_bytes(), 0
    for _ in range(150 * ROUNDS):
        try:
            changed = BytesSource(mutated(data, len(data), rng))
            encode(Tokenizer.from_metadata(asyncio.run(read_gguf([changed])).metadata))
            n_good += 1
        except EngineError as error:
            assert error.what and (error.found or error.expected or error.remedy)
            assert str(error).isprintable()
    assert 0 < n_good < 150 * ROUNDS


def test_mutated_keys_and_infos_are_sound_or_a_typed_error() -> None:
    rng = random.Random(3)
    keys = {"general.architecture": "gemma4", "a": [1, 2], "b": ["x", "y"], "c": 0.5}
    tensors = [(f"t{i}", (32, 2), "Q8_0", None) for i in range(3)]
    data = build_gguf(keys, tensors)
    end = len(data) - 3 * 68
    for _ in range(500 * ROUNDS):
        assert use(mutated(data, end, rng)) is False  # it is no whole model


GGUF = build_gguf({"general.architecture": "gemma4"}, [("a", (32,), "F32", None)])
VALUES = [
    *(None, True, 0, -1, 1e308, 2**64, "", "\0", "x" * 100_000, [], {}, [[]], [{}]),
    *("sha256:" + "A" * 64, "sha256-" + "-" * 64, "../../etc/passwd", {"a": {"b": []}}),
]


def twisted(content: object, rng: random.Random) -> object:
    """Replace one value somewhere in a JSON content, or add or drop one."""
    if rng.random() < 0.2 or not isinstance(content, dict | list) or not content:
        return rng.choice(VALUES)
    if isinstance(content, list):
        at = rng.randrange(len(content))
        return [*content[:at], twisted(content[at], rng), *content[at + 1 :]]
    key = rng.choice(sorted(content))
    if rng.random() < 0.2:
        return {k: v for k, v in content.items() if k != key}
    return {**content, key: twisted(content[key], rng)}


def test_twisted_json_of_a_store_is_a_line_of_the_list(tmp_path: Path) -> None:
    rng = random.Random(5)
    messages = [{"role": "user", "content": "Hi"}]
    params = {"temperature": 1, "stop": ["a"], "num_ctx": 9}
    root = make_store(tmp_path, {"m:t": GGUF}, messages=messages, params=params)
    store = Store(PathDirectory(root))
    manifest = manifest_path(root, "m:t")
    config = root / "blobs" / json.loads(manifest.read_bytes())["config"]["digest"]
    paths = [manifest, config.with_name(config.name.replace(":", "-"))]
    paths += [blob_of(root, "m:t", kind) for kind in ("messages", "params")]
    sound = {path: path.read_bytes() for path in paths}
    for i in range(300 * ROUNDS):
        path = paths[i % len(paths)]
        data = json.dumps(twisted(json.loads(sound[path]), rng)).encode()
        if rng.random() < 0.3:
            data = mutated(sound[path], len(sound[path]), rng)
        if path != manifest and i % 2:  # of the right size, so that it is read
            data = data[: len(sound[path])].ljust(len(sound[path]))
        path.write_bytes(data)
        (entry,) = asyncio.run(store.entries())
        json.dumps(describe_entry(entry), allow_nan=False)
        if entry.problem is not None:
            assert str(entry.problem).isprintable()
        path.write_bytes(sound[path])


def test_mutated_names_are_names_or_refused() -> None:
    rng = random.Random(7)
    seeds = ["https://hf.co/u/r:Q4@sha256:" + "a" * 64, "ollama run gemma4:e4b", "a/b"]
    for _ in range(1000 * ROUNDS):
        text = mutated(rng.choice(seeds).encode(), 99, rng).decode("utf-8", "replace")
        try:
            reference = Reference.parse(name_in(text))
        except EngineError as error:
            assert str(error).isprintable() and error.remedy
        else:
            assert not any(part in (".", "..", "") for part in reference.parts)
