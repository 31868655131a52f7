"""Refuse JSON that is nested deeper than the code that walks it can go."""

import json
from typing import Any

DEEPEST = 200
"""Levels of lists and objects. A structure of arguments takes two a level; Python stops at about a thousand calls."""


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON, or nested deeper than ``DEEPEST``.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Check lists and dicts within one another.

    Raises:
        ValueError: they are nested deeper than ``DEEPEST``.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for item in level for part in _parts(item)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _parts(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    return list(item) if isinstance(item, list | tuple) else []
