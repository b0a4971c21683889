"""Have an llvmpipe with f16 and subgroups: the system's, or one fetched beside it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools import environment
from tools.environment import CACHE, SetupError, run

FEATURES = frozenset({"shader-f16", "subgroups"})  # Mesa 25 has them, 22 has not
PACKAGE = "mesa-vulkan-drivers"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
FETCHED = CACHE / "lavapipe" / "lvp_icd.json"
# Subgroups of four, unoptimised: kernels with barriers compile in a third of the time.
LLVMPIPE = {"LP_NATIVE_VECTOR_WIDTH": "128", "GALLIVM_PERF": "nopt"}
MISSING = (
    "An llvmpipe with shader-f16 and subgroups is missing. Install Mesa 25 or newer, "
    "or name another Vulkan driver in VK_DRIVER_FILES"
)

PRINT_FEATURES = """
import { create } from 'webgpu';
const adapter = await create([]).requestAdapter().catch(() => null);
const names = [...(adapter?.features ?? [])].join(' ');
process.stdout.write(`\\n${names}`, () => process.exit(0));
"""


def dawn_environment(icd: Path | None) -> dict[str, str]:
    """Return an environment in which Dawn finds this Vulkan driver, or any."""
    drivers = dict.fromkeys(environment.ICD_VARIABLES, str(icd)) if icd else {}
    runtime = {"XDG_RUNTIME_DIR": tempfile.gettempdir()}
    return {**runtime, **LLVMPIPE, **os.environ, **drivers}


def dawn_features(icd: Path) -> set[str]:
    """Return the WebGPU features that Dawn offers with a Vulkan driver."""
    reply = subprocess.run(
        [environment.node(), "--input-type=module", "--eval", PRINT_FEATURES],
        capture_output=True,
        text=True,
        cwd=environment.WEB,
        env=dawn_environment(icd),
    )
    return set(reply.stdout.rpartition("\n")[2].split())  # below what Dawn remarks


def ensure_lavapipe() -> Path | None:
    """Return the ICD file of an llvmpipe with f16 and subgroups under Dawn.

    None where the choice is not ours: a driver is named, or Dawn needs no Vulkan.
    """
    named = any(name in os.environ for name in environment.ICD_VARIABLES)
    if named or platform.system() != "Linux":
        return None
    environment.ensure_node_modules(dev=True)
    if not _installed():  # which brings the libraries that a newer one needs, too
        environment.apt_install("libvulkan1", PACKAGE, needed_for="llvmpipe")
    for icd in (*_installed(), FETCHED):
        if icd.exists() and dawn_features(icd) >= FEATURES:
            return icd
    _fetch()
    if lacking := FEATURES - dawn_features(FETCHED):
        raise SetupError(f"{MISSING}: the backport lacks {', '.join(sorted(lacking))}")
    return FETCHED


def _installed() -> list[Path]:
    folders = [Path(folder) for folder in environment.ICD_FOLDERS]
    return [icd for folder in folders for icd in folder.glob("lvp_icd*.json")]


def _fetch() -> None:
    """Unpack the backport's llvmpipe; nothing is installed, and root is not needed."""
    source = _backports()
    print(f"Fetching llvmpipe of {source.split()[-2]}", flush=True)
    FETCHED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        _download(source, folder)
        run(["dpkg-deb", "--extract", next(folder.glob("*.deb")), folder / "files"])
        library = next(folder.rglob("libvulkan_lvp.so"))
        library.replace(FETCHED.parent / library.name)
    driver = {
        "library_path": str(FETCHED.parent / library.name),
        "api_version": "1.4.0",
    }
    FETCHED.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}))


def _backports() -> str:
    """Return apt's line for the backports, on the mirror that the system uses."""
    if shutil.which("apt-get") and Path(KEYS).exists():
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        form = "--format=$(REPO_URI) $(RELEASE) $(COMPONENT)"
        command = ["apt-get", "indextargets", "--no-release-info", form]
        reply = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in reply.stdout.splitlines():
            url, *rest = line.split()
            if rest == [codename, "main"]:
                return f"deb [signed-by={KEYS}] {url} {codename}-backports main"
    raise SetupError(f"{MISSING}: only on Debian is it fetched")


def _download(source: str, folder: Path) -> None:
    """Download the package from one source into a folder, which apt alone works in."""
    sources = folder / "sources.list"
    sources.write_text(f"{source}\n")
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # the folder is ours alone
    }
    apt = ["apt-get", "-qq", *(f"--option={k}={v}" for k, v in options.items())]
    run([*apt, "update"])
    run([*apt, "download", PACKAGE], cwd=folder)
