"""Print what a command found: as one JSON object, or as text for people."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from l0compile.runtime.account.text import TextLine


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


def print_lines(title: str, lines: Callable[[int], Iterable[TextLine]] | None = None) -> None:
    """Print a title and lines.

    Args:
        title: Is never folded.
        lines: Makes the lines for a width in columns: that of the terminal, or 100 in a pipe.
    """
    from rich.console import Console
    from rich.text import Text

    width = Console().width if sys.stdout.isatty() else 100
    console = Console(highlight=False, width=width)
    styles = {"plain": "", "title": "bold", "faint": "dim"}
    console.print(Text(title), soft_wrap=True)
    for line in lines(width) if lines else ():
        console.print(Text(line.text, styles[line.style]), soft_wrap=True)
