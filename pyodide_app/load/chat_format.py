"""Which chat format a model file has, by all that the driver knows of it."""

from __future__ import annotations

from pyodide_app.gguf.reader import GGUFFile
from pyodide_app.models import FAMILIES
from pyodide_app.text.chat.choice import Brought, Choice, choose


def choose_format(file: GGUFFile, brought: Brought | None = None) -> Choice:
    """Choose the format of a file, also of one whose architecture is not supported."""
    family = FAMILIES.get(file.architecture)
    return choose(file, family.chat if family else "", brought)
