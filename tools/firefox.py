"""How a script that uses firefox.mjs is run: by Node, on a Vulkan driver."""

from __future__ import annotations

import os
from pathlib import Path

from tools import environment

_DRIVERS = Path("/usr/share/vulkan/icd.d")


def command(script: Path, *arguments: object) -> list[str]:
    """Return the command: the script is given Firefox's path first."""
    given = (environment.find_firefox(), *arguments)
    return [str(environment.node()), str(script), *map(str, given)]


def variables() -> dict[str, str]:
    """Return the environment: llvmpipe's driver, unless another is named."""
    found = sorted(_DRIVERS.glob("lvp_icd*.json"))
    driver = {"VK_ICD_FILENAMES": str(found[0])} if found else {}
    return {**driver, **os.environ}
