"""The import rules: which module may know of which."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.house.tree import ROOT, Import, imports, module_name, python_files

DRIVER = python_files("pyodide_app")
ORACLE = python_files("oracle")

# The few modules that talk to a host; everything else runs anywhere.
HOSTS = {
    "pyodide_app.browser.worker": {"js"},
    "pyodide_app.browser.messages": {"js", "pyodide"},
    "pyodide_app.browser.sources": {"js", "pyodide"},
    "pyodide_app.browser.blobs": {"js", "pyodide"},
    "pyodide_app.browser.templates": {"pyodide", "pyodide_js"},
    "pyodide_app.browser.replies": set(),  # by way of messages
    # The worker registers its own GPU code as the module lapidary_gpu.
    "pyodide_app.gpu.webgpu_js": {"js", "pyodide", "lapidary_gpu"},
    "pyodide_app.gpu.wgpu_native": {"wgpu"},
    "pyodide_app.gpu.wgpu_adapter": {"wgpu"},
    "pyodide_app.gpu.wgpu_faults": {"wgpu"},
    # Imported when a template is met that nobody knows, and only then.
    "pyodide_app.text.chat.jinja_sandbox": {"jinja2"},
    "pyodide_app.text.chat.jinja_guard": {"jinja2"},
}

# The build tools that know of the driver: they read models' places as the driver does.
STORES = {"tools.model_store", "tools.real_models"}

# The one positive table: what each room of the driver may import, besides itself and
# the leaves: a room, or a module of one. What is not named here has no rule, and fails.
LEAVES = ("errors", "resources", "gguf.types")
EVERY_ROOM = (
    *("run", "load", "models", "ollama", "adapter", "text", "graph", "gpu", "gguf"),
)
MAY_IMPORT = {
    "errors": (),
    "resources": (),
    "gguf": (),
    "graph": (),
    "gpu": ("graph.plan", "graph.kernels", "gguf.sources"),
    "models": ("graph", "gguf"),
    "text": ("gguf",),
    "adapter": ("graph", "gpu.device", "gguf.sources"),
    "ollama": ("gguf", "text", "run.sampling"),
    "pulled": ("ollama",),  # names and options are written as Ollama's are
    # What a file advises of sampling is read as Ollama's own options are.
    "load": (
        "models",
        "adapter",
        "graph",
        "gpu.device",
        "gguf",
        "text",
        "ollama.options",
    ),
    "run": ("load", "models", "text", "graph", "gpu.device", "gguf"),
    # Only these choose a device.
    "cli": (*EVERY_ROOM, "pulled"),
    "browser": EVERY_ROOM,
    "__main__": ("cli", "adapter", "run", "pulled"),
    "__init__": (),
}

# The same for the page: what each of its rooms imports, besides itself, types and what
# is vendored. Both workers are told by messages alone.
PAGE_IMPORTS: dict[str, set[str]] = {
    "shared": set(),
    "engine": set(),
    "settings": {"shared"},
    "chat": {"shared"},
    "models": {"shared", "settings", "chat"},
    "downloads": {"shared", "models"},
}
PAGE_IMPORT = re.compile(r"^(?:import|\} from)\b.*?'\.\./(\w+)/", re.M)


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
    assert {entry.importer for entry in wrong} == STORES
    assert {entry.top for entry in wrong} == {"pyodide_app"}


def test_no_build_tool_loads_the_driver_until_it_is_needed():
    files = [ROOT / "build.py", *python_files("tools")]
    loads = [e for e in all_imports(files) if e.imported in STORES and e.on_load]
    assert not loads  # `check` must run also when the driver cannot be imported


def test_rooms_import_what_their_rule_allows():
    assert {room_of(module_name(path)) for path in DRIVER} == set(MAY_IMPORT)
    wrong = [
        f"{entry.importer} imports {entry.imported}"
        for entry in all_imports(DRIVER)
        if entry.top == "pyodide_app" and not is_allowed(entry)
    ]
    assert not wrong


def room_of(module: str) -> str:
    """Return the room that a module lies in; a module by itself is its own."""
    return module.split(".")[1] if "." in module else "__init__"


def is_allowed(entry: Import) -> bool:
    room = room_of(entry.importer)
    imported = entry.imported.removeprefix("pyodide_app").removeprefix(".")
    allowed = (room, *LEAVES, *MAY_IMPORT[room])
    return not imported or any(is_part(imported, part) for part in allowed)


def test_rooms_of_the_page_import_what_their_rule_says():
    found: dict[str, set[str]] = {}
    for path in (ROOT / "web").glob("*/*.js"):
        rooms = PAGE_IMPORT.findall(path.read_text(encoding="utf-8"))
        found.setdefault(path.parent.name, set()).update(rooms)
    assert {room: row - {"vendor"} for room, row in found.items()} == PAGE_IMPORTS


def test_leaves_import_nothing_of_the_project():
    leaves = {f"pyodide_app.{name}" for name in LEAVES}
    wrong = [
        entry
        for entry in all_imports(DRIVER)
        if entry.importer in leaves and entry.top == "pyodide_app"
    ]
    assert not wrong


def test_rules_allow_nothing_that_nobody_imports():
    found: dict[str, set[str]] = {}
    for entry in all_imports(DRIVER):
        room = room_of(entry.importer)
        found.setdefault(room, set()).add(entry.imported.removeprefix("pyodide_app."))
    idle = [
        f"{room}: {part}"
        for room, parts in MAY_IMPORT.items()
        for part in parts
        if not any(is_part(imported, part) for imported in found.get(room, ()))
    ]
    hosts = {(entry.importer, entry.top) for entry in all_imports(DRIVER)}
    idle += [
        f"{module}: {host}"
        for module, allowed in HOSTS.items()
        for host in allowed
        if (module, host) not in hosts
    ]
    assert not idle


def test_rules_name_modules_that_exist():
    modules = {module_name(path) for path in DRIVER}
    rules = {
        *LEAVES,
        *MAY_IMPORT,
        *(part for row in MAY_IMPORT.values() for part in row),
    }
    named = {*HOSTS, *(f"pyodide_app.{name}" for name in rules - {"__init__"})}
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
