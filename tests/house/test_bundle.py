"""The bundle: what `dist/` holds, and that the driver boots from it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

import build
from tests.house.test_imports import DRIVER, HOSTS
from tests.house.tree import ROOT, module_name
from tools import bundle, environment

SCRIPT = Path(__file__).with_name("import_driver.mjs")
AGREED = [
    "index.html",
    "vendor/marked.esm.js",
    "vendor/purify.es.mjs",
    "vendor/pyodide/pyodide-lock.json",
    "vendor/pyodide/pyodide.asm.mjs",
    "vendor/pyodide/pyodide.asm.wasm",
    "vendor/pyodide/pyodide.mjs",
    "vendor/pyodide/python_stdlib.zip",
    "vendor/sha256.umd.min.js",
]


@pytest.fixture(scope="module")
def dist() -> Path:
    return build.bundle()


@pytest.fixture(scope="module")
def manifest(dist) -> dict[str, dict[str, str]]:
    return json.loads((dist / "manifest.json").read_text())


def wheel_of(dist: Path) -> Path:
    return next((dist / "vendor/pyodide").glob("pyodide_app-*.whl"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_holds_what_the_page_loads(dist):
    assert [name for name in AGREED if not (dist / name).is_file()] == []


def test_holds_nothing_that_only_builds_or_tests(manifest):
    names = list(manifest["files"])
    assert [name for name in names if "node_modules" in name or "package" in name] == []
    assert [name for name in names if name.startswith("build/")] == []


def test_manifest_lists_every_file_with_its_hash(dist, manifest):
    paths = [p for p in dist.rglob("*") if p.is_file() and p.name != "manifest.json"]
    found = {p.relative_to(dist).as_posix(): sha256(p.read_bytes()) for p in paths}
    assert manifest["files"] == found


def test_shaders_are_byte_for_byte_those_of_the_repository(dist, manifest):
    shaders = ROOT / "shaders"
    expected = {
        path.relative_to(shaders).as_posix(): sha256(path.read_bytes())
        for path in shaders.rglob("*.wgsl")
    }
    with zipfile.ZipFile(wheel_of(dist)) as wheel:
        packed = {
            name.removeprefix("pyodide_app/shaders/"): sha256(wheel.read(name))
            for name in wheel.namelist()
            if name.endswith(".wgsl")
        }
    assert packed == expected
    assert manifest["shaders"] == expected


def test_wheel_is_compiled_and_without_the_native_device(dist):
    with zipfile.ZipFile(wheel_of(dist)) as wheel:
        names = wheel.namelist()
        record = wheel.read(next(n for n in names if n.endswith("/RECORD"))).decode()
    assert [name for name in names if name.endswith(".py") or "wgpu" in name] == []
    assert {row.rpartition(",sha256=")[0] or row[:-2] for row in record.split()} == set(
        names
    )


def test_lock_file_knows_the_wheels_that_are_there(dist):
    folder = dist / "vendor/pyodide"
    packages = json.loads((folder / "pyodide-lock.json").read_text())["packages"]
    assert list(packages) == ["jinja2", "markupsafe", "pyodide-app"]
    found = {path.name: sha256(path.read_bytes()) for path in folder.glob("*.whl")}
    assert {p["file_name"]: p["sha256"] for p in packages.values()} == found
    # The page names the driver alone, which brings no other with it.
    assert packages["pyodide-app"]["depends"] == []


def test_driver_boots_from_the_bundle_and_reads_its_shaders(dist):
    modules = [module_name(path) for path in DRIVER]
    modules = [module for module in modules if module not in HOSTS]
    command = [environment.node(), SCRIPT, dist, *modules]
    reply = subprocess.run(command, capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
    shaders = json.loads(reply.stdout)
    for path in (ROOT / "shaders").glob("*.wgsl"):
        assert shaders.pop(path.stem) == path.read_text(encoding="utf-8")
    assert not shaders


def test_bundling_again_does_nothing(dist):
    before = (dist / "manifest.json").stat().st_mtime_ns
    assert bundle.bundle() == dist
    assert (dist / "manifest.json").stat().st_mtime_ns == before
