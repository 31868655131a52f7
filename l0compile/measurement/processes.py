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

    As ``Stopwatch.measure``, in processes that end with it. Arguments and errors as for ``measure_engine``.
    """
    with Stopwatch(threads, timeout_s=timeout_s) as stopwatch:
        return stopwatch.measure(jobs, protocol)
