"""Have on the machine what the parts need: packages, Vulkan, a driver, Dawn."""

from __future__ import annotations

import ctypes
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.gpu import carried
from tools import environment
from tools.environment import ROOT, SetupError

NEEDED = ("numpy", "wgpu")
# Where a container is given NVIDIA's driver, besides where the loader looks.
NVIDIA = Path("/usr/local/nvidia")
NVIDIA_ICD = "nvidia_icd*.json"
# The driver under its two names; the second does without any of X11.
NVIDIA_LIBRARIES = ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0")
PROBE = 40  # seconds until a driver is one that hangs

Environment = dict[str, str]


def base(work: Path) -> Environment:
    """Return the environment of all parts, with what was carried unpacked in `work`.

    Raises: SetupError when a package is neither there nor carried.
    """
    site = unpack_wheels(carried.WHEELS, work / "site")
    kept = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), str(site), *([kept] if kept else [])]
    made = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPYCACHEPREFIX": str(work / "compiled"),
        "XDG_RUNTIME_DIR": str(work),
    }
    folders = library_folders(work)
    if folders:
        kept = os.environ.get("LD_LIBRARY_PATH")
        made["LD_LIBRARY_PATH"] = os.pathsep.join(
            [*map(str, folders), *([kept] if kept else [])]
        )
    if lacking := [name for name in NEEDED if not has(name, made)]:
        raise SetupError(
            f"{sys.executable} has no {' and no '.join(lacking)}, nor was it carried: "
            "`python -m bench.gpu prepare` makes the folder .gpu (--numpy: with NumPy)"
        )
    return made


def unpack_wheels(folder: Path, site: Path) -> Path:
    """Unpack those wheels that this Python can use; there may be none."""
    names = sorted(path.name for path in folder.glob("*.whl"))
    site.mkdir()
    for name in carried.fitting(names, sys.version_info[:2]):
        with zipfile.ZipFile(folder / name) as wheel:
            wheel.extractall(site)
    return site


def has(name: str, made: Mapping[str, str]) -> bool:
    """Tell whether a child finds a package."""
    command = [sys.executable, "-c", f"import {name}"]
    return subprocess.run(command, env=made, capture_output=True).returncode == 0


def library_folders(work: Path) -> list[Path]:
    """Return where more libraries are: NVIDIA's, and Vulkan's loader if need be."""
    found = [path for path in (NVIDIA / "lib64", NVIDIA / "lib") if path.is_dir()]
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        if carried.LIBRARIES.exists():
            folder = work / "libraries"
            with zipfile.ZipFile(carried.LIBRARIES) as packed:
                packed.extractall(folder)
            found.insert(0, folder)
    return found


def drivers(work: Path) -> Iterator[Environment]:
    """Yield how the loader may find a GPU: as a person says, or by a driver's file.

    Then by itself, and at last by files of our own, where the driver came without.
    """
    if any(name in os.environ for name in environment.ICD_VARIABLES):
        yield {}
        return
    folders = [Path(folder) for folder in environment.ICD_FOLDERS]
    folders.append(NVIDIA / "share" / "vulkan" / "icd.d")
    for icd in (icd for folder in folders for icd in sorted(folder.glob(NVIDIA_ICD))):
        yield named(icd)
    yield {}
    for name in NVIDIA_LIBRARIES:
        for path in (str(NVIDIA / "lib64" / name), name):
            icd = work / f"icd-{path.replace('/', '-')}.json"
            driver = {"library_path": path, "api_version": "1.3.0"}
            content = {"file_format_version": "1.0.0", "ICD": driver}
            icd.write_text(json.dumps(content), encoding="utf-8")
            yield named(icd)


def named(icd: Path) -> Environment:
    """Return what names a driver to the Vulkan loader, and NVIDIA's to that of EGL."""
    made = dict.fromkeys(environment.ICD_VARIABLES, str(icd))
    egl = NVIDIA / "share" / "glvnd" / "egl_vendor.d" / "10_nvidia.json"
    if egl.exists():
        made["__EGL_VENDOR_LIBRARY_FILENAMES"] = str(egl)
    return made


