"""Functions of the user, named ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` on a command line or in a search space."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from l0compile.errors import ConfigError


def call_function(name: str, what: str, /, **arguments: Any) -> Any:
    """Call the function ``name`` and return its result.

    A file is run like a script, so it can import modules in its own folder.

    Args:
        name: ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``.
        what: What the function should make; every error begins with it.
        arguments: Keyword arguments of the function.

    Raises:
        ConfigError: There is no such function, or it raises.
    """
    return call_found(find_function(name, what), name, what, **arguments)


def call_found(found: Callable[..., Any], name: str, what: str, /, **arguments: Any) -> Any:
    """Call the function ``found``, which the user calls ``name``, and return its result.

    Raises:
        ConfigError: The function raises.
    """
    try:
        return found(**arguments)
    except Exception as error:  # the user's code: anything can come out of it
        raise ConfigError(f"{what}: {name} raised {type(error).__name__}: {error}") from error


def find_function(name: str, what: str) -> Callable[..., Any]:
    """Find the function ``name``; a file is run anew.

    Raises:
        ConfigError: There is no such function, or its module cannot be loaded.
    """
    where, _, function = name.rpartition(":")
    module = _module(where, what)
    found: Callable[..., Any] | None = getattr(module, function, None)
    if not callable(found):
        names = ", ".join(
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        )
        raise ConfigError(f"{what}: {where} has no function {function!r}; it has: {names or 'none'}")
    return found


def _module(where: str, what: str) -> ModuleType:
    try:
        if where.endswith(".py"):
            return _file(Path(where))
        # As `python -m` does; the installed console script would otherwise not see the current folder.
        if "" not in sys.path:
            sys.path.insert(0, "")
        return importlib.import_module(where)
    except FileNotFoundError as error:
        raise ConfigError(f"{what}: {where}: {error.strerror}; expected a Python file") from error
    except Exception as error:  # running the user's module can raise anything
        raise ConfigError(f"{what}: {where} cannot be loaded: {type(error).__name__}: {error}") from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python source file")
    module = importlib.util.module_from_spec(spec)
    # torch.export and pickling by name look classes up through sys.modules.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
