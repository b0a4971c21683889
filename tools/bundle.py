"""Bundle the page, Pyodide and the driver into `dist/`, static files for any host."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools import environment, jinja
from tools.alone import alone
from tools.environment import CACHE, NODE_MODULES, ROOT, WEB, digest

DIST = ROOT / "dist"
DEMO = ROOT / "demo/lapidary-demo.gguf"  # its card lies beside it, as Markdown
PYODIDE = Path("vendor/pyodide")

# What the page loads from npm packages, and where it finds it in dist/.
VENDORED = {
    "pyodide/pyodide.mjs": "vendor/pyodide/pyodide.mjs",
    "pyodide/pyodide.asm.mjs": "vendor/pyodide/pyodide.asm.mjs",
    "pyodide/pyodide.asm.wasm": "vendor/pyodide/pyodide.asm.wasm",
    "marked/lib/marked.esm.js": "vendor/marked.esm.js",
    "marked/LICENSE": "vendor/licenses/marked.txt",
    "dompurify/dist/purify.es.mjs": "vendor/purify.es.mjs",
    "dompurify/LICENSE": "vendor/licenses/dompurify.txt",
    "hash-wasm/dist/sha256.umd.min.js": "vendor/sha256.umd.min.js",
    "hash-wasm/LICENSE": "vendor/licenses/hash-wasm.txt",
}
STDLIB = NODE_MODULES / "pyodide/python_stdlib.zip"
LOCK = NODE_MODULES / "pyodide/pyodide-lock.json"
BYTE_COMPILE = [WEB / "build/byte_compile.mjs", WEB / "build/byte_compile.py"]

NOT_THE_PAGE = {
    *("node_modules", "build", ".npmrc", "package.json", "package-lock.json"),
    *("jsconfig.json", "jsconfig.workers.json"),
}
NOT_IN_A_BROWSER = {
    f"pyodide_app/gpu/wgpu_{name}.py" for name in ("adapter", "faults", "native")
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same input gives the same bytes


def bundle() -> Path:
    """Make `dist/`, unless it is up to date, and return its path."""
    with alone(CACHE):
        environment.ensure_node_modules(dev=False)
        jinja.ensure_jinja()
        key = input_key()
        stamp = CACHE / "dist.key"
        if not (DIST.exists() and stamp.exists() and stamp.read_text() == key):
            print("Bundling dist/", flush=True)
            replace_dist()
            stamp.write_text(key)
    return DIST


def replace_dist() -> None:
    """Make `dist/` anew; a page that is being loaded misses it for an instant only."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="dist-") as folder:
        finished = Path(folder) / "dist"
        fill(finished)
        if DIST.exists():
            DIST.rename(Path(folder) / "before")
        finished.rename(DIST)


def input_key() -> str:
    """Return a digest that changes whenever `dist/` would."""
    files = [*page_files(), *driver_files().values(), environment.PACKAGE_LOCK]
    files += [*BYTE_COMPILE, Path(__file__), Path(jinja.__file__)]
    files += model_files(DEMO).values()
    names = [str(path.relative_to(ROOT)).encode() for path in files]
    return digest(*names, *(path.read_bytes() for path in files))


def fill(folder: Path, model: Path = DEMO) -> None:
    """Write all of the bundle into a new folder; without a model if there is none."""
    for path in page_files():
        copy(path, folder / path.relative_to(WEB))
    for name, path in model_files(model).items():
        copy(path, folder / name)
    for source, target in VENDORED.items():
        copy(NODE_MODULES / source, folder / target)
    stdlib = compiled(STDLIB, "stdlib", "/lib/python314.zip/")
    copy(stdlib, folder / PYODIDE / "python_stdlib.zip")
    wheels = [write_wheel(folder / PYODIDE)]
    for package in jinja.PACKAGES:
        wheels.append(write_package(folder / PYODIDE, package))
        notice = folder / f"vendor/licenses/{package.name}.txt"
        notice.write_bytes(jinja.licence(package))
    write_lock(folder / PYODIDE, wheels)
    write_manifest(folder, describe_model(model))


def page_files() -> list[Path]:
    """Return the files of `web/` that are the page, not what builds or tests it."""
    paths = [path for path in WEB.iterdir() if path.name not in NOT_THE_PAGE]
    nested = [path.rglob("*") if path.is_dir() else [path] for path in paths]
    return sorted(path for group in nested for path in group if path.is_file())


def driver_files() -> dict[str, Path]:
    """Return the driver's files by their name in the wheel, shaders included."""
    modules = (ROOT / "pyodide_app").rglob("*.py")
    files = {path.relative_to(ROOT).as_posix(): path for path in modules}
    for path in (ROOT / "shaders").rglob("*.wgsl"):
        files[f"pyodide_app/{path.relative_to(ROOT).as_posix()}"] = path
    return {name: files[name] for name in sorted(files) if name not in NOT_IN_A_BROWSER}


def model_files(model: Path) -> dict[str, Path]:
    """Return what there is of the model and its card, by name in the bundle."""
    card = model.with_name("CARD.md")
    # As plain text: that is how every host serves it.
    files = {f"embedded/{model.name}": model, f"embedded/{model.stem}.txt": card}
    return {
        name: path for name, path in files.items() if model.exists() and path.exists()
    }


