"""The sampling options, and the host reference on cases worked by hand."""

from __future__ import annotations

import math
import struct
from dataclasses import fields, replace

import pytest

from pyodide_app.errors import RequestError
from pyodide_app.graph.recorder import STATE_BYTES
from pyodide_app.run import sampling
from pyodide_app.run.sampling import Fault, SamplingOptions

NAN, INF = math.nan, math.inf
RECORDED_BITS = [0x9BAFD7C6, 0xFA9F79A6, 0xA2AC6FB1]
ALL = SamplingOptions(top_k=0, top_p=1.0)  # nothing is cut
# Probabilities 0.15, 0.03, 0.5, 0.15, 0.07, 0.1
LOGITS = [math.log(p) for p in (0.15, 0.03, 0.5, 0.15, 0.07, 0.1)]


def kept(options: SamplingOptions, logits: list[float] = LOGITS) -> list[int]:
    """Return the ids of the candidates, the most probable first."""
    return [c.id for c in sampling.candidates(logits, options)]


# -- options --------------------------------------------------------------------------


def test_defaults_are_those_of_gemma() -> None:
    options = SamplingOptions()
    assert (options.temperature, options.top_k, options.top_p) == (1.0, 64, 0.95)
    assert SamplingOptions.greedy.temperature == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", NAN),
        ("temperature", INF),
        ("temperature", "1"),
        ("temperature", None),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 2**32),
        ("top_k", 1.5),
        ("top_k", True),
        ("top_p", 0.0),
        ("top_p", -1.0),
        ("top_p", 1.01),
        ("top_p", NAN),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", NAN),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", INF),
        ("repetition_penalty", NAN),
        ("repetition_penalty", 1e-50),  # 0 in float32
        ("repetition_penalty", 1e300),
        ("repeat_last_n", -2),
        ("repeat_last_n", 64.0),
        ("repeat_last_n", True),
        ("presence_penalty", NAN),
        ("presence_penalty", 1e300),
        ("frequency_penalty", -INF),
        ("frequency_penalty", "0"),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 0.5),
    ],
)
def test_refuses_and_names_the_option(name: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingOptions(**{name: value})
    assert caught.value.what == name
    assert caught.value.found == repr(value)


@pytest.mark.parametrize(
    "value",
    [10**40, -(10**5000), "x" * 5000, ["y"] * 5000],
    ids=["large", "longest", "text", "list"],
)
@pytest.mark.parametrize("name", [field.name for field in fields(SamplingOptions)])
def test_shows_little_of_a_long_value(name: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingOptions(**{name: value})
    assert 0 < len(caught.value.found) <= 60


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 1000},
        {"top_p": 1},
        {"top_p": 1e-9},
        {"min_p": 0},
        {"min_p": 1},
        {"top_k": 2**32 - 1},
        {"seed": 2**32 - 1},
        {"repeat_last_n": -1},
        {"presence_penalty": -2, "frequency_penalty": 2},
    ],
)
def test_takes_the_ends_of_the_ranges(options: dict[str, float]) -> None:
    assert SamplingOptions(**options)


def test_packs_the_state_in_the_order_of_the_shader() -> None:
    options = SamplingOptions(0.5, 7, 0.25, 0.125, 1.5, 9, 0.75, -0.5, 0xFFFFFFFF)
    packed = sampling.pack_state(123, options, 9, 4)
    assert len(packed) == STATE_BYTES
    integers = struct.unpack("<16I", packed)
    floats = struct.unpack("<16f", packed)
    assert integers[:4] == (123, 0, 0, 0xFFFFFFFF)
    assert (floats[4], integers[5]) == (0.5, 7)
    assert floats[6:9] == (0.25, 0.125, 1.5)
    assert integers[9:11] == (0, 0)
    assert floats[11:13] == (0.75, -0.5)
    assert integers[13:] == (9, 4, 0)


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({}, 0),
        ({"repeat_last_n": -1}, 0),
        ({"repetition_penalty": 1.1}, 64),
        ({"repetition_penalty": 1.1, "repeat_last_n": 0}, 0),
        ({"presence_penalty": 0.1, "repeat_last_n": -1}, 100),
        ({"frequency_penalty": 0.1, "repeat_last_n": 200}, 100),
    ],
)
def test_looks_back_only_if_there_is_a_penalty(
    changes: dict[str, float], window: int
) -> None:
    assert SamplingOptions(**changes).window(100) == window


def test_packs_a_bit_per_token() -> None:
    words = struct.unpack("<3I", sampling.pack_ids([0, 31, 32, 65], 66))
    assert words == (0x80000001, 1, 2)
    assert sampling.pack_ids([], 1) == bytes(4)
    for outside in (-1, 66):
        with pytest.raises(RequestError):
            sampling.pack_ids([outside], 66)


# -- what is kept ---------------------------------------------------------------------


def test_keeps_all_in_falling_order_when_nothing_cuts() -> None:
    found = sampling.candidates(LOGITS, ALL)
    assert [c.id for c in found] == [2, 0, 3, 5, 4, 1]
    assert [c.probability for c in found] == pytest.approx(
        [0.5, 0.15, 0.15, 0.1, 0.07, 0.03], rel=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"top_k": 1}, [2]),
        ({"top_k": 2}, [2, 0, 3]),  # the second and third are equal
        ({"top_k": 4}, [2, 0, 3, 5]),
        ({"top_k": 100}, [2, 0, 3, 5, 4, 1]),
        ({"top_p": 0.49}, [2]),
        ({"top_p": 0.51}, [2, 0, 3]),
        ({"top_p": 0.81}, [2, 0, 3, 5]),
        ({"top_p": 1e-9}, [2]),
        ({"top_k": 2, "top_p": 0.6}, [2]),  # 0.5 of 0.8 is 0.625
        ({"top_k": 2, "top_p": 0.64}, [2, 0, 3]),
        ({"min_p": 0.19}, [2, 0, 3, 5]),
        ({"min_p": 1.0}, [2]),
        ({"min_p": 0.29, "temperature": 0.5}, [2]),
        ({"min_p": 0.29, "temperature": 2.0}, [2, 0, 3, 5, 4]),
        ({"temperature": 0.0}, [2]),
    ],
)
def test_cuts(changes: dict[str, float], ids: list[int]) -> None:
    assert kept(replace(ALL, **changes)) == ids


