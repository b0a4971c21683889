"""A model's sizes: whatever a header says, a sane config or a typed error."""

from __future__ import annotations

import asyncio
import math
from array import array
from dataclasses import fields
from pathlib import Path

import pytest

from pyodide_app.errors import EngineError, UnsupportedArchitectureError
from pyodide_app.gguf.metadata import FLOAT32_MAX, Metadata, Value
from pyodide_app.gguf.reader import GGUFFile, read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.gguf.strings import StringArray
from pyodide_app.graph import rope
from pyodide_app.models import find_family
from pyodide_app.models.config import Config, Reader
from pyodide_app.models.family import select_tensors
from tests.support.golden_data import committed_cases, committed_families

GEMMA4 = min(case.gguf for case in committed_cases())
MODELS = sorted({case.gguf for case in (*committed_cases(), *committed_families())})
HOSTILE: dict[str, Value] = {
    **{str(v): v for v in (math.nan, math.inf, -math.inf, 1e300, 1e-300, -1.0, 0.0)},
    **{f"float {v}": v for v in (FLOAT32_MAX, 1.2e-38, 1e-45, 3.5e38, 0.5)},
    **{str(v): v for v in (-(2**63), -1, 0, 1, 3, 7, 1024, 2**24, 2**31, 2**63)},
    **{str(v): v for v in (True, False)},
    "text": "7",
    "strings": StringArray(b"a", array("I", [0, 9])),
    "no elements": memoryview(array("I")),
    "one element": memoryview(array("i", [-1])),
    "a million": memoryview(bytes(1 << 20)),
    "floats": memoryview(array("f", [math.nan] * 6)),
    "bools": memoryview(bytes(6)).cast("?"),
}


def read(path: Path) -> GGUFFile:
    source = FileSource(path)
    try:
        return asyncio.run(read_gguf([source]))
    finally:
        source.close()


def config_of(metadata: Metadata, file: GGUFFile) -> Config:
    """Return the sizes that metadata says of a file's tensors."""
    return find_family(file.architecture).read(Reader(metadata, file.tensors))


class Watched(Metadata):
    """Metadata that remembers which keys were asked for, in it or not."""

    def __init__(self, values: Metadata) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def _default(self, key, default):  # type: ignore[no-untyped-def]
        self.asked.add(key)
        return super()._default(key, default)


def keys_read(file: GGUFFile) -> set[str]:
    """Return the keys that the config comes from, those that the file lacks too."""
    watched = Watched(file.metadata)
    config_of(watched, file)
    own = f"{file.architecture}."
    present = {key for key in file.metadata if key.startswith(own)}
    return watched.asked | present


def check_sane(config: Config) -> None:
    """Hold a config to what kernels and tables take for granted."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float):
            assert math.isfinite(value) and abs(value) <= FLOAT32_MAX
    assert 1.2e-38 <= config.norm_eps <= 1 and config.logit_softcap >= 0
    assert 1 <= config.n_ctx_train <= 1 << 30
    for spec in config.ropes:
        assert 0 <= spec.n_pairs <= spec.n_dims // 2
        assert 0 < spec.scale <= FLOAT32_MAX
        table = array("f", rope.make_table(spec.theta, 16, [1.0] * 8, 64))
        assert all(abs(value) <= 1 for value in table)
    for layer in config.layers:
        assert 0 <= layer.donor <= layer.index
        assert layer.n_heads % layer.n_kv_heads == 0 and layer.head_dim % 8 == 0


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_any_value_of_any_key_is_sane_or_a_typed_error(path: Path) -> None:
    file = read(path)
    keys = keys_read(file)
    assert len(keys) > 10
    own = f"key {file.architecture}."
    for key in sorted(keys):
        for value in HOSTILE.values():
            metadata = Metadata({**file.metadata, key: value})
            try:
                config = config_of(metadata, file)
                select_tensors(find_family(file.architecture), config, file.tensors)
            except EngineError as error:
                # Of keys that contradict each other another may be named, or a tensor.
                assert any(word in error.what for word in (own, "blk.", "_"))
                assert error.found or error.expected
            else:
                check_sane(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.layer_norm_rms_epsilon", 1e300),
        ("attention.layer_norm_rms_epsilon", 0.0),
        ("rope.freq_base", math.nan),
        ("rope.freq_base_swa", 0.0),
        ("rope.partial_rotary_factor", 1.5),
        ("final_logit_softcapping", 1e-30),
        ("final_logit_softcapping", -30.0),
        ("final_logit_softcapping", 30),
    ],
)
def test_a_number_that_arithmetic_cannot_bear_names_its_key(
    key: str, value: float
) -> None:
    file = read(GEMMA4)
    metadata = Metadata({**file.metadata, f"gemma4.{key}": value})
    with pytest.raises(EngineError) as caught:
        config_of(metadata, file)
    assert f"gemma4.{key}" in caught.value.what
    assert str(value) in caught.value.found and "float" in caught.value.expected


@pytest.mark.parametrize("value", [0, -1, 2**63, 1.0, "long"], ids=repr)
def test_an_absurd_length_of_context_is_ignored_and_noted(value: Value) -> None:
    file = read(GEMMA4)
    metadata = Metadata({**file.metadata, "gemma4.context_length": value})
    assert config_of(metadata, file).n_ctx_train == 131072
    (note,) = metadata.notes
    assert "gemma4.context_length is ignored: found " in note


def test_a_scaling_of_angles_is_taken_or_refused_but_never_passed_over() -> None:
    """By every family; of Gemma's two kinds of layers only the global ones scale."""
    for path in MODELS:
        file = read(path)
        name = f"{file.architecture}.rope.scaling"
        linear = {f"{name}.type": "linear", f"{name}.factor": 4.0}
        config = config_of(Metadata({**file.metadata, **linear}), file)
        assert [spec.scale for spec in config.ropes] in ([0.25], [0.25, 1.0])
        with pytest.raises(UnsupportedArchitectureError, match=r"rope\.scaling\.type"):
            config_of(Metadata({**file.metadata, f"{name}.type": "yarn"}), file)
