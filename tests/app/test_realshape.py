"""Headers of the real models' full size: what `inspect` and the loader make of them.

The expected numbers are worked out from the published sizes, row by row, and share
nothing with the generator.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import pytest

from pyodide_app.__main__ import main
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gpu.device import Limits
from pyodide_app.load import weights
from pyodide_app.models.config import Reader
from pyodide_app.models.family import select_tensors
from pyodide_app.models.gemma4 import FAMILY
from pyodide_app.text.tokenizer import Tokenizer
from tests.samples import real_vocabulary, realshape
from tests.samples.real_blocks import blocks

V = 262_144
BYTES = {  # of 256 elements
    **{"F32": 1024, "BF16": 512, "Q4_0": 144, "Q4_K": 144},
    **{"Q5_0": 176, "Q6_K": 210, "Q8_0": 272},
}


@dataclass(frozen=True)
class Expected:
    """A model's numbers of elements, by what the types of a file depend on."""

    n_tensors: int
    vectors: int  # and the router: always F32
    embeddings: int
    per_layer_table: int
    model_proj: int  # of per-layer embeddings
    more_v: int  # attn_v of the layers that deserve more bits
    down: tuple[int, int]  # all ffn_down matrices, and those that deserve more bits
    rest: int  # all other matrices, the other attn_v among them
    short_rows: bool = False  # rows of ffn_down are no multiples of 256

    @property
    def n_parameters(self) -> int:
        """Return the elements of all tensors."""
        tables = self.embeddings + self.per_layer_table
        matrices = self.model_proj + self.more_v + self.down[0] + self.rest
        return self.vectors + tables + matrices

    def types(self, file_type: str, ollama: bool = False) -> dict[str, int]:
        """Return the elements of each type.

        Of per-layer embeddings, llama.cpp's quantiser leaves the projection as it is,
        Ollama's the table.
        """
        found, embeddings, rest = {"F32": self.vectors}, self.embeddings, self.rest
        if self.per_layer_table:
            apart = (self.per_layer_table, self.model_proj)
            found["BF16"], other = apart if ollama else apart[::-1]
            embeddings += 0 if ollama else other
            rest += other if ollama else 0
        n_down, more = self.down
        matrices = self.more_v + n_down + rest
        if file_type == "Q8_0":
            return found | {"Q8_0": embeddings + matrices}
        if file_type == "Q4_0":
            return found | {"Q4_0": matrices, "Q6_K": embeddings}
        if self.short_rows:
            found |= {"Q5_0": n_down - more, "Q8_0": more}
            return found | {"Q4_K": rest, "Q6_K": embeddings + self.more_v}
        found["Q4_K"] = rest + n_down - more
        return found | {"Q6_K": embeddings + self.more_v + more}


