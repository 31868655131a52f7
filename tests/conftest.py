"""Shared by all tests: how properties are tried, golden files, imports from ``tests``, and no costs but those given."""

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

from l0compile.hardware.process import denormal_mode_restored

# A test makes some hundred thousand objects, and the collector would look through all of PyTorch's again and again: a
# twelfth of the time of all tests.
gc.set_threshold(50_000, 20, 100)

# However pytest was started, tests may import `tests.zoo` and the like.
sys.path.insert(0, str(Path(__file__).parents[1]))

# What was measured on this machine must not decide what a test sees.
os.environ["L0COMPILE_COSTS"] = "off"
# Code that tests generate is kept beside the user's own, for all workers and the next run.
os.environ.setdefault("L0COMPILE_CACHE", str(Path(tempfile.gettempdir()) / f"l0compile-tests-{os.getuid()}"))

# The first example of a property pays for imports and compilation, so a per-example deadline would fail at random; and
# a failure must be the same failure when the test is run again.
settings.register_profile("l0compile", deadline=None, derandomize=True)
settings.load_profile("l0compile")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files with what the code gives now"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """An engine that a test calls may flush denormals for good, and others would then fail, by their order."""
    with denormal_mode_restored():
        return (yield)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: compare ``text`` with ``golden/<name>`` beside the test file, or rewrite that file."""
    folder = Path(request.path).parent / "golden"

    def check(name: str, text: str) -> None:
        file = folder / name
        if request.config.getoption("--update-golden"):
            folder.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        if not file.exists():
            pytest.fail(f"{file} does not exist; run this test with --update-golden and read the result")
        assert text == file.read_text(encoding="utf-8")

    return check
