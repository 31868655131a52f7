"""DeepSparse in a process of its own, with the JSON protocol of ``l0compile.measurement.worker``.

    PYTHON -I deepsparse_worker.py

``PYTHON`` is an interpreter with DeepSparse 1.8 (its licence allows evaluation only), which knows nothing of l0compile.
The workload is an ONNX file with an .npz file of inputs. ``harness/deepsparse.py`` starts this.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
from deepsparse import Engine


def main() -> None:
    """Serve one measurement; the caller records a crash as a failed one."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the engine prints to standard output
    request = json.loads(sys.stdin.readline())
    workload, protocol = request["workload"], request["protocol"]
    engine = Engine(model=workload["onnx_path"], batch_size=1, num_cores=protocol["threads"])
    with np.load(workload["inputs_path"], allow_pickle=False) as arrays:
        inputs = [np.ascontiguousarray(arrays[name]) for name in engine.input_names]

    def call() -> Any:
        return engine.run(inputs, val_inp=False)

    gc.disable()
    run_for(call, protocol["warmup_s"], 2)
    tell(answers, {"ready": True})
    for _ in sys.stdin:
        run_for(call, protocol["settle_s"], 1)
        tell(answers, {"block": run_for(call, protocol["block_s"], protocol["min_calls"])})


def run_for(call: Callable[[], Any], seconds: float, min_calls: int) -> list[float]:
    """Time the calls that fit in ``seconds``, in ms, with the loop of ``l0compile.measurement.local``."""
    clock = time.perf_counter_ns
    times: list[float] = []
    end = clock() + int(seconds * 1e9)
    stop = clock()
    while stop < end or len(times) < min_calls:
        start = clock()
        call()
        stop = clock()
        times.append((stop - start) * 1e-6)
    return times


def tell(answers: TextIO, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    print(json.dumps(message), file=answers, flush=True)


if __name__ == "__main__":
    main()
