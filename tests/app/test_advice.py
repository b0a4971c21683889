"""Advice in a header: taken where it can be, else ignored and noted."""

from __future__ import annotations

import math
from array import array

import pytest

from pyodide_app.gguf.metadata import Metadata, Value
from pyodide_app.gguf.strings import StringArray
from pyodide_app.load import advice
from pyodide_app.models import FAMILIES
from pyodide_app.run.sampling import SamplingOptions

KEYS = ("temp", "top_k", "top_p", "min_p")
NO_NUMBERS: list[Value] = [
    *(math.nan, math.inf, -math.inf, 1e300, 2**63, True, "0.5"),
    memoryview(array("f", [0.5])),
    memoryview(array("f")),
    StringArray(b"", array("I", [8])),
]


def sampling(**values: Value) -> Metadata:
    return Metadata({f"general.sampling.{key}": v for key, v in values.items()})


def test_a_file_may_recommend_options() -> None:
    metadata = sampling(temp=0.5, top_k=7, top_p=0.25)
    found = advice.sampling_defaults(metadata)
    assert found == {"temperature": 0.5, "top_k": 7, "top_p": 0.25}
    assert SamplingOptions(**found).min_p == 0.0
    assert advice.sampling_defaults(Metadata({})) == {}
    assert advice.notes(metadata) == ()


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("key", KEYS)
def test_options_that_cannot_be_used_are_ignored_and_noted(
    key: str, value: Value
) -> None:
    metadata = sampling(**{key: value})
    assert advice.sampling_defaults(metadata) == {}
    (note,) = advice.notes(metadata)
    assert note.startswith(f"The metadata key general.sampling.{key} is ignored: found")
    assert note.endswith(".")
    assert "\n" not in note and " at 0x" not in note  # of an array of anything


@pytest.mark.parametrize(
    ("key", "value", "taken"),
    [("temp", 0, 0), ("top_k", 64.0, 64), ("top_p", 1, 1)],
)
def test_a_number_of_another_type_is_a_number(
    key: str, value: float, taken: float
) -> None:
    metadata = sampling(**{key: value})
    assert list(advice.sampling_defaults(metadata).values()) == [taken]
    assert advice.notes(metadata) == ()


def test_a_negative_top_k_takes_every_token_and_is_noted() -> None:
    metadata = sampling(top_k=-1)
    assert advice.sampling_defaults(metadata) == {"top_k": 0}
    assert advice.notes(metadata) == (
        "The metadata key general.sampling.top_k is -1, taken as 0.",
    )


@pytest.mark.parametrize("value", [7, 0.5, True, memoryview(b"ab")], ids=repr)
def test_a_name_that_is_no_text_is_ignored_and_noted(value: Value) -> None:
    metadata = Metadata({"general.name": value})
    assert advice.model_name(metadata) == ""
    assert len(advice.notes(metadata)) == 1
    assert len(advice.notes(metadata)) == 1, "who reads it again notes it again"


def test_a_family_has_the_sampling_that_its_models_are_known_for() -> None:
    file = {"general.architecture": "qwen3", "general.sampling.top_k": 5}
    found = advice.sampling_defaults(Metadata(file))
    assert found == {"temperature": 0.6, "top_k": 5, "top_p": 0.95}
    for family in FAMILIES.values():
        SamplingOptions(**family.sampling)
    assert not FAMILIES["gemma4"].sampling  # SamplingOptions' own defaults
