"""Make the user's model by the function that the command line names."""

import inspect
from collections.abc import Mapping
from typing import Any

from l0compile.errors import ConfigError
from l0compile.frontend.user_functions import call_found, find_function

_EXPECTED = "(nn.Module, tuple of tensors), or (nn.Module, tuple, dict) with inputs by name"


def make(
    name: str, sizes: Mapping[str, int] | None = None
) -> tuple[tuple[Any, tuple[Any, ...], dict[str, Any]], dict[str, int]]:
    """Return ((model in eval mode, inputs by position, inputs by name), sizes left).

    A file is run like a script: it can import what lies beside it.

    Args:
        name: ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``.
        sizes: Number by name; the function gets those that it has arguments for.

    Raises:
        ConfigError: There is no such function, it raises, or it returns something else.
    """
    found, left = find_function(name, "model"), dict(sizes or {})
    taken = {key: left.pop(key) for key in inspect.signature(found).parameters if key in left}
    made = call_found(found, name, "model", **taken)
    expected = f"model: {name}: expected {_EXPECTED}"
    if not (isinstance(made, tuple) and len(made) in (2, 3)):
        raise ConfigError(f"{expected}, got {type(made).__name__}")
    model, args, kwargs = made if len(made) == 3 else (*made, {})
    if not (callable(getattr(model, "eval", None)) and isinstance(args, tuple) and isinstance(kwargs, dict)):
        raise ConfigError(f"{expected}, got ({', '.join(type(part).__name__ for part in made)})")
    return (model.eval(), args, kwargs), left
