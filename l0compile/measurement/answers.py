"""The worker's side of a ``JsonProcess``: it answers on standard output, and prints nothing else there."""

import json
import os
from typing import Any, TextIO


def take_stdout() -> TextIO:
    """Return the real standard output, and send what libraries print to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def answer(answers: TextIO, message: dict[str, Any]) -> None:
    """Write one message as a line of JSON."""
    print(json.dumps(message), file=answers, flush=True)
