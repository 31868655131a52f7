"""Every public name can be had, and is the thing meant, whatever was imported before."""

import inspect
import pydoc
import subprocess
import sys
from types import ModuleType

import pytest

import l0compile as l0


@pytest.mark.parametrize("name", l0.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(l0, name)
    assert isinstance(value, str | ModuleType) or callable(value)


@pytest.mark.parametrize("name", ["measure", "search"])
def test_functions_stay_functions_whatever_is_loaded(name: str) -> None:
    for first in ("", "import l0compile.measurement, l0compile.studies.run"):
        code = f"{first}\nimport inspect, l0compile as l0\nassert inspect.isfunction(l0.{name})"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_tell_of_themselves() -> None:
    assert list(inspect.signature(l0.measure).parameters) == ["fn", "args", "protocol"]
    assert (l0.measure.__doc__ or "").startswith("Measure the latency of ``fn(*args)``")
    assert (l0.search.__doc__ or "").startswith("Find the best model within a latency budget")
    assert "two forms" in pydoc.render_doc(l0.search)


@pytest.mark.parametrize("name", ["attention", "calibration", "tasks", "trainers"])
def test_public_modules_are_there_without_an_import_of_their_own(name: str) -> None:
    code = f"import l0compile as l0; assert l0.{name}.__name__ == 'l0compile.{name}'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'compil'; it has .*compile, "):
        l0.compil  # noqa: B018
