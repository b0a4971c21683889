"""The import rules: which module may know of which."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.tree import ROOT, Import, imports, module_name, python_files

DRIVER = python_files("pyodide_app")
ORACLE = python_files("oracle")

# The few modules that talk to a host; everything else runs anywhere.
HOSTS = {
    "pyodide_app.browser": {"js", "pyodide"},
    "pyodide_app.browser_messages": {"js", "pyodide"},
    "pyodide_app.browser_sources": {"js", "pyodide"},
    "pyodide_app.gguf.sources_js": {"js", "pyodide"},
    # The worker registers its own GPU code as the module lapidary_gpu.
    "pyodide_app.gpu.webgpu_js": {"js", "pyodide", "lapidary_gpu"},
    "pyodide_app.gpu.wgpu_native": {"wgpu"},
}

# The one build tool that knows of the driver: it reads the store as the driver does.
STORE = "tools.model_store"

LEAVES = ("pyodide_app.errors", "pyodide_app.gguf.types")
ENTRY_POINTS = ("pyodide_app.__main__", "pyodide_app.cli", "pyodide_app.browser")
ENGINE = ("pyodide_app.engine", "pyodide_app.runner")
ABOVE_MODELS = (*ENTRY_POINTS, *ENGINE, "pyodide_app.gpu")
# A part of the driver, and what it must not know of. The engine is given its device.
FORBIDDEN = {
    "pyodide_app.models": ABOVE_MODELS,
    "pyodide_app.graph": (*ABOVE_MODELS, "pyodide_app.models"),
    "pyodide_app.gguf": (*ABOVE_MODELS, "pyodide_app.models", "pyodide_app.graph"),
    "pyodide_app.chat": (*ABOVE_MODELS, "pyodide_app.models", "pyodide_app.graph"),
    "pyodide_app.tokenizer": (*ABOVE_MODELS, "pyodide_app.graph"),
    "pyodide_app.sampling": (*ABOVE_MODELS, "pyodide_app.models", "pyodide_app.graph"),
    "pyodide_app.kv_cache": (*ABOVE_MODELS, "pyodide_app.models"),
    "pyodide_app.ollama": (*ABOVE_MODELS, "pyodide_app.models", "pyodide_app.graph"),
    "pyodide_app.weights": (*ENTRY_POINTS, *ENGINE),
    "pyodide_app.gpu": (*ENTRY_POINTS, *ENGINE, "pyodide_app.models"),
    "pyodide_app.engine": ENTRY_POINTS,
    "pyodide_app.runner": (*ENTRY_POINTS, "pyodide_app.engine", "pyodide_app.chat"),
}
DEVICES = ("pyodide_app.gpu.webgpu_js", "pyodide_app.gpu.wgpu_native")


def is_part(module: str, whole: str) -> bool:
    """Tell whether a module is `whole` or lies below it."""
    return module == whole or module.startswith(f"{whole}.")


def all_imports(files: list) -> list[Import]:
    return [entry for path in files for entry in imports(path)]


def test_driver_imports_the_standard_library_and_its_host_only():
    wrong = [
        entry
        for entry in all_imports(DRIVER)
        if entry.top not in sys.stdlib_module_names | {"pyodide_app"}
        and entry.top not in HOSTS.get(entry.importer, set())
    ]
    assert not wrong


def test_oracle_imports_numpy_and_the_standard_library_only():
    allowed = sys.stdlib_module_names | {"numpy", "oracle"}
    assert not [entry for entry in all_imports(ORACLE) if entry.top not in allowed]


def test_build_tools_import_the_standard_library_only():
    files = [ROOT / "build.py", *python_files("tools")]
    allowed = sys.stdlib_module_names | {"tools"}
    wrong = [entry for entry in all_imports(files) if entry.top not in allowed]
    assert {entry.importer for entry in wrong} == {STORE}
    assert {entry.top for entry in wrong} == {"pyodide_app"}


def test_no_build_tool_loads_the_driver_until_it_is_needed():
    files = [ROOT / "build.py", *python_files("tools")]
    loads = [e for e in all_imports(files) if e.imported == STORE and e.on_load]
    assert not loads  # `check` must run also when the driver cannot be imported


def test_driver_respects_the_import_direction():
    wrong = [
        entry
        for entry in all_imports(DRIVER)
        for part, forbidden in FORBIDDEN.items()
        if is_part(entry.importer, part)
        and any(is_part(entry.imported, other) for other in forbidden)
    ]
    assert not wrong


def test_leaves_import_nothing_of_the_project():
    wrong = [
        entry
        for entry in all_imports(DRIVER)
        if entry.importer in LEAVES and entry.top == "pyodide_app"
    ]
    assert not wrong


def test_only_entry_points_choose_a_device():
    wrong = [
        entry
        for entry in all_imports(DRIVER)
        if entry.imported in DEVICES
        and not any(is_part(entry.importer, point) for point in ENTRY_POINTS)
    ]
    assert not wrong


def test_rules_name_modules_that_exist():
    modules = {module_name(path) for path in DRIVER}
    named = {*HOSTS, *LEAVES, *ENTRY_POINTS, *ENGINE, *FORBIDDEN, *DEVICES}
    assert sorted(named - modules) == []


@pytest.mark.parametrize("files", [DRIVER, ORACLE], ids=["pyodide_app", "oracle"])
def test_modules_form_no_cycle(files):
    known = {module_name(path) for path in files}
    needs = {
        module_name(path): {
            entry.imported
            for entry in imports(path)
            if entry.on_load and entry.imported in known
        }
        for path in files
    }
    while free := [name for name, needed in needs.items() if not needed]:
        for name in free:
            del needs[name]
        for needed in needs.values():
            needed.difference_update(free)
    assert not needs


IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def test_driver_loads_without_any_package():
    names = [module_name(path) for path in DRIVER]
    names = [name for name in names if name not in HOSTS]
    # -S leaves out site-packages, so that numpy and wgpu cannot be found.
    command = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(ROOT), *names]
    reply = subprocess.run(command, capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
