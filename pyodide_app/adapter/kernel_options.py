"""The choice of kernels: what a device can do beyond the baseline, tried and timed.

Every kernel has a text that any WebGPU device runs: the baseline. Some have a twin for
a feature that not every device has, or one that is faster and rounds. An `Option` is
such a twin, by a name that people can ask for:

    the device has the feature -> it gives the baseline's results -> it is faster

Where nobody asks, an option is taken that passes all three; one that rounds never is.
Where somebody asks, it need not be faster. What fails is left out and said, never an
error. An adapter in software takes the baseline unasked: there, compiling a twin costs
more than it can save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyodide_app import __version__, errors
from pyodide_app.adapter import trials
from pyodide_app.adapter.trials import Trial
from pyodide_app.gpu.device import AdapterInfo, Device
from pyodide_app.graph import tuning
from pyodide_app.graph.tuning import Tuning

BASELINE = "baseline"  # what people call no option at all
_GAIN = 0.02  # the share of its time that an option must save


@dataclass(frozen=True, slots=True)
class Option:
    """A twin of some kernels."""

    name: str
    feature: str  # of WebGPU that it needs, if any
    apply: Callable[[Tuning, AdapterInfo], Tuning]
    trial: Trial
    rounds: bool = False  # its results differ by more than an order of additions

    def lacks(self, info: AdapterInfo) -> str:
        """Return what the device lacks for it, or ''."""
        if self.feature and self.feature not in info.features:
            return f"the device lacks {self.feature}"
        if self.name == "subgroup" and info.subgroup < 2:
            return "the device does not say how small its subgroups are"
        return ""


OPTIONS = (
    Option(
        "subgroup",
        "subgroups",
        lambda tune, info: replace(tune, subgroup=info.subgroup),
        trials.SUMS,
    ),
    Option(
        "f16-kv",
        "shader-f16",
        lambda tune, _: replace(tune, kv_f16="native"),
        trials.KEYS_AND_VALUES,
    ),
    Option(
        "f16-tiles",
        "shader-f16",
        lambda tune, _: replace(tune, tile="workgroup", element="f16"),
        trials.TILES,
        rounds=True,
    ),
    Option(
        "int8",
        "",
        lambda tune, _: replace(tune, precision="int8"),
        trials.PRODUCTS,
        rounds=True,
    ),
)
NAMES = tuple(option.name for option in OPTIONS)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a device runs, and why it runs no more."""

    tune: Tuning
    options: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)  # reasons by option

    def __str__(self) -> str:
        used = ", ".join(self.options) or BASELINE
        return "; ".join([used, *(f"no {n}: {why}" for n, why in self.refused.items())])


def parse(text: str) -> tuple[str, ...] | None:
    """Return the options that a text names: None for '', which leaves it open.

    Raises RequestError.
    """
    asked = tuple(filter(None, (name.strip() for name in text.split(","))))
    check_names(() if asked == (BASELINE,) else asked)
    if not asked:
        return None
    return () if asked == (BASELINE,) else asked


def check_names(asked: Sequence[str]) -> None:
    """Raise RequestError for a name that no option has."""
    for name in asked:
        if name not in NAMES:
            raise errors.RequestError(
                "kernels",
                found=repr(name[:40]),
                expected=f"{BASELINE}, or some of {', '.join(NAMES)}",
            )


def of(tune: Tuning, info: AdapterInfo) -> Choice:
    """Return what a tuning comes to on a device."""
    able = (option for option in OPTIONS if not option.lacks(info))
    return Choice(tune, tuple(o.name for o in able if o.apply(tune, info) == tune))


def record(choice: Choice, info: AdapterInfo) -> dict[str, Any]:
    """Return what may be kept of a choice that nobody asked for, fit for JSON."""
    found = {"options": list(choice.options), "refused": dict(choice.refused)}
    return {**_key(info), **found}


async def choose(
    device: Device,
    asked: Sequence[str] | None = None,
    kept: object = None,
    tune: Tuning | None = None,
) -> Choice:
    """Try the options that were asked for, or choose where nobody asked.

    `kept` is a `record` of this device: what it says is not tried again. A tuning that
    is given stays as it is where no options are.
    Raises RequestError for names that no option has, DeviceLostError.
    """
    info = device.info
    base = of(
        tune or tuning.choose(info.is_software, info.limits.max_workgroup_bytes), info
    )
    if asked is not None:
        check_names(asked)
        return await _try(device, base, asked, is_asked=True)
    candidates = _candidates(info)
    if tune or not candidates:
        return base
    if (known := _known(kept, info)) is not None:
        return replace(_apply(base, known[0], info), refused=known[1])
    return await _try(device, base, [o.name for o in candidates], is_asked=False)


def _candidates(info: AdapterInfo) -> list[Option]:
    """Return what may be used unasked."""
    if info.is_software:
        return []
    return [
        option for option in OPTIONS if not option.rounds and not option.lacks(info)
    ]


async def _try(
    device: Device, choice: Choice, names: Sequence[str], is_asked: bool
) -> Choice:
    """Add the options one by one, each beside those that are there already."""
    for option in (option for option in OPTIONS if option.name in names):
        added = _apply(choice, [option.name], device.info)
        why = option.lacks(device.info)
        why = why or await trials.problem(device, option.trial, choice.tune, added.tune)
        if why:
            choice = replace(choice, refused={**choice.refused, option.name: why})
        elif is_asked or await _is_faster(device, option, choice, added):
            choice = added
    return choice


async def _is_faster(
    device: Device, option: Option, choice: Choice, added: Choice
) -> bool:
    try:
        before, after = await trials.times(
            device, option.trial, choice.tune, added.tune
        )
    except errors.DeviceLostError:
        raise
    except errors.DeviceError:  # too little memory, say: the baseline needs none
        return False
    return after < (1 - _GAIN) * before


def _apply(choice: Choice, names: Sequence[str], info: AdapterInfo) -> Choice:
    tune = choice.tune
    for option in OPTIONS:
        if option.name in names:
            tune = option.apply(tune, info)
    return replace(choice, tune=tune, options=of(tune, info).options)


def _known(kept: object, info: AdapterInfo) -> tuple[list[str], dict[str, str]] | None:
    """Return a record's options, and what it refused; None for another device's."""
    if not isinstance(kept, Mapping):
        return None
    rest = dict(kept)
    options, refused = rest.pop("options", None), rest.pop("refused", None)
    if not isinstance(options, list) or not isinstance(refused, Mapping):
        return None
    names = [option.name for option in _candidates(info)]
    is_possible = all(name in names for name in (*options, *refused))
    is_text = all(isinstance(why, str) for why in refused.values())
    if rest != _key(info) or not is_possible or not is_text:
        return None
    return options, dict(refused)


def _key(info: AdapterInfo) -> dict[str, Any]:
    """Return what a choice depends on, besides the adapter's name."""
    names = [option.name for option in _candidates(info)]
    return {"version": __version__, "tried": names, "subgroup": info.subgroup}
