"""``python -m l0compile.measure.worker``: one engine in one process, driven by lines of JSON.

First line in: ``{"engine", "workload", "protocol"}``. Answer: ``{"ready": true}`` after the warm-up, or
``{"error": text}``. Every further line in asks for one block, answered by ``{"block": [ms, ...]}``. End of
input ends the process.
"""

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TextIO

from l0compile.measure.answers import answer, take_stdout
from l0compile.measure.device import RemoteModel
from l0compile.measure.engines import describe_error, prepare
from l0compile.measure.local import quiet, run_block, run_for
from l0compile.measure.protocol import Protocol
from l0compile.measure.workload import Workload


def main() -> int:
    """Serve one measurement on standard input and output; 0 if it went well, 1 if an error was answered."""
    answers = take_stdout()
    try:
        _serve(answers)
    except Exception as error:  # the parent records whatever an engine raises as a failed measurement
        answer(answers, {"error": describe_error(error)})
        return 1
    return 0


def _serve(answers: TextIO) -> None:
    request = json.loads(sys.stdin.readline())
    protocol = Protocol.from_dict(request["protocol"])
    # Entered before the engine exists: its threads inherit the floating-point mode of this one.
    with quiet(protocol):
        block = _blocks(request["engine"], Workload(**request["workload"]), protocol)
        answer(answers, {"ready": True})
        for _ in sys.stdin:
            answer(answers, {"block": block()})


def _blocks(engine: str, workload: Workload, protocol: Protocol) -> Callable[[], list[float]]:
    """What times one block; warmed up."""
    if workload.device is not None:
        workload.check(engine)
        return partial(RemoteModel(workload).block, protocol)
    call = prepare(engine, workload, protocol.threads or 1)
    gc.collect()
    run_for(call, (), protocol.warmup_s, 2)
    return partial(run_block, call, (), protocol)


if __name__ == "__main__":
    sys.exit(main())
