"""The run on a GPU, rehearsed: a bare Python, no git, Node or pip, and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.house.tree import ROOT, tracked_files

PACKED = ("wgpu", "cffi", "pycparser", "rendercanvas")  # what `prepare` carries
THERE = (
    *("numpy", "numpy.libs", "pytest", "_pytest"),
    *("pluggy", "iniconfig", "packaging", "pygments"),
)
LEFT = ("web", "demo", "golden/dequant", "golden/logits", "golden/tokenizer")
# Where no namespace can be had: any address is refused in every process.
NO_NETWORK = """
import socket
def refuse(*_):
    raise OSError("the network is cut")
socket.getaddrinfo = socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what travels: tracked files and what was carried, packed from here."""
    folder = tmp_path_factory.mktemp("tree")
    for path in tracked_files():
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(LEFT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    wheels = folder / ".gpu" / "wheels"
    wheels.mkdir(parents=True)
    for package in PACKED:
        pack(metadata.distribution(package), wheels)
    (folder / ".gpu" / "commit").write_text("0123456789ab+\n")
    return folder


def pack(package: metadata.Distribution, folder: Path) -> None:
    """Make an installed package a wheel again."""
    name = f"{package.name}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file in package.files or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:
                wheel.write(file.locate(), str(file))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a machine whose Python has NumPy, pytest, no more."""
    packages = tmp_path_factory.mktemp("packages")
    for name in THERE:
        installed = Path(str(metadata.distribution("numpy").locate_file(name)))
        if installed.exists():
            (packages / name).symlink_to(installed)
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    programs = tmp_path_factory.mktemp("programs")  # git, node, npm and pip: none
    kept = ("LD_LIBRARY_PATH", "VK_DRIVER_FILES", "VK_ICD_FILENAMES")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PATH": str(programs),
        "HOME": str(programs),
        "PYTHONPATH": str(packages),
        "OUT": str(tmp_path_factory.mktemp("out")),
    }


def cut_off() -> list[str]:
    """Return what begins a command that has no network, where that may be had."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    command = [unshare, "--map-root-user", "--net"]
    allowed = subprocess.run([*command, "true"], capture_output=True)
    return [] if allowed.returncode else command


@pytest.mark.timeout(900)  # of a machine that is busy
def test_a_bare_machine_without_network_gives_the_report(tree, machine):
    python = getattr(sys, "_base_executable", sys.executable)
    asked = ("--quick", "--seconds", "800", "--only", "diff,steps,shaders")
    command = [*cut_off(), python, "-m", "bench.gpu", "run", *asked]
    reply = subprocess.run(
        command, cwd=tree, env=machine, capture_output=True, text=True, errors="replace"
    )
    assert reply.returncode == 0, reply.stdout[-4000:] + reply.stderr[-4000:]
    out = Path(machine["OUT"])
    assert {path.name for path in out.iterdir()} == {"report.json", "log.txt"}
    found = json.loads((out / "report.json").read_text())
    assert {name: part["ended"] for name, part in found["parts"].items()} == (
        dict.fromkeys(("adapter", "diff-qwen3moe16", "steps", "shaders"), "well")
    )
    assert found["environment"]["commit"] == "0123456789ab+"
    assert {"driver", "features", "limits", "subgroup"} <= set(found["device"])
    assert found["parts"]["adapter"]["result"]["chosen"]["text"]
    (row,) = found["parts"]["steps"]["result"]["steps"]
    assert row["step"]["tokens_per_second"] > 0 < row["prompt"]["tokens_per_second"]
    assert "within the tolerance" in (out / "log.txt").read_text()
    assert str(tree) not in (out / "report.json").read_text()
