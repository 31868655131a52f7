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
    assert isinstance(value, str) or callable(value)


@pytest.mark.parametrize("name", ["measure", "search"])
@pytest.mark.parametrize("first", ["", "import l0compile.{}", "from l0compile.{} import {}"])
def test_a_name_that_is_folder_and_function_is_both_in_any_order(name: str, first: str) -> None:
    code = f"import l0compile as l0; {first.format(name, name)}\nassert callable(l0.{name}) and l0.{name}.__path__\n"
    code += f"assert callable(l0.{name}.{name}), type(l0.{name}.{name})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_called_as_a_function_passes_its_arguments_on() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        l0.measure(nonsense=1)
    assert isinstance(l0.measure, ModuleType)


def test_folders_that_are_functions_tell_of_the_function() -> None:
    assert list(inspect.signature(l0.measure).parameters) == ["fn", "args", "protocol"]
    assert (l0.measure.__doc__ or "").startswith("Latency of ``fn(*args)``")
    assert (l0.search.__doc__ or "").startswith("Find the best model within a latency budget")
    assert "Two forms" in pydoc.render_doc(l0.search)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'compil'; it has .*compile, "):
        l0.compil  # noqa: B018
