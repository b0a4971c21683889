"""Other engines to compare with: pinned, installed here and nowhere else.

Each lies in a folder of its own below `.cache/peers`; nothing but a benchmark that was
asked for one makes it, and deleting the folder undoes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tools import environment
from tools.environment import ROOT, SetupError

LLAMA_CPP = "llama.cpp"
LLAMA_CPP_VULKAN = "llama.cpp-vulkan"
WLLAMA = "wllama"
NATIVE = (LLAMA_CPP, LLAMA_CPP_VULKAN)
NAMES = (*NATIVE, WLLAMA)

PACKAGE = "llama-cpp-python==0.3.36"
NPM_PACKAGE = "@wllama/wllama@3.8.1"
FOLDER = ROOT / ".cache" / "peers"
# How each is built, after what CMAKE_ARGS says already. ggml finds the Vulkan
# headers and `glslc` itself; it wants 1.3.283 or newer (-DVulkan_INCLUDE_DIR=DIR).
CMAKE_ARGS = {LLAMA_CPP: "-DGGML_NATIVE=on", LLAMA_CPP_VULKAN: "-DGGML_VULKAN=on"}


def add_argument(parser: ArgumentParser) -> None:
    """Let a benchmark be asked for peers, by `vs`."""
    parser.add_argument(
        "--vs",
        nargs="+",
        action="extend",
        default=[],
        choices=NAMES,
        metavar="PEER",
        help=f"other engines on the same files: {', '.join(NAMES)}",
    )


def llama_python(name: str) -> Path:
    """Return the Python that has llama.cpp; it is built first, in minutes to an hour.

    Raises: SetupError when what it is built with is missing.
    """
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if environment.is_done(folder, PACKAGE, dev=False):
        return python
    for tool in missing_tools(name):
        raise SetupError(
            f"{tool} is missing, with which {name} is built. On Debian or Ubuntu: "
            "sudo apt-get install g++ cmake libvulkan-dev glslc"
        )
    print(f"Building {PACKAGE} for {name}", file=sys.stderr, flush=True)
    environment.run([sys.executable, "-m", "venv", folder])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    given = os.environ.get("CMAKE_ARGS", "")
    # Nor a wheel that was built with other arguments.
    environment.run(
        [*pip, "--no-cache-dir", "--no-binary=llama-cpp-python", PACKAGE],
        env={**os.environ, "CMAKE_ARGS": f"{given} {CMAKE_ARGS[name]}"},
    )
    environment.set_done(folder, PACKAGE, dev=False)
    return python


def missing_tools(name: str) -> list[str]:
    """Return what has to be installed before a back-end can be built."""
    tools = ["c++", *(["glslc"] if name == LLAMA_CPP_VULKAN else [])]
    return [tool for tool in tools if shutil.which(tool) is None]


def wllama() -> Path:
    """Return the folder of wllama's modules and its WebAssembly, fetched if need be."""
    folder = FOLDER / WLLAMA
    if not environment.is_done(folder, NPM_PACKAGE, dev=False):
        folder.mkdir(parents=True, exist_ok=True)
        node = environment.node()
        npm = shutil.which("npm", path=str(node.parent)) or "npm"
        path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        command = [npm, "install", "--ignore-scripts", "--no-progress", NPM_PACKAGE]
        quiet = ["--loglevel=error", "--no-audit", "--no-fund"]
        environment.run(
            [*command, *quiet, "--prefix", folder], env={**os.environ, "PATH": path}
        )
        environment.set_done(folder, NPM_PACKAGE, dev=False)
    return folder / "node_modules" / "@wllama" / "wllama" / "esm"


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Have a commit's files in a folder for a while; the repository is left alone."""
    archive = ["git", "-C", str(ROOT), "archive", commit]
    with TemporaryDirectory() as folder, TemporaryFile() as file:
        subprocess.run(archive, stdout=file, check=True)
        file.seek(0)
        with tarfile.open(fileobj=file) as packed:
            packed.extractall(folder, filter="data")
        yield Path(folder)
