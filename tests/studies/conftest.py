"""Makes the tiny task importable, here and in the processes that a search starts, and lends its space."""

import dataclasses
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import tiny_task  # noqa: E402

from l0compile.studies.space.read import read_space  # noqa: E402
from l0compile.studies.space.space import Space  # noqa: E402


@pytest.fixture(scope="session")
def space() -> Space:
    return read_space(HERE / "tiny.toml")


@pytest.fixture(scope="session")
def narrow_space(space: Space) -> Space:
    """The blocks of the tiny space, in every precision."""
    precision = ("float32", "bfloat16", "int8")
    return dataclasses.replace(space, gates=space.gates[-1:], feeds={}, precision=precision)


@pytest.fixture
def task() -> tiny_task.TinyTask:
    return tiny_task.TinyTask(tiny_task.TinyOptions())
