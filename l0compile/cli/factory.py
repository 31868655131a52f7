"""Find the user's model: a function named on the command line, in a module or in a file."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from l0compile.errors import ConfigError


def make(name: str) -> tuple[Any, tuple[Any, ...]]:
    """(model in eval mode, example inputs) from the function ``name``, ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``.

    A file is run as a script of yours would be: it can import what lies beside it. Raises ``ConfigError`` when there is
    no such function, when it raises, or when it returns something else.
    """
    where, colon, function = name.rpartition(":")
    if not (where and colon and function):
        raise ConfigError(
            f"model: expected MODULE:FUNCTION, FILE.py:FUNCTION or a saved model's folder, got {name!r}"
        )
    module = _module(where)
    factory = getattr(module, function, None)
    if not callable(factory):
        names = ", ".join(
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        )
        raise ConfigError(f"model: {where} has no function {function!r}; it has: {names or 'none'}")
    try:
        made = factory()
    except Exception as error:  # the user's code: anything can come out of it
        raise ConfigError(f"model: {name} raised {type(error).__name__}: {error}") from error
    return _checked(made, name)


def is_artifact(name: str) -> bool:
    """Whether ``name`` means a saved model rather than a function: it is a path that exists, or holds no colon."""
    return Path(name).exists() or ":" not in name


def _module(where: str) -> ModuleType:
    try:
        if where.endswith(".py"):
            return _file(Path(where))
        # As `python -m` does; the installed console script would otherwise not see the current folder.
        if "" not in sys.path:
            sys.path.insert(0, "")
        return importlib.import_module(where)
    except FileNotFoundError as error:
        raise ConfigError(f"model: {where}: {error.strerror}; expected a Python file") from error
    except Exception as error:  # running the user's module can raise anything
        raise ConfigError(f"model: {where} cannot be loaded: {type(error).__name__}: {error}") from error


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


def _checked(made: Any, name: str) -> tuple[Any, tuple[Any, ...]]:
    expected = f"model: {name}: expected (nn.Module, tuple of tensors)"
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ConfigError(f"{expected}, got {type(made).__name__}")
    model, args = made
    if not callable(getattr(model, "eval", None)) or not isinstance(args, tuple):
        raise ConfigError(f"{expected}, got ({type(model).__name__}, {type(args).__name__})")
    return model.eval(), args
