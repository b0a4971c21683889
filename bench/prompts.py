"""The model that a benchmark runs, and prompts of wanted lengths for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pyodide_app.cli.models import open_model
from pyodide_app.errors import RequestError
from pyodide_app.gguf.reader import read_gguf
from pyodide_app.gguf.sources import FileSource
from pyodide_app.load.chat_format import choose_format
from pyodide_app.text.tokenizer import Tokenizer
from tests.samples import realshape

WORDS = (
    "Tell me a long story about a fox and a king who walk to the sea . "
    "The bird has seen them and says what it knows . "
).split()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message, the prompt that it renders to, and that one's ids."""

    text: str
    rendered: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """Files on the disk."""

    name: str
    files: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        """Return the size of all files."""
        return sum(path.stat().st_size for path in self.files)


@contextmanager
def opened(text: str, file_type: str, layers: int | None) -> Iterator[Model]:
    """Have the files of a path, of an Ollama name or, written for now, of a size.

    Raises: EngineError for what is none of them, or cannot be read.
    """
    if text in realshape.MODELS:
        with TemporaryDirectory() as folder:
            yield write(Path(folder), text, file_type, layers)
    else:
        yield Model(Path(text).stem, tuple(files_of(text)))


def write(folder: Path, size: str, file_type: str, layers: int | None) -> Model:
    """Write a released size with generated weights of sane magnitude.

    Raises: RequestError when the disk has no room for it.
    """
    wanted = realshape.plan(size, file_type, layers=layers).size
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise RequestError(
            f"no room on the disk for {size}",
            found=f"{free / 1e9:.1f} GB free",
            expected=f"{wanted / 1e9:.1f} GB",
            remedy="Set TMPDIR to a folder with more room, or keep fewer --layers",
        )
    cut = "" if layers is None else f"-{layers}-layers"
    path = folder / f"{size}-{file_type}{cut}-generated.gguf"
    realshape.write(path, size, file_type, layers=layers, fill=lambda name: True)
    return Model(path.stem, (path,))


def files_of(text: str) -> list[Path]:
    """Return the paths of a model's files."""
    opened_model = asyncio.run(open_model(text))
    paths = []
    for source in opened_model.sources:
        assert isinstance(source, FileSource)
        paths.append(source.path.resolve())
        source.close()
    return paths


def make(model: Model, lengths: Sequence[int]) -> list[Prompt]:
    """Return a prompt of about each length, by the model's own words.

    A file without words gets ids alone: its prompts have no text.
    """
    sources = [FileSource(path) for path in model.files]
    try:
        file = asyncio.run(read_gguf(sources))
        if "tokenizer.ggml.tokens" not in file.metadata:
            n_vocab = file.tensors["token_embd.weight"].dims[1]
            return [Prompt("", "", tuple(plain_ids(n, n_vocab))) for n in lengths]
        tokenizer = Tokenizer.from_metadata(file.metadata)
    finally:
        for source in sources:
            source.close()
    chat = choose_format(file).require()

    def render(text: str) -> Prompt:
        message = {"role": "user", "content": text}
        prompt = chat.render([message])
        return Prompt(text, prompt.text, tuple(tokenizer.encode_prompt(prompt)))

    return [fitting(render, length) for length in lengths]


def plain_ids(n: int, n_vocab: int) -> Iterator[int]:
    """Yield ids that are in any vocabulary of this size."""
    for i in range(n):
        yield 1 + i * 7919 % (n_vocab - 1)


def fitting(render: Callable[[str], Prompt], length: int) -> Prompt:
    """Return the longest prompt of whole words that is not above a length.

    The shortest, of one word, where even that is.
    """
    low, high = 1, max(1, length)
    while low < high:
        middle = (low + high + 1) // 2
        if len(render(words(middle)).ids) <= length:
            low = middle
        else:
            high = middle - 1
    return render(words(low))


def words(n: int) -> str:
    """Return a text of so many words."""
    return " ".join(WORDS[i % len(WORDS)] for i in range(n))
