"""The bundle's lock file, beside the one that pyodide-build writes."""

from __future__ import annotations

import json
import shutil
import subprocess

from tools import bundle, pyodide_build


def test_lock_file_is_byte_for_byte_what_pyodide_build_writes(
    tmp_path, capsys, monkeypatch
):
    folder = bundle.bundle() / bundle.PYODIDE
    ours = folder / "pyodide-lock.json"
    pyodide = pyodide_build.ensure_pyodide_build()
    if pyodide is None:  # then a person is told, and nothing passes for compared
        assert pyodide_build.MISSING in capsys.readouterr().out
        return
    wheels = [shutil.copy(wheel, tmp_path) for wheel in folder.glob("*.whl")]
    empty = tmp_path / "empty.json"
    # The lock file of this Pyodide, without the packages that lie elsewhere.
    info = json.loads(bundle.LOCK.read_text())["info"]
    empty.write_text(json.dumps({"info": info, "packages": {}}))
    command = [pyodide, "lockfile", "add-wheels", "--input", empty]
    command += ["--output", "theirs.json", "--base-path", tmp_path]
    monkeypatch.chdir(tmp_path)
    # Our build.py would pass for a package that pyodide-build imports.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    subprocess.run([*command, *wheels], check=True, capture_output=True)
    assert (tmp_path / "theirs.json").read_bytes() == ours.read_bytes()


def test_no_python_that_is_too_old_is_taken(monkeypatch, tmp_path, capsys):
    def old(*_: object) -> bool:
        return False

    monkeypatch.setattr(pyodide_build, "_is_new_enough", old)
    assert pyodide_build.ensure_pyodide_build() is None
    assert capsys.readouterr().out == f"{pyodide_build.MISSING}\n"


def test_a_python_is_asked_for_its_version(tmp_path):
    for reply, taken in {"3 11": False, "3 12": True, "4 0": True}.items():
        python = tmp_path / reply
        python.write_text(f"#!/bin/sh\necho {reply}\n")
        python.chmod(0o755)
        assert pyodide_build._is_new_enough(python) is taken
    # As pyenv puts on the path for a version that is there and not chosen.
    python.write_text("#!/bin/sh\necho 3 13\nexit 127\n")
    assert not pyodide_build._is_new_enough(python)