# 28 sliding and 7 global layers; 15 narrow and 20 wide MLPs. Six bits: layers 0-3, 6,
# 9, 12 (narrow), 15, 18, 21, 24, 27, 30-34 (wide); of these 9, 24 and 34 are global.
E2B = Expected(
    n_tensors=601,
    vectors=35 * (5 * 1536 + 1) + 28 * 2 * 256 + 7 * 2 * 512 + 1536 + 256 + 256,
    embeddings=V * 1536,
    per_layer_table=V * 35 * 256,
    model_proj=1536 * 35 * 256,
    more_v=14 * 1536 * 256 + 3 * 1536 * 512,
    down=(
        15 * 1536 * 6144 + 20 * 1536 * 12288,
        7 * 1536 * 6144 + 10 * 1536 * 12288,
    ),
    rest=28 * 1536 * (2 * 2048 + 256)  # q, output and k
    + 7 * 1536 * (2 * 4096 + 512)
    + 14 * 1536 * 256  # the other half of v
    + 4 * 1536 * 512
    + 15 * 2 * 1536 * 6144
    + 20 * 2 * 1536 * 12288
    + 35 * 2 * 1536 * 256,
)
# 35 and 7. Six bits: 0-4, 7, 10, ..., 34, 36-41, that is 21; of these 41 is global.
E4B = Expected(
    n_tensors=720,
    vectors=42 * (5 * 2560 + 1) + 35 * 2 * 256 + 7 * 2 * 512 + 2560 + 256 + 256,
    embeddings=V * 2560,
    per_layer_table=V * 42 * 256,
    model_proj=2560 * 42 * 256,
    more_v=20 * 2560 * 512 + 2560 * 1024,
    down=(42 * 2560 * 10240, 21 * 2560 * 10240),
    rest=35 * 2560 * (2 * 2048 + 512)
    + 7 * 2560 * (2 * 4096 + 1024)
    + 15 * 2560 * 512
    + 6 * 2560 * 1024
    + 42 * 2 * 2560 * 10240
    + 42 * 2 * 2560 * 256,
)
# 40 and 8, and no attn_v in the global ones. Six bits: of the 40 attn_v 0-4, 7, 10,
# ..., 34, 35-39, that is 20; of the layers 0-5, 8, 11, ..., 41, 42-47, that is 24.
M12B = Expected(
    n_tensors=667,
    vectors=48 * (4 * 3840 + 1) + 40 * 2 * 256 + 8 * 2 * 512 + 3840 + 256,
    embeddings=V * 3840,
    per_layer_table=0,
    model_proj=0,
    more_v=20 * 3840 * 2048,
    down=(48 * 3840 * 15360, 24 * 3840 * 15360),
    rest=40 * 3840 * (2 * 4096 + 2048)
    + 8 * 3840 * (2 * 8192 + 512)
    + 20 * 3840 * 2048
    + 48 * 2 * 3840 * 15360,
)
# 25 and 5. Six bits: of the 25 attn_v 0-2, 5, 8, ..., 20, 21-24, that is 13; of the
# layers 0-2, 5, 8, ..., 23, 26-29, that is 14.
M26B = Expected(
    n_tensors=658,
    vectors=30 * (7 * 2816 + 1 + 2816 + 128 + 128 * 2816)
    + 25 * 2 * 256
    + 5 * 2 * 512
    + 2816
    + 256,
    embeddings=V * 2816,
    per_layer_table=0,
    model_proj=0,
    more_v=13 * 2816 * 2048,
    down=(
        30 * 2816 * (2112 + 128 * 704),
        14 * 2816 * (2112 + 128 * 704),
    ),
    rest=25 * 2816 * (2 * 4096 + 2048)
    + 5 * 2816 * (2 * 8192 + 1024)
    + 12 * 2816 * 2048
    + 30 * 2 * 2816 * (2112 + 128 * 704),
    short_rows=True,
)
# 50 and 10. Six bits: of the 50 attn_v 0-5, 8, 11, ..., 41, 43-49, that is 25; of the
# layers 0-6, 9, 12, ..., 51, 52-59, that is 30.
M31B = Expected(
    n_tensors=833,
    vectors=60 * (4 * 5376 + 1) + 50 * 2 * 256 + 10 * 2 * 512 + 5376 + 256,
    embeddings=V * 5376,
    per_layer_table=0,
    model_proj=0,
    more_v=25 * 5376 * 4096,
    down=(60 * 5376 * 21504, 30 * 5376 * 21504),
    rest=50 * 5376 * (2 * 8192 + 4096)
    + 10 * 5376 * (2 * 16384 + 2048)
    + 25 * 5376 * 4096
    + 60 * 2 * 5376 * 21504,
)
EXPECTED = {"e2b": E2B, "e4b": E4B, "12b": M12B, "26b-a4b": M26B, "31b": M31B}
# In thousands of millions. The 25.8 of 26b-a4b's card count its vision tower as well.
BILLIONS = {"e2b": 4.6, "e4b": 7.5, "12b": 11.9, "26b-a4b": 25.2, "31b": 30.7}

CASES = [(m, t) for m in realshape.MODELS for t in realshape.FILE_TYPES]


