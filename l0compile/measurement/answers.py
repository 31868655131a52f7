"""The other side of a JsonProcess: its answers on standard output, and nothing else there."""

import json
import os
from typing import Any, TextIO


def take_stdout() -> TextIO:
    """The real standard output; from here on, what libraries print goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def answer(answers: TextIO, message: dict[str, Any]) -> None:
    """Write one message."""
    print(json.dumps(message), file=answers, flush=True)
