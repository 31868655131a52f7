"""Makes the tiny task of tests/studies importable, and what is written out beside these tests."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "studies")]

import tiny_task  # noqa: E402


@pytest.fixture
def task() -> tiny_task.TinyTask:
    return tiny_task.TinyTask(tiny_task.TinyOptions())
