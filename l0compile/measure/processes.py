"""Time engines in processes of their own, so that no thread pool or setting of one touches another."""

import dataclasses
import random
import time
from collections.abc import Mapping
from typing import Any

from l0compile.measure.json_process import JsonProcess
from l0compile.measure.protocol import Protocol
from l0compile.measure.result import Measurement
from l0compile.measure.workload import Workload
from l0compile.targets import available_cores

TIMEOUT_S = 600.0
# Threads of the engine that just ran may spin this long before they sleep; the next should not pay for it.
_PAUSE_S = 0.1


def measure_engine(
    engine: str,
    workload: Workload,
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Measurement:
    """Latency of ``workload`` on ``engine`` (one of ``ENGINES``) in a fresh process.

    ``threads`` defaults to those of the protocol, else to the cores this process may use. ``timeout_s``
    bounds the start (loading, compiling, warm-up) and each block. A missing package, an engine error, a crash
    or a timeout is returned as ``Measurement.error``; ``ConfigError`` is raised only for a workload that does
    not fit the engine.
    """
    return measure_engines({engine: (engine, workload)}, protocol, threads, timeout_s=timeout_s)[engine]


def measure_engines(
    jobs: Mapping[str, tuple[str, Workload]],
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Measurement]:
    """Latency of several jobs, name -> (engine, workload), one process each, taking turns block by block.

    Block i of every job runs within the same short round, in random order, so ``ratio(a, b, paired=True)`` of
    two results does not depend on what else the machine was doing. Jobs on devices come one after another, before the
    others: a device serves one at a time. Arguments and errors as for ``measure_engine``.
    """
    protocol = protocol or Protocol()
    protocol = dataclasses.replace(protocol, threads=threads or protocol.threads or available_cores())
    for engine, workload in jobs.values():
        workload.check(engine)
    away = {name: job for name, job in jobs.items() if job[1].device is not None}
    here = {name: job for name, job in jobs.items() if name not in away}
    found: dict[str, Measurement] = {}
    for group in (*({name: job} for name, job in away.items()), here):
        found |= _in_turns(group, protocol, timeout_s)
    return {name: found[name] for name in jobs}


def _in_turns(
    jobs: Mapping[str, tuple[str, Workload]], protocol: Protocol, timeout_s: float
) -> dict[str, Measurement]:
    """All jobs side by side, a block of each at a time."""
    blocks: dict[str, list[list[float]]] = {name: [] for name in jobs}
    errors: dict[str, str] = {}
    workers: dict[str, JsonProcess] = {}
    try:
        for name, (engine, workload) in jobs.items():  # one after the other: starting is work for all cores
            workers[name] = JsonProcess(
                workload.command or "l0compile.measure.worker", engine, protocol.threads or 1
            )
            request = {"engine": engine, "workload": workload.to_dict(), "protocol": protocol.to_dict()}
            _keep_error(errors, name, workers[name].ask(request, timeout_s))
        order = random.Random(protocol.seed)
        for _ in range(protocol.blocks):
            for name in order.sample([*jobs], len(jobs)):
                if name not in errors:
                    if len(jobs) > 1:
                        time.sleep(_PAUSE_S)
                    answer = workers[name].ask("block", timeout_s)
                    _keep_error(errors, name, answer)
                    blocks[name].append(answer.get("block", []))
    finally:
        for worker in workers.values():
            worker.close()
    return {
        name: Measurement.failed(errors[name], protocol)
        if name in errors
        else Measurement.from_blocks(blocks[name], protocol)
        for name in jobs
    }


def _keep_error(errors: dict[str, str], name: str, answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        errors[name] = str(answer["error"])
