"""The benchmarks' arithmetic and arguments; nothing here is timed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import pytest

from bench import (
    decode,
    kernels,
    peers,
    players,
    points,
    prefill,
    profile,
    prompts,
    record,
    speed,
    sweep,
)
from bench.generated import GeneratedSource
from bench.gpu import carried
from bench.players import BROWSER, OURS, Child, PlayerError, Run
from bench.points import Point
from bench.prompts import Model, Prompt
from pyodide_app.errors import RequestError, SourceError
from pyodide_app.graph import tuning
from tests.house.tree import ROOT
from tests.samples import realshape

RESULTS = ROOT / "bench" / "results"
DEMO = ROOT / "demo" / "lapidary-demo.gguf"


class Fake:
    """A player whose runs are given."""

    about: dict[str, str] = {"ran_on": "nothing"}  # noqa: RUF012
    copy_bytes_per_second = 1e9

    def __init__(self, name: str, host: str, *runs: Run | None) -> None:
        self.name, self.host, self._runs = name, host, list(runs)
        self.heard: list[tuple[Prompt, int]] = []

    def play(self, prompt: Prompt, n: int) -> Run:
        self.heard.append((prompt, n))
        run = self._runs.pop(0)
        if run is None:
            raise PlayerError("it has ended")
        return run

    def close(self) -> None:
        """Have nothing to close."""


def run(seconds: float, ids: tuple[int, ...] = (7, 8, 9), **more: int) -> Run:
    return Run(ids, 4, len(ids), 2 * seconds, seconds, **more)


def point(**runs: list[Run]) -> Point:
    names = {name: OURS for name in runs}
    return Point(4, runs, names, dict.fromkeys(runs, 1000.0))


def test_speeds_leave_the_first_token_to_the_prefill():
    found = run(0.5)
    assert found.decode_speed == 4.0  # two steps
    assert found.prefill_speed == 4.0  # four tokens in a second
    assert run(0.5, ids=(7,)).decode_speed == 0.0
    assert run(0.0).decode_speed == run(0.0).prefill_speed == 0.0


def test_the_best_of_all_runs_counts_for_each():
    found = point(native=[run(1.0), run(0.5)], other=[run(2.0), run(4.0)])
    assert found.best("native", "decode") == 4.0
    assert found.ratio("other", "decode") == 4.0
    assert found.ratio("native", "prefill") == 1.0
    alone = Point(4, {"wllama": [run(1.0)]}, {"wllama": BROWSER}, {"wllama": 0.0})
    assert alone.ratio("wllama", "decode") == 0.0


def test_the_floor_is_bytes_by_the_bandwidth_of_a_copy():
    ours = run(0.5, weight_bytes=400, kv_bytes=100)
    found = point(native=[ours], other=[run(1.0)])
    assert found.floor("native", "decode") == 1000 / 500
    assert found.floor("other", "decode") == 1000 / 500  # the same step
    assert found.floor("native", "prefill") == 4 * 1000 / 400
    assert point(native=[run(1.0)]).floor("native", "decode") == 0.0


def test_wrong_tokens_show():
    ours, theirs = run(1.0), run(1.0, ids=(7, 5, 9))
    found = point(native=[ours], same=[ours], other=[theirs], silent=[run(1.0, ids=())])
    agreements = [found.agreement(name) for name in found.runs]
    assert agreements == ["", "3/3", "1/3", ""]
    rows = {
        line.split()[0]: line for line in points.table(found, "decode").splitlines()
    }
    assert rows["other"].endswith("× 1.00        1/3")


def test_players_take_turns_and_the_first_round_does_not_count():
    slow, fast = run(9.0), run(1.0)
    ours = Fake(OURS, OURS, slow, fast, fast)
    peer = Fake("peer", OURS, slow, fast, None)
    prompt = Prompt("Hello", "Hello", (1, 2))
    found, failed = points.alternate([ours, peer], prompt, 3, repeats=2)
    assert ours.heard == [(prompt, 3)] * 3
    assert found.runs == {OURS: [fast, fast]}  # none of an engine that has ended
    assert failed == {"peer": "it has ended"}


SCRIPT = """
import json, sys
where = json.loads(sys.argv[1])["where"]
print(f"llama: using device {where}", file=sys.stderr, flush=True)
print("a line of a library's own")
print(json.dumps({"ran_on": "a GPU"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if not request["ids"]:
        sys.exit("nothing to read")
    ids = request["ids"] * request["n"]
    print(json.dumps({"ids": ids, "n_prompt": 1, "prefill_seconds": 1,
                      "decode_seconds": 2}), flush=True)
"""


def test_a_child_answers_line_by_line_and_its_last_words_are_kept():
    child = Child("peer", [sys.executable, "-c", SCRIPT], {"where": "Vulkan0"}, {})
    assert child.about["ran_on"] == "llama: using device Vulkan0"
    assert child.play(Prompt("", "", (5,)), 3) == Run((5, 5, 5), 1, 3, 1, 2)
    with pytest.raises(PlayerError, match=r"peer has ended: .*nothing to read"):
        child.play(Prompt("", "", ()), 3)


def test_a_child_finds_packages_by_the_path_that_we_were_given(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "only_there.py").write_text("")
    (tmp_path / "pyodide_app.py").write_text("")
    script = tmp_path / "play.py"
    script.write_text(
        "import json, only_there, pyodide_app\n"
        "print(json.dumps({'ran_on': 'x', 'package': pyodide_app.__file__}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(players, "SCRIPTS", tmp_path)
    child = players.lapidary("ours", tmp_path, {}, 0.0)
    child.close()
    assert child.about == {"ran_on": "x"}


@pytest.mark.parametrize("lacking", ["program", "repository"])
def test_a_record_needs_no_git(lacking, tmp_path, monkeypatch):
    out = tmp_path / "found.json"
    if lacking == "program":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(carried, "COMMIT", tmp_path / "commit")
    record.save(out, benchmark="any")
    assert json.loads(out.read_text())["environment"]["commit"] == "unknown"
    carried.COMMIT.write_text("0123456789ab+\n")
    record.save(out, benchmark="any")
    assert json.loads(out.read_text())["environment"]["commit"] == "0123456789ab+"
    assert [path.name for path in tmp_path.glob("found*")] == ["found.json"]


def test_a_kernel_is_replayed_on_more_than_a_cache_holds():
    largest_cache, experts = 96 << 20, 285 << 20
    for n_read, n_held in ((220_000,) * 2, (1_769_472,) * 2, (experts // 16, experts)):
        copies = kernels.copies_of(n_read, n_held, is_software=False)
        assert copies * n_read > largest_cache
        assert copies * n_held <= 2 << 30
    assert kernels.copies_of(4 << 30, 4 << 30, is_software=False) == 1
    assert kernels.copies_of(0, 0, is_software=False) == kernels.FEW_COPIES
    assert kernels.copies_of(64, 64, is_software=True) == kernels.FEW_COPIES


def test_a_source_makes_what_a_file_holds(tmp_path):
    path = tmp_path / "written.gguf"
    cut = {"layers": 1, "n_vocab": 64}
    layout = realshape.write(path, "e2b", "Q4_K_M", fill=lambda name: True, **cut)
    data, source = path.read_bytes(), GeneratedSource(layout)
    assert source.size == len(data)
    ends = [entry.offset + entry.size for entry in layout.entries]
    begins = [entry.offset for entry in layout.entries]
    around = [(max(0, at - 7), min(at + 1000, len(data))) for at in (*begins, *ends)]
    # Across tensors whole, from the header on, nothing, and to the very end.
    spans = [(0, begins[3] + 5), (begins[4] + 1, ends[6] + 40), (9, 9)]
    for begin, end in (*around, *spans, (len(data) - 3, len(data))):
        assert asyncio.run(source.read(begin, end)) == data[begin:end], (begin, end)
    with pytest.raises(SourceError):
        asyncio.run(source.read(0, len(data) + 1))


def test_every_change_of_the_sweep_is_one_that_there_is():
    base = tuning.choose(False)
    for change in sweep.CHANGES:
        made = sweep.tuned(base, change)
        assert (made == base) == (set(change) <= {sweep.CHECKS}), change
    assert len({str(change) for change in sweep.CHANGES}) == len(sweep.CHANGES)


def test_prompts_have_the_wanted_length():
    model = Model("demo", (DEMO,))
    short, long = prompts.make(model, [24, 100])
    assert len(short.ids) <= 24 < len(short.ids) + 4
    assert len(long.ids) <= 100 < len(long.ids) + 4
    assert short.text in short.rendered
    (least,) = prompts.make(model, [1])
    assert least.text == prompts.WORDS[0]


def test_a_file_without_words_gets_ids():
    assert list(prompts.plain_ids(3, 11)) == [1, 10, 9]
    assert all(0 < i < 11 for i in prompts.plain_ids(100, 11))


def test_a_size_that_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch):
    usage = argparse.Namespace(free=1000)
    monkeypatch.setattr(prompts.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RequestError, match="no room on the disk for 31b"):
        prompts.write(tmp_path, "31b", "Q4_K_M", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("benchmark", [decode, prefill])
def test_arguments_of_the_speed_benchmarks(benchmark, monkeypatch):
    seen = []
    monkeypatch.setattr(speed, "run", lambda options, phase: seen.append(options) or 0)
    option = "--contexts" if benchmark is decode else "--prompts"
    peers_of = ["--vs", "llama.cpp", "wllama"]
    assert benchmark.main(["e2b", option, "16,32", *peers_of, "-n", "8"]) == 0
    assert benchmark.main(["e2b", "--vs-commit", "abc", "--layers", "2"]) == 0
    first, second = seen
    assert (first.lengths, first.n, first.vs) == ([16, 32], 8, ["llama.cpp", "wllama"])
    assert (second.vs_commit, second.layers, second.browser) == (["abc"], 2, False)
    for wrong in (["e2b", option, "0"], ["e2b", "--vs", "nobody"], []):
        with pytest.raises(SystemExit):
            benchmark.main(wrong)


def test_decoding_one_token_is_refused(capsys):
    with pytest.raises(SystemExit):
        decode.main(["e2b", "-n", "1"])
    assert "decoding begins with the second token" in capsys.readouterr().err


def test_profiles_add_up_by_kernel():
    rows = profile.group(["a", "b", "a"], [1.0, 5.0, 2.0])
    assert [(r.kernel, r.n, r.seconds) for r in rows] == [("b", 1, 5.0), ("a", 2, 3.0)]
    found = profile.Profile("e2b", 16, rows, 9.0)
    assert found.seconds == 8.0
    assert "62.5 %" in profile.table(found).splitlines()[1]


def test_bandwidth_of_a_kernel():
    timing = kernels.Timing("e2b", "Q4_K_M", "matvec:q4_k", "w", 2, 0.5, 10**9, 0.25)
    assert timing.gb_per_second == 2.0


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_recorded_results_say_where_they_are_from(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {"date", "commit", "load", "wgpu", "python"} <= set(found["environment"])
    assert {"device", "driver", "is_software"} <= set(found["device"])
    assert path.name.startswith("software-") == found["device"]["is_software"]


def test_peers_are_pinned_and_lie_apart():
    assert peers.PACKAGE.count("==") == 1
    assert peers.NPM_PACKAGE.rpartition("@")[2][0].isdigit()
    assert peers.FOLDER.is_relative_to(ROOT / ".cache")


def test_the_files_of_a_commit_can_be_had():
    with peers.checkout(record.commit().rstrip("+")) as tree:
        assert (tree / "pyodide_app" / "errors.py").is_file()
    assert not tree.exists()
