"""What comes with the driver besides Python: the shaders, and the embedded model."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def locate(name: str) -> Path:
    """Return the path of a file or folder, as it is named in the repository.

    A wheel holds it inside the package (an installed one, and the page's), a checkout
    beside it. Not by importlib.resources: loading that takes 15 ms of every start, and
    several times as much in a browser.
    """
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


SHADERS = locate("shaders")
MODEL = locate("demo/lapidary-demo.gguf")
