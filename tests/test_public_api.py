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


@pytest.mark.parametrize("first", ["", "import l0compile.measurement, l0compile.studies.run"])
def test_functions_stay_functions_whatever_is_loaded(first: str) -> None:
    functions = "inspect.isfunction(l0.measure) and inspect.isfunction(l0.search)"
    code = f"{first}\nimport inspect, l0compile as l0\nassert {functions}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_tell_of_themselves() -> None:
    assert list(inspect.signature(l0.measure).parameters) == ["fn", "args", "protocol"]
    assert (l0.measure.__doc__ or "").startswith("Measure the latency of ``fn(*args)``")
    assert (l0.search.__doc__ or "").startswith("Find the best model within a latency budget")
    assert "two forms" in pydoc.render_doc(l0.search)


def test_public_modules_are_there_without_an_import_of_their_own() -> None:
    code = """
import os, torch, l0compile as l0
for name in ("attention", "calibration", "tasks", "trainers"):
    child = os.fork()  # a process of its own for each: one module may import another
    if not child:
        os._exit(getattr(l0, name).__name__ != f"l0compile.{name}")
    assert os.waitpid(child, 0)[1] == 0, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'compil'; it has .*compile, "):
        l0.compil  # noqa: B018
