"""Time engines in processes of their own, so that no thread pool or setting of one touches another."""

from collections.abc import Mapping

from l0compile.measurement.protocol import Protocol
from l0compile.measurement.result import Measurement
from l0compile.measurement.stopwatch import TIMEOUT_S, Stopwatch
from l0compile.measurement.workload import Workload


def measure_engine(
    engine: str,
    workload: Workload,
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Measurement:
    """Measure the latency of ``workload`` on one engine in a fresh process.

    A missing package, an error of the engine, a crash and a timeout are returned as ``Measurement.error``.

    Args:
        engine: one of ``ENGINES``.
        workload: the model and its inputs.
        protocol: how to measure; default: ``Protocol()``.
        threads: default: those of the protocol, else the cores that this process may use.
        timeout_s: limit of the start (loading, compiling, warm-up), and of each block.

    Raises:
        ConfigError: the workload does not fit the engine.
    """
    return measure_engines({engine: (engine, workload)}, protocol, threads, timeout_s=timeout_s)[engine]


def measure_engines(
    jobs: Mapping[str, tuple[str, Workload]],
    protocol: Protocol | None = None,
    threads: int | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Measurement]:
    """Measure several jobs, each in a process of its own, taking turns block by block.

    Args:
        jobs: name -> (engine, workload).
        protocol: how to measure; default: ``Protocol()``.
        threads: as of ``measure_engine``.
        timeout_s: as of ``measure_engine``.

    Raises:
        ConfigError: a workload does not fit its engine.
    """
    with Stopwatch(threads, timeout_s=timeout_s) as stopwatch:
        return stopwatch.measure(jobs, protocol)
