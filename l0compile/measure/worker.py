"""``python -m l0compile.measure.worker``: one engine in one process, driven by lines of JSON.

First line in: ``{"engine", "workload", "protocol"}``. Answer: ``{"ready": true}`` after the warm-up, or
``{"error": text}``. Every further line in asks for one block, answered by ``{"block": [ms, ...]}``. End of
input ends the process.
"""

import gc
import json
import os
import sys
from typing import Any, TextIO

from l0compile.measure.engines import describe_error, prepare
from l0compile.measure.local import quiet, run_block, run_for
from l0compile.measure.protocol import Protocol
from l0compile.measure.workload import Workload


def main() -> int:
    """Serve one measurement on standard input and output; 0 if it went well, 1 if an error was answered."""
    answers = _take_stdout()
    try:
        _serve(answers)
    except Exception as error:  # the parent records whatever an engine raises as a failed measurement
        _answer(answers, {"error": describe_error(error)})
        return 1
    return 0


def _serve(answers: TextIO) -> None:
    request = json.loads(sys.stdin.readline())
    protocol = Protocol.from_dict(request["protocol"])
    # Entered before the engine exists: its threads inherit the floating-point mode of this one.
    with quiet(protocol):
        call = prepare(request["engine"], Workload(**request["workload"]), protocol.threads or 1)
        gc.collect()
        run_for(call, (), protocol.warmup_s, 2)
        _answer(answers, {"ready": True})
        for _ in sys.stdin:
            _answer(answers, {"block": run_block(call, (), protocol)})


def _take_stdout() -> TextIO:
    """The real standard output; from here on, what libraries print goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
