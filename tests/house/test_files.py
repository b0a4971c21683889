"""What lies in the repository: no machine's paths or hosts, and nothing big."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.house.tree import ROOT, tracked_files
from tools.environment import OLDEST_NODE, WEB, node

# Spelled so that these patterns do not find themselves.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:wor[k]|roo[t]|tm[p]|Use[r]s|hom[e])/\w|[A-Z]:\\\\?Use[r]s"
)
REGISTRY = re.compile(
    r"pyp[i]\.org|pythonhoste[d]|npmj[s]|registr[y]\.(?:npm|yarn)|debia[n]\.org"
    r"|jsdeliv[r]|unpk[g]|huggingfac[e]\.co"
)
# What people paste as an address, and what the page makes of it.
ABOUT_ADDRESSES = {"web/downloads/hosts.js", "tests/web/test_address.py"}
MEGABYTE = 1 << 20


def texts() -> list[tuple[str, str]]:
    """Return the name and content of every tracked text file."""
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            name = path.relative_to(ROOT).as_posix()
            found.append((name, content.decode("utf-8")))
    return found


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["paths", "hosts"])
def test_no_text_names_a_machine_or_a_registry(pattern):
    found = [
        f"{name}: {match[0]}"
        for name, text in texts()
        if (match := pattern.search(text))
        and not (pattern is REGISTRY and name in ABOUT_ADDRESSES)
    ]
    assert not found


def test_patterns_find_what_they_are_for():
    assert MACHINE_PATH.search("open('/ho" + "me/someone/file')")
    assert REGISTRY.search("https:/" + "/py" + "pi.org/simple")


def test_tree_is_small():
    assert sum(path.stat().st_size for path in tracked_files()) < 40 * MEGABYTE


def test_golden_data_is_small():
    golden = [path for path in tracked_files() if ROOT / "tests/golden" in path.parents]
    assert golden
    # A model of each family.
    assert sum(path.stat().st_size for path in golden) <= 22 * MEGABYTE


SCRIPTS = [
    p for p in tracked_files() if p.suffix in (".js", ".mjs") and WEB in p.parents
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_script_parses_and_says_what_it_is(path):
    assert path.read_text(encoding="utf-8").startswith(("/**", "//"))
    reply = subprocess.run([node(), "--check", path], capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr


def test_license_is_the_one_declared():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_npm_packages_are_pinned_exactly():
    package = json.loads((ROOT / "web/package.json").read_text())
    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert package["engines"]["node"] == f">={OLDEST_NODE}"


def test_ci_runs_the_command_of_the_readme():
    script = (ROOT / ".ci/run").read_text()
    assert "python3 build.py test" in script
    assert "python3 build.py test" in (ROOT / "README.md").read_text(encoding="utf-8")
    subprocess.run(["sh", "-n", ROOT / ".ci/run"], check=True)
