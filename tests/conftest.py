"""Settings that all tests share."""

from __future__ import annotations

import hypothesis
import pytest

# The same examples on every run and machine; a software adapter may be slow at times.
hypothesis.settings.register_profile(
    "house", derandomize=True, deadline=None, print_blob=True
)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def no_pulled_models(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Keep what this machine has pulled from tests that are not about it."""
    if not request.node.get_closest_marker("real"):
        nowhere = tmp_path_factory.getbasetemp() / "nothing-is-pulled"
        monkeypatch.setenv("LAPIDARY_CACHE", str(nowhere))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person leave the tests with real models out, or run all of them."""
    parser.addoption("--no-real", action="store_true", help="run no real models")
    parser.addoption(
        "--real-long", action="store_true", help="run real models on long prompts, too"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of tests that need the files of real models."""
    config.addinivalue_line("markers", "real: runs a real model, fetched once")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the tests with real models out if asked to, and let pytest say so."""
    if not config.getoption("--no-real"):
        return
    left_out = [item for item in items if item.get_closest_marker("real")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