def find_gpu(
    made: Environment, work: Path, is_quick: bool
) -> tuple[Environment, list[dict[str, Any]]]:
    """Return the first environment in which an adapter is a GPU, and what was seen.

    Where none is, the first that has any adapter will do to rehearse.
    Raises: SetupError when there is none.
    """
    seen: list[dict[str, Any]] = []
    usable: list[Environment] = []
    for more in drivers(work):
        adapters, said = probe({**made, **more})
        name = Path(more.get(environment.ICD_VARIABLES[0], "")).name
        said = said.replace(str(work), "WORK")
        seen.append({"driver": name, "adapters": adapters, "said": said})
        kinds = {each["type"] for each in adapters if each["backend"] != "OpenGL"}
        if kinds - {"CPU", "Unknown"}:
            return {**made, **more}, seen
        if kinds:
            usable.append({**made, **more})
            if is_quick:
                break
    if usable and is_quick:
        return usable[0], seen
    raise SetupError(
        "no GPU: no driver gives an adapter that is one (--quick takes software)\n"
        + json.dumps(seen, indent=1)
    )


def probe(made: Environment) -> tuple[list[dict[str, Any]], str]:
    """Return the adapters that a process sees, and what the loader says of others."""
    command = [sys.executable, "-m", "bench.adapter", "--list"]
    loud = {**made, "VK_LOADER_DEBUG": "error,warn"}
    try:
        reply = subprocess.run(
            command, env=loud, cwd=ROOT, capture_output=True, text=True, timeout=PROBE
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer in {PROBE} s"
    lines = dict.fromkeys(reply.stderr.splitlines())  # the loader repeats itself
    words = "\n".join(lines)[-1500:].replace(str(ROOT), ".")
    try:
        return json.loads(reply.stdout.splitlines()[-1]), words
    except (IndexError, ValueError):
        return [], words


@contextmanager
def dawn(work: Path) -> Iterator[Environment]:
    """Have Node and Dawn for a while; gives what makes them be found.

    Raises: SetupError when they are neither there nor carried.
    """
    package = (environment.WEB / "package.json").read_bytes()
    key = environment.digest(package, environment.PACKAGE_LOCK.read_bytes())
    if environment.is_done(environment.NODE_MODULES, key, dev=True):
        yield {}
        return
    is_carried = carried.NODE.exists() and carried.DAWN_NODE.exists()
    if environment.NODE_MODULES.exists() or not is_carried:
        raise SetupError("neither are Node and Dawn there nor carried (prepare --dawn)")
    try:
        unpack_dawn(environment.NODE_MODULES / "webgpu")
        environment.set_done(environment.NODE_MODULES, key, dev=True)
        programs = unpack_node(work / "programs")
        yield {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    finally:  # what it says is whole is not
        shutil.rmtree(environment.NODE_MODULES, ignore_errors=True)


def unpack_dawn(module: Path) -> None:
    """Lay Dawn where Node finds it by its name."""
    unpack(carried.DAWN_NODE, module / "dist" / "linux-x64" / "dawn.node")
    for text in carried.DAWN_TEXTS:
        shutil.copyfile(carried.DAWN / text, module / text)


def unpack_node(programs: Path) -> Path:
    """Unpack Node; who looks for it looks for npm, too, and has nothing to ask it."""
    unpack(carried.NODE, programs / "node")
    (programs / "npm").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    for program in programs.iterdir():
        program.chmod(0o755)
    return programs


def unpack(packed: Path, target: Path) -> None:
    """Write a file that was compressed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(packed) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, carried.MEGABYTE)


def describe() -> dict[str, Any]:
    """Say what the machine is."""
    return {
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "memory": _first_line(Path("/proc/meminfo")),
        "disk_free": shutil.disk_usage(ROOT).free,
        "nvidia_smi": smi(),
        "carried": carried.sizes(),
    }


def smi() -> list[str]:
    """Return the first lines of nvidia-smi, none where it is not there."""
    try:
        reply = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return reply.stdout.splitlines()[:20]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return ""