def describe_model(model: Path) -> dict[str, object] | None:
    """Return what the page must know of the model to load it, if there is one."""
    if not model.exists():
        return None
    url, *card = model_files(model)
    size = model.stat().st_size
    return {"url": url, "size": size, "card": card[0] if card else None}


# Bytecode


def compiled(archive: Path, name: str, prefix: str) -> Path:
    """Return the archive with its modules byte-compiled by Pyodide, from the cache."""
    scripts = [path.read_bytes() for path in BYTE_COMPILE]
    key = digest(archive.read_bytes(), LOCK.read_bytes(), *scripts)
    target = CACHE / f"compiled-{name}-{key[:16]}.zip"
    if not target.exists():
        for outdated in CACHE.glob(f"compiled-{name}-*.zip"):
            outdated.unlink()
        with temporary(target) as unfinished:
            environment.run(
                [
                    environment.node(),
                    BYTE_COMPILE[0],
                    *(archive, unfinished, prefix),
                ]
            )
    return target


def write_wheel(folder: Path) -> Path:
    """Write the driver's wheel: compiled modules, and the shaders as they are."""
    files = {name: path.read_bytes() for name, path in driver_files().items()}
    metadata = (
        f"Metadata-Version: 2.4\nName: pyodide_app\nVersion: {version()}\n"
        "License-Expression: Apache-2.0\n"
    )
    info = f"pyodide_app-{version()}.dist-info"
    return pack(folder, info, {**files, f"{info}/METADATA": metadata.encode()})


def write_package(folder: Path, package: jinja.Package) -> Path:
    """Write the wheel of a package that was fetched, compiled."""
    return pack(folder, package.info, jinja.sources(package))


def pack(folder: Path, info: str, files: dict[str, bytes]) -> Path:
    """Write a wheel: modules, compiled, and other files, its metadata in `info`."""
    name = info.removesuffix(".dist-info")
    with temporary(CACHE / f"{name}-source.zip") as source:
        write_archive(source, files)
        with zipfile.ZipFile(compiled(source, name.partition("-")[0], "")) as archive:
            packed = {each: archive.read(each) for each in archive.namelist()}
    python = json.loads(LOCK.read_text())["info"]["python"].split(".")
    tag = f"py{python[0]}{python[1]}-none-any"
    packed[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: lapidary\nRoot-Is-Purelib: true\nTag: {tag}\n"
    ).encode()
    rows = [record_row(each, content) for each, content in packed.items()]
    packed[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,\n"]).encode()
    path = folder / f"{name}-{tag}.whl"
    write_archive(path, packed)
    return path


def record_row(name: str, content: bytes) -> str:
    """Return a file's line in a wheel's RECORD."""
    sha = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"{name},sha256={sha.decode()},{len(content)}"


def version() -> str:
    """Return the project's version, read without importing the driver."""
    text = (ROOT / "pyodide_app/__init__.py").read_text()
    return text.split('__version__ = "')[1].split('"')[0]


def write_lock(folder: Path, wheels: Sequence[Path]) -> None:
    """Write Pyodide's lock file: its versions, the driver, and what runs templates.

    Byte for byte what `pyodide-build` writes, which needs Python 3.12: the tests ask
    it. The stock packages are left out: the page uses none, and their files lie on
    another origin.
    """
    needs = {package.name: list(package.needs) for package in jinja.PACKAGES}
    info = json.loads(LOCK.read_text())["info"]
    packages = dict(lock_entry(wheel, needs) for wheel in wheels)
    text = json.dumps({"info": info, "packages": packages, "tool": {}}, sort_keys=True)
    (folder / "pyodide-lock.json").write_text(text, encoding="utf-8")


def lock_entry(wheel: Path, needs: dict[str, list[str]]) -> tuple[str, dict[str, Any]]:
    """Return what the lock file says of a wheel, by the package's name."""
    distribution, version = wheel.name.split("-")[:2]
    name = distribution.replace("_", "-")
    return name, {
        "name": name,
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": sha256(wheel),
        "package_type": "package",
        "imports": [],  # for looking packages up by their modules; we know the name
        "depends": needs.get(name, []),
        "unvendored_tests": False,
        "tool": {},
    }


# Files


def write_manifest(folder: Path, model: dict[str, object] | None) -> None:
    """Write `manifest.json`: the model, and the SHA-256 of each file and shader."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "version": version(),
        "model": model,
        "files": {p.relative_to(folder).as_posix(): sha256(p) for p in paths},
        "shaders": {
            name.removeprefix("pyodide_app/shaders/"): sha256(path)
            for name, path in driver_files().items()
            if name.endswith(".wgsl")
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip archive whose bytes depend on the files alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED, 9)


def copy(source: Path, target: Path) -> None:
    """Copy a file, making the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


@contextlib.contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `target` when all went well."""
    CACHE.mkdir(exist_ok=True)
    unfinished = target.with_name(f"{target.stem}-{os.getpid()}{target.suffix}")
    try:
        yield unfinished
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
