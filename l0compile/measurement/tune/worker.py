"""``python -m l0compile.measurement.tune.worker``: builds and times kernels, driven by lines of JSON.

First line in: ``{"target", "device"}``, answered by ``{"ready": true}`` when the device, if any, is there. Then
``{"do": "build", "work", "schedule", "library"}``, answered by ``{"spills": n}``, for a
GPU with more facts; or ``{"do": "time", "work",
"library", "seconds"}``, answered by the fields of a Timing. An error is answered by ``{"error": text}`` and ends
nothing, a device that went away by ``{"lost": text}``. End of input ends the process.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l0compile.errors import L0CompileError
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.ir.codec import decode, encode
from l0compile.kernels import TokenTile
from l0compile.kernels.costs import costed_kernel, machine_of
from l0compile.measurement.answers import answer, take_stdout
from l0compile.measurement.engines import describe_error
from l0compile.measurement.tune.gpu_kernels import build_gpu_kernel
from l0compile.measurement.tune.kernels import build_kernel
from l0compile.measurement.tune.timing import Here, OnGpu, There, time_kernel


def main() -> None:
    """Serve requests from standard input."""
    answers = take_stdout()
    first = json.loads(sys.stdin.readline())
    target = decode(first["target"], Target, "tune: target")
    machine = machine_of(target)
    try:
        host = _host(target, first["device"])
    except (L0CompileError, OSError, RuntimeError) as error:
        answer(answers, {"error": describe_error(error)[:500]})
        return
    answer(answers, {"ready": True})
    for line in sys.stdin:
        try:
            answer(answers, _serve(json.loads(line), target, machine, host))
        except Exception as error:  # a schedule that no code comes out of is a result of the search
            lost = host.lost() if isinstance(host, There) else None
            answer(answers, {"lost": lost} if lost else {"error": describe_error(error)[:500]})


def _host(target: Target, device: str | None) -> Here | OnGpu | There:
    """Where kernels are timed."""
    if device:
        return There(device, target.kind)
    return OnGpu(target) if target.kind == "cuda" else Here()


def _serve(
    request: Mapping[str, Any], target: Target, machine: TokenTile | Target, host: Here | OnGpu | There
) -> dict[str, Any]:
    work, library = decode(request["work"], KernelWorkload, "tune: work"), Path(request["library"])
    if request["do"] == "build":
        kernel = costed_kernel(work.op, target.kind)
        schedule = kernel.schedule_from(tuple(sorted(request["schedule"].items())))
        if isinstance(machine, TokenTile):
            return {"spills": build_kernel(work, schedule, machine, target, library)}
        return dict(build_gpu_kernel(work, schedule, machine, library))
    found: dict[str, Any] = encode(time_kernel(library, work, machine, request["seconds"], host))
    return found


if __name__ == "__main__":
    main()
