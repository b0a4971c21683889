"""The choice of kernels: who is tried, what is taken, kept and said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyodide_app import errors
from pyodide_app.adapter import kernel_options, trials
from pyodide_app.adapter.kernel_options import Choice
from pyodide_app.gpu.device import AdapterInfo, Limits
from pyodide_app.graph import tuning
from pyodide_app.graph.tuning import Tuning

INFO = AdapterInfo(
    name="a GPU",
    backend="none",
    is_software=False,
    features=frozenset({"subgroups", "shader-f16"}),
    limits=Limits(1 << 30, 1 << 30, 32768, 256, 8, 65535),
    subgroup=32,
)
SOFTWARE = replace(INFO, is_software=True)
BARE = replace(INFO, features=frozenset(), subgroup=0)


class Device:
    """An adapter, and what trials on it come to."""

    def __init__(self, info: AdapterInfo = INFO) -> None:
        self.info = info
        self.faults: dict[str, str | Exception] = {}  # by option
        self.slower: set[str] = set()
        self.tried: list[str] = []
        self.timed: list[str] = []


@pytest.fixture(autouse=True)
def play(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have trials play what the device says, in place of its kernels."""

    def added(device: Device, base: Tuning, twin: Tuning) -> str:
        before = kernel_options.of(base, device.info).options
        (name,) = set(kernel_options.of(twin, device.info).options) - set(before)
        return name

    async def problem(device: Any, _: object, base: Tuning, twin: Tuning) -> str:
        device.tried.append(name := added(device, base, twin))
        fault = device.faults.get(name, "")
        if isinstance(fault, Exception):
            raise fault
        return fault

    async def times(
        device: Any, _: object, base: Tuning, twin: Tuning
    ) -> tuple[float, float]:
        device.timed.append(name := added(device, base, twin))
        return 1.0, 0.99 if name in device.slower else 0.9

    monkeypatch.setattr(trials, "problem", problem)
    monkeypatch.setattr(trials, "times", times)


def choose(
    device: Device, asked: Sequence[str] | None = None, kept: object = None
) -> Choice:
    """Choose for a device that only plays one."""
    gpu: Any = device
    return asyncio.run(kernel_options.choose(gpu, asked, kept))


def test_takes_what_is_right_and_faster_and_rounds_nothing() -> None:
    device = Device()
    choice = choose(device)
    assert choice.options == ("subgroup", "f16-kv")
    assert (choice.tune.subgroup, choice.tune.kv_f16) == (32, "native")
    assert choice.tune.element == "f32" and choice.tune.tile == "workgroup"
    assert str(choice) == "subgroup, f16-kv"
    assert device.tried == device.timed == ["subgroup", "f16-kv"]


def test_a_twin_that_saves_next_to_nothing_is_left() -> None:
    device = Device()
    device.slower = {"subgroup"}
    assert choose(device).options == ("f16-kv",)


def test_a_wrong_twin_is_left_and_said() -> None:
    device = Device()
    device.faults["subgroup"] = "it gave 1 for 2"
    choice = choose(device)
    assert choice.options == ("f16-kv",) and choice.tune.subgroup == 0
    assert str(choice) == "f16-kv; no subgroup: it gave 1 for 2"
    assert device.timed == ["f16-kv"]


@pytest.mark.parametrize("info", [SOFTWARE, BARE], ids=["software", "bare"])
def test_nothing_is_tried_unasked_in_software_or_without_features(
    info: AdapterInfo,
) -> None:
    device = Device(info)
    choice = choose(device)
    assert str(choice) == "baseline" and device.tried == []
    base = tuning.choose(info.is_software, info.limits.max_workgroup_bytes)
    assert choice.tune == base


def test_what_is_asked_for_is_tried_but_not_timed() -> None:
    device = Device(SOFTWARE)
    device.slower = {"subgroup"}
    choice = choose(device, ["f16-tiles", "subgroup"])
    assert choice.options == ("subgroup", "f16-tiles")
    assert device.tried == ["subgroup", "f16-tiles"] and device.timed == []


def test_baseline_can_be_asked_for() -> None:
    device = Device()
    assert str(choose(device, kernel_options.parse("baseline"))) == "baseline"
    assert device.tried == []


def test_what_the_device_lacks_is_said_untried() -> None:
    narrow = Device(replace(INFO, features=frozenset({"subgroups"}), subgroup=0))
    choice = choose(narrow, ["subgroup", "f16-kv"])
    assert choice.options == () and narrow.tried == []
    assert dict(choice.refused) == {
        "subgroup": "the device does not say how small its subgroups are",
        "f16-kv": "the device lacks shader-f16",
    }


def test_a_lost_device_is_an_error() -> None:
    device = Device()
    device.faults["subgroup"] = errors.DeviceLostError("gone")
    with pytest.raises(errors.DeviceLostError):
        choose(device)


def test_a_record_saves_the_trials() -> None:
    first = Device()
    first.faults["f16-kv"] = "it gave 1 for 2"
    choice = choose(first)
    assert str(choice) == "subgroup; no f16-kv: it gave 1 for 2"
    again = Device()
    assert choose(again, None, kernel_options.record(choice, INFO)) == choice
    assert again.tried == []


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0"},
        {"tried": ["subgroup"]},
        {"subgroup": 16},
        {"options": ["f16-tiles"]},  # rounds: nobody can have kept it
        {"options": ["no such"]},
        {"options": None},
        {"options": [1]},
        {"refused": None},
        {"refused": {"no such": "why"}},
        {"refused": {"f16-kv": 1}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_of_something_else_is_not_used(change: dict[str, Any]) -> None:
    record = kernel_options.record(Choice(tuning.HARDWARE), INFO) | change
    device = Device()
    assert choose(device, None, record).options == ("subgroup", "f16-kv")
    assert device.tried == ["subgroup", "f16-kv"]


def test_a_record_may_be_nothing() -> None:
    for kept in (None, "subgroup", 3, [], {}):
        assert choose(Device(), None, kept).options == ("subgroup", "f16-kv")


def test_what_is_asked_for_is_not_taken_from_a_record() -> None:
    device = Device()
    record = kernel_options.record(Choice(tuning.HARDWARE), INFO)
    assert choose(device, ["subgroup"], record).options == ("subgroup",)
    assert device.tried == ["subgroup"]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", None),
        ("baseline", ()),
        ("subgroup", ("subgroup",)),
        (" subgroup , f16-tiles,", ("subgroup", "f16-tiles")),
    ],
)
def test_reads_what_is_asked_for(text: str, asked: tuple[str, ...] | None) -> None:
    assert kernel_options.parse(text) == asked


@pytest.mark.parametrize("text", ["warp", "subgroup,baseline", "Subgroup"])
def test_refuses_other_names_and_gives_the_known_ones(text: str) -> None:
    with pytest.raises(errors.RequestError) as caught:
        kernel_options.parse(text)
    assert all(name in caught.value.expected for name in kernel_options.NAMES)
    with pytest.raises(errors.RequestError):
        choose(Device(), text.split(","))


def test_a_given_tuning_stays_unless_asked() -> None:
    given = replace(tuning.SOFTWARE, chunk=7, subgroup=32)
    device: Any = Device()
    choice = asyncio.run(kernel_options.choose(device, tune=given))
    assert choice == Choice(given, ("subgroup",)) and device.tried == []
    choice = asyncio.run(kernel_options.choose(device, ["f16-kv"], tune=given))
    assert choice.tune == replace(given, kv_f16="native")
    assert str(choice) == "subgroup, f16-kv"
