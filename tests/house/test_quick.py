"""The choice of `build.py test --quick`: all that it names is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import build
from tests.house.tree import ROOT, functions
from tools.quick import QUICK, left_out

NAMED = [
    (folder, *name.partition("::")[::2]) for folder in QUICK for name in QUICK[folder]
]
KERNELS = sorted(ROOT.glob("pyodide_app/graph/kernels_*.py"))


def kernels(path: Path) -> set[str]:
    """Return the kernels that a module of them dispatches."""
    return functions(path) & {shader.stem for shader in ROOT.glob("shaders/*.wgsl")}


def test_every_folder_of_tests_is_chosen_from():
    assert [phase.name for phase in build.QUICK_TESTS] == [
        phase.name for phase in (*build.TESTS, build.BROWSERS)
    ]


@pytest.mark.parametrize(("folder", "file", "test"), NAMED)
def test_what_the_choice_names_is_there(folder, file, test):
    path = ROOT / "tests" / folder / file
    assert path.is_file()
    name = test.partition("[")[0]  # of its cases pytest refuses one that is not there
    assert not name or name in functions(path)


@pytest.mark.parametrize(
    "path", [path for path in KERNELS if kernels(path)], ids=lambda path: path.stem
)
def test_a_kernel_of_each_family_is_chosen(path):
    chosen = {file[len("test_") : -len(".py")] for _, file, _ in NAMED}
    assert kernels(path) & chosen


def test_what_is_left_out_is_said():
    n_files = len(list((ROOT / "tests/web").glob("test_*.py")))
    assert left_out("web").startswith(f"{n_files - 3} of {n_files} files of tests/web")
    assert "parts of test_end_to_end.py" in left_out("web")
