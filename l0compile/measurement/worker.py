"""``python -m l0compile.measurement.worker``: one engine in one process, driven by lines of JSON.

The first line is ``{"engine", "workload", "protocol"}``. The answer is ``{"ready": true}`` after the warm-up, or
``{"error": text}``, after which the process ends. A later line like the first announces the next measurement: the
worker loads its workload, unless it has it, and warms up. Any other line asks for one block, and is answered by
``{"block": [ms, ...]}``. The end of the input ends the process.
"""

import gc
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TextIO

from l0compile.errors import ConfigError
from l0compile.ir.codec import decode
from l0compile.measurement.answers import answer, take_stdout
from l0compile.measurement.device import RemoteModel
from l0compile.measurement.engines import EngineCall, describe_error, prepare
from l0compile.measurement.local import quiet, run_block, run_for
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.workload import Workload


def main() -> int:
    """Serve measurements on standard input and output; return 0, or 1 after an error was answered."""
    answers = take_stdout()
    try:
        _serve(answers)
    except Exception as error:  # the parent records whatever an engine raises as a failed measurement
        answer(answers, {"error": describe_error(error)})
        return 1
    return 0


def _serve(answers: TextIO) -> None:
    request = json.loads(sys.stdin.readline())
    # Entered before the engine exists: its threads inherit the floating-point mode of this one.
    with quiet(Protocol.from_dict(request["protocol"])):
        engine = _LoadedEngine(request)
        answer(answers, {"ready": True})
        for line in sys.stdin:
            if line.startswith("{"):
                engine.take(json.loads(line))
                answer(answers, {"ready": True})
            else:
                answer(answers, {"block": engine.block()})


class _LoadedEngine:
    """What is being timed."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._workload: Workload | None = None
        self._call: EngineCall | None = None
        self.take(request)

    def take(self, request: Mapping[str, Any]) -> None:
        """Load the workload of a request, unless it is loaded, and warm up."""
        workload = decode(request["workload"], Workload, "workload", ConfigError)
        protocol = Protocol.from_dict(request["protocol"])
        if workload.device is not None:
            workload.check(request["engine"])
            self.block: Callable[[], list[float]] = partial(RemoteModel(workload).block, protocol)
            return
        if self._call is None or workload != self._workload:
            self._call = None  # before the next one is there: models are large
            gc.collect()
            self._call = prepare(request["engine"], workload, protocol.threads or 1)
            self._workload = workload
            gc.collect()
        run_for(self._call, (), protocol.warmup_s, 2)
        self.block = partial(run_block, self._call, (), protocol)


if __name__ == "__main__":
    sys.exit(main())