def test_temperature_flattens() -> None:
    hot = sampling.candidates(LOGITS, replace(ALL, temperature=2.0))
    ratio = hot[0].probability / hot[-1].probability
    assert ratio == pytest.approx((0.5 / 0.03) ** 0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("logits", "suppressed", "fault"),
    [
        ([1.0, -3e38], (), Fault.NONE),
        ([1.0, NAN, INF], (), Fault.NOT_A_NUMBER),
        ([1.0, INF], (), Fault.INFINITE),
        ([-INF, 1.0], (), Fault.INFINITE),
        ([1.0, NAN], (1,), Fault.NOT_A_NUMBER),
        ([1.0, 2.0], (1,), Fault.NONE),
        ([1.0, 2.0], (0, 1), Fault.ALL_SUPPRESSED),
    ],
)
def test_faults(logits: list[float], suppressed: tuple[int], fault: Fault) -> None:
    assert sampling.find_fault(logits, suppressed) == fault


def test_penalties_add_up_over_the_window() -> None:
    options = replace(
        ALL, repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25
    )
    before = [2, 0, 1, 1, 2]
    for last_n, expected in (
        (64, [2.0 / 2 - 0.75, -1.0 * 2 - 1.0, 3.0 / 2 - 1.0]),
        (3, [2.0, -1.0 * 2 - 1.0, 3.0 / 2 - 0.75]),
        (0, [2.0, -1.0, 3.0]),
    ):
        last = replace(options, repeat_last_n=last_n)
        found = sampling.candidates([2.0, -1.0, 3.0], last, (), before)
        scaled = {c.id: c.scaled for c in found}
        assert [scaled[i] for i in range(3)] == [x - max(expected) for x in expected]


# -- the choice -----------------------------------------------------------------------


def test_a_penalty_keeps_within_the_numbers() -> None:
    greedy = replace(SamplingOptions.greedy, repetition_penalty=1000.0)
    assert sampling.choose([-3e38, -3.4e38], greedy, 0, before=[0, 1]) == 0


def test_greedy_ties_go_to_the_lower_id() -> None:
    assert sampling.choose([1.0, 3.0, 3.0], SamplingOptions.greedy, 0) == 1
    assert sampling.choose([-0.0, 0.0], SamplingOptions.greedy, 0) == 0


def test_suppressed_and_repeated() -> None:
    greedy = replace(SamplingOptions.greedy, repetition_penalty=2.0)
    assert sampling.choose([4.0, 3.0], greedy, 0, before=[0]) == 1
    assert sampling.choose([-1.0, -1.5], greedy, 0, before=[0]) == 1
    assert sampling.choose([4.0, 3.0], greedy, 0, suppressed={0}, before=[1]) == 1


def test_a_draw_depends_on_its_seed_and_number_alone() -> None:
    logits = [0.0] * 1000
    first = [sampling.choose(logits, ALL, draw) for draw in range(20)]
    assert first == [sampling.choose(logits, ALL, draw) for draw in range(20)]
    other = [sampling.choose(logits, replace(ALL, seed=1), draw) for draw in range(20)]
    assert len(set(first)) > 15
    assert sum(a == b for a, b in zip(first, other, strict=True)) <= 2


def test_frequencies_follow_the_probabilities() -> None:
    n = 6000
    counts = [0] * 6
    for draw in range(n):
        counts[sampling.choose(LOGITS, ALL, draw)] += 1
    expected = [n * math.exp(logit) for logit in LOGITS]
    statistic = sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))
    assert statistic < 20.5  # the 99.9 % point of chi-square with 5 degrees of freedom


# -- the random bits ------------------------------------------------------------------


def test_random_bits_are_fixed_for_ever() -> None:
    """A change of the generator would change the answer of every saved seed."""
    found = [
        sampling.random_bits(*key) for key in ((0, 0, 0), (1, 2, 3), (7, 0, 262143))
    ]
    assert found == RECORDED_BITS


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_random_bits_are_even_along_each_axis(axis: int) -> None:
    """Each of the 32 bits is set half of the time when one input counts up."""
    n = 4096
    counts = [0] * 32
    for i in range(n):
        key = [3, 5, 11]
        key[axis] = i
        bits = sampling.random_bits(*key)
        for bit in range(32):
            counts[bit] += bits >> bit & 1
    # Five standard deviations of a binomial of n fair coins.
    assert all(abs(count - n / 2) < 5 * math.sqrt(n) / 2 for count in counts)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_share_no_bits(axis: int) -> None:
    """Counting one input up flips each output bit with probability one half."""
    n = 2048
    flips = [0] * 32
    for i in range(n):
        key = [9, 4, 17]
        key[axis] = i
        before = sampling.random_bits(*key)
        key[axis] = i + 1
        changed = before ^ sampling.random_bits(*key)
        for bit in range(32):
            flips[bit] += changed >> bit & 1
    assert all(abs(count - n / 2) < 5 * math.sqrt(n) / 2 for count in flips)