@dataclass(frozen=True)
class Real:
    """A file of real shape, and what it is."""

    model: str
    file_type: str
    path: Path

    def read(self) -> GGUFFile:
        """Read its header."""
        source = FileSource(self.path)
        try:
            return asyncio.run(read_gguf([source]))
        finally:
            source.close()


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Real]:
    """Write one file of each shape and type; it goes when its tests have run."""
    model, file_type = request.param
    path = tmp_path_factory.mktemp("real") / f"{model}-{file_type}.gguf"
    realshape.write(path, model, file_type)
    yield Real(model, file_type, path)
    path.unlink()


def check_types(rows: dict[str, dict[str, int]], by_type: dict[str, int]) -> None:
    """Hold what `inspect` says of each type to the numbers of its elements."""
    assert {name: row["parameters"] for name, row in rows.items()} == by_type
    sizes = {name: n * BYTES[name] // 256 for name, n in by_type.items()}
    assert {name: row["bytes"] for name, row in rows.items()} == sizes


def test_inspect_counts_what_the_published_sizes_give(
    real: Real, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(real.path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    expected = EXPECTED[real.model]
    assert summary["n_bytes"] == real.path.stat().st_size
    assert summary["n_tensors"] == expected.n_tensors
    assert summary["n_parameters"] == expected.n_parameters
    assert round(summary["n_parameters"] / 1e9, 1) == BILLIONS[real.model]
    check_types(summary["types"], expected.types(real.file_type))


def test_file_takes_little_of_the_disk(real: Real) -> None:
    state = real.path.stat()
    assert state.st_size > 2_500_000_000
    assert 512 * state.st_blocks < 16_000_000


def test_loader_takes_every_tensor_that_a_pass_needs(real: Real) -> None:
    file = real.read()
    config = FAMILY.read(Reader(file.metadata, file.tensors))
    chosen = select_tensors(FAMILY, config, file.tensors)
    unused = set(file.tensors) - {info.name for info in chosen.values()}
    shared = {
        f"blk.{layer.index}.{name}.weight"
        for layer in config.layers
        if not layer.owns_cache
        for name in ("attn_k", "attn_k_norm", "attn_v")
    }
    assert unused == {"rope_freqs.weight", *shared}
    n_shared = {"e2b": 20, "e4b": 18}.get(real.model, 0)
    assert len(shared) == 3 * n_shared


@pytest.mark.parametrize("most", [128 << 20, 2**31 - 1])
def test_bindings_hold_every_tensor_in_parts(real: Real, most: int) -> None:
    file = real.read()
    limits = Limits(most, 2**31 - 1, 16384, 256, 8, 65535)
    for info in file.tensors.values():
        placed = weights.place(info, limits)
        unit_bytes = info.size // (info.dims[-1] if len(info.dims) > 1 else 1)
        begins = [part.begin for part in placed.parts]
        ends = [part.begin + part.count for part in placed.parts]
        assert begins == [0, *ends[:-1]]
        assert ends[-1] * unit_bytes == info.size
        for part in placed.parts:
            assert part.view.size <= limits.max_binding_bytes
            assert part.begin * unit_bytes % 4 == 0


def test_vocabulary_has_the_real_ids() -> None:
    tokens = real_vocabulary.tokens()
    assert len(tokens) == len(set(tokens)) == V
    merges = list(real_vocabulary.merges())
    assert len(merges) == len(set(merges)) == 514_906
    known = set(tokens)
    for merge in merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known
    for token_id, text in {
        **{2: "<bos>", 46: "<|tool>", 52: '<|"|>', 106: "<turn|>", 107: "\n"},
        **{212: "</s>", 238: "<0x00>", 493: "<0xFF>", 236743: "\u2581", 236764: ","},
        **{255999: "<|image>", 258883: "<audio|>", 258884: "<|video|>"},
    }.items():
        assert tokens[token_id] == text


def test_vocabulary_encodes_text(tmp_path: Path) -> None:
    path = tmp_path / "real.gguf"
    realshape.write(path, "12b", "Q4_0", layers=1)
    tokenizer = Tokenizer.from_metadata(Real("12b", "Q4_0", path).read().metadata)
    assert tokenizer.n_vocab == V
    assert tokenizer.stop_ids == {0, 1, 50, 106}
    assert tokenizer.suppress_ids == (258882, 258883)
    ids = tokenizer.encode("<|turn>user\nNo, it is ätsch!\n\n𝄞<turn|>")
    assert (ids[0], ids[-1]) == (105, 106)
    assert ids.count(107) == 1  # a newline
    assert ids.count(108) == 1  # two of them
    assert ids[-5:-1] == [238 + byte for byte in "𝄞".encode()]
    decoder = tokenizer.decoder()
    text = "".join(decoder.push(i) for i in ids) + decoder.finish()
    assert text == "user\nNo, it is ätsch!\n\n𝄞"


@pytest.mark.parametrize(
    ("model", "layers", "sliding", "donors"),
    [
        ("26b-a4b", 2, [True, False], [0, 1]),
        ("31b", 1, [False], [0]),
        ("e2b", 4, [True, False, True, False], [0, 1, 0, 1]),
        ("e2b", 2, [True, False], [0, 1]),
        ("e4b", 6, [True, True, True, False, True, False], [0, 1, 2, 3, 2, 3]),
    ],
)
def test_cut_models_keep_both_kinds_of_layers(
    model: str, layers: int, sliding: list[bool], donors: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "cut.gguf"
    realshape.write(path, model, "Q4_K_M", layers=layers, n_vocab=256)
    file = Real(model, "Q4_K_M", path).read()
    config = FAMILY.read(Reader(file.metadata, file.tensors))
    assert [layer.window > 0 for layer in config.layers] == sliding
    assert [layer.donor for layer in config.layers] == donors
    assert (
        select_tensors(FAMILY, config, file.tensors)["token_embd.weight"].dims[-1]
        == 256
    )


def test_ollama_keeps_the_table_of_per_layer_embeddings() -> None:
    layout = realshape.plan("e4b", "Q4_K_M", ollama=True)
    table = layout["per_layer_token_embd.weight"]
    assert (table.type, table.size) == ("BF16", 2 * V * 42 * 256)  # 5.6 GB
    assert layout["per_layer_model_proj.weight"].type == "Q4_K"
    assert len(layout.entries) == 720
    file = asyncio.run(read_gguf([realshape.HoleSource(layout)]))
    config = FAMILY.read(Reader(file.metadata, file.tensors))
    select_tensors(FAMILY, config, file.tensors)
    tokenizer = Tokenizer.from_metadata(file.metadata)
    assert tokenizer.stop_ids == {0, 1, 50, 106}
    assert tokenizer.encode("<|turn>ä", special=True) == [105, tokenizer.encode("ä")[0]]


def test_command_line_writes_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e2b.gguf"
    assert realshape.main(["e2b", "Q8_0", str(path), "--layers", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{path.stat().st_size:,} bytes, of which 14,")
    assert Real("e2b", "Q8_0", path).read().metadata.get_int("gemma4.block_count") == 2


def test_filled_tensors_are_the_same_whatever_is_cut() -> None:
    layout = realshape.plan("26b-a4b", "Q4_K_M", layers=2, n_vocab=256)
    entry = layout["blk.1.ffn_down_exps.weight"]
    assert entry.type == "Q8_0"  # the last layer's
    n = 34  # bytes of a block
    whole = blocks(entry, 0, 1000)
    assert whole[300 * n : 400 * n] == blocks(entry, 300, 100)
    other = layout["blk.0.ffn_down_exps.weight"]
    assert blocks(other, 0, 100) != whole[: 100 * n]


def test_offsets_are_aligned_and_data_do_not_overlap() -> None:
    entries = realshape.plan("e4b", "Q8_0").entries
    ends = [entry.offset + entry.size for entry in entries]
    for entry, end in zip(entries[1:], ends, strict=False):
        assert 0 <= entry.offset - end < 32
        assert gcd(entry.offset, 32) == 32
