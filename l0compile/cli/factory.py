"""The user's model, from the function that is named on the command line."""

from pathlib import Path
from typing import Any

from l0compile.errors import ConfigError
from l0compile.functions import call_function


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
    return _checked(call_function(name, "model"), name)


def is_artifact(name: str) -> bool:
    """Whether ``name`` means a saved model rather than a function: it is a path that exists, or holds no colon."""
    return Path(name).exists() or ":" not in name


def _checked(made: Any, name: str) -> tuple[Any, tuple[Any, ...]]:
    expected = f"model: {name}: expected (nn.Module, tuple of tensors)"
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ConfigError(f"{expected}, got {type(made).__name__}")
    model, args = made
    if not callable(getattr(model, "eval", None)) or not isinstance(args, tuple):
        raise ConfigError(f"{expected}, got ({type(model).__name__}, {type(args).__name__})")
    return model.eval(), args
