"""The options of a message, under the driver's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyodide_app.adapter import kernel_options
from pyodide_app.browser.figures import allowed_memory
from pyodide_app.errors import RequestError
from pyodide_app.gpu.device import AdapterInfo
from pyodide_app.load.options import LoadOptions
from pyodide_app.run.sampling import SamplingOptions


def options_of(message: Any) -> dict[str, Any]:
    """Return the options of a message."""
    return message.options.to_py() if message.options else {}


def load_options(
    options: Mapping[str, Any], info: AdapterInfo, hint: float | None
) -> LoadOptions:
    """Return how a model is to be loaded; what is not said is left to the driver.

    `hint` is the machine's memory in GiB, where the browser tells of it.
    """
    names = ("n_ctx", "default_ctx", "kv")
    said = {name: options[name] for name in names if options.get(name) is not None}
    return LoadOptions(
        **said,
        memory=allowed_memory(hint, info.is_software),
        kernels=kernel_options.parse(str(options.get("kernels") or "")),
        kept=(options.get("chosen") or {}).get(info.name),
    )


def sampling_options(options: dict[str, Any]) -> SamplingOptions:
    """Return the options under the engine's names.

    Raises: RequestError when one is unknown.
    """
    try:
        return SamplingOptions(**options)
    except TypeError as error:
        raise RequestError("unknown sampling option", found=str(error)) from error
