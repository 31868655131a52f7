"""What a command prints: one JSON object, or something to read."""

import json
import sys
from collections.abc import Mapping
from typing import Any


def print_json(data: Mapping[str, Any]) -> None:
    """Print ``data`` as one JSON object on standard output."""
    print(json.dumps(data, indent=1, allow_nan=False, default=str))


def print_rich(*items: Any) -> None:
    """Print ``rich`` tables or text on standard output."""
    from rich.console import Console

    # In a pipe there is no width to fit, and a table folded to 80 columns is hard to search.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for item in items:
        console.print(item)
