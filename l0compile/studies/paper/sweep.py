"""Run the cells of a paper in several processes, then time its models with nothing else running."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from l0compile.errors import DataError, MissingDependency
from l0compile.hardware.targets import read_host
from l0compile.studies.paper.cell import cell_name, run_cells
from l0compile.studies.paper.plan import PaperPlan, Series
from l0compile.studies.paper.timing import time_series

CELLS = "cells"
_POLL_S = 1.0

Told = Callable[[str], None]


def sweep(plan: PaperPlan, out: Path, told: Told, processes: int | None = None) -> dict[str, str]:
    """Train, evaluate and time every model that is not in ``out`` yet.

    Args:
        plan: what to do.
        out: the folder of the paper.
        told: hears of each model, with the time that is left.
        processes: how many train side by side, one thread each; default: one for each core.

    Returns:
        Series that could not run here, by name, and why: their data or a package is missing.
    """
    folder = out / CELLS
    folder.mkdir(parents=True, exist_ok=True)
    missing: dict[str, str] = {}
    ready: list[Series] = []
    for series in plan.series:
        try:
            series.load()
            ready.append(series)
        except (DataError, MissingDependency) as error:
            missing[series.name] = str(error)
            told(f"{series.name} is left out: {error}")
    jobs = [(series, seed) for seed in range(plan.seeds) for series in ready]
    _train(plan, jobs, folder, told, processes or read_host().cores)
    for series in ready:
        told(f"timing {series.name}")
        time_series(plan, series, folder)
    return missing


def _train(plan: PaperPlan, jobs: list[tuple[Series, int]], folder: Path, told: Told, processes: int) -> None:
    # Not by fork: a child of a process that has used PyTorch's threads hangs.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = [pool.submit(run_cells, plan, series, seed, folder) for series, seed in jobs]
        _watch(plan, jobs, folder, futures, told)
        for future in futures:
            future.result()
    except BaseException:
        # Ctrl-C, or a series that failed: what is trained at the moment goes on from its checkpoint next time.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def _watch(
    plan: PaperPlan, jobs: list[tuple[Series, int]], folder: Path, futures: list["Future[None]"], told: Told
) -> None:
    """Tell of each new cell until all are done or one has failed."""
    wanted = [
        cell_name(series.name, seed, fraction)
        for series, seed in jobs
        for fraction in (None, *plan.fractions)
    ]
    found = set(_present(folder, wanted))
    start, before = time.monotonic(), len(found)
    if found:
        told(f"{len(found)} of {len(wanted)} models are there already")
    while True:
        done, running = wait(futures, timeout=_POLL_S, return_when=FIRST_EXCEPTION)
        for name in _present(folder, wanted):
            if name not in found:
                found.add(name)
                left = (time.monotonic() - start) / (len(found) - before) * (len(wanted) - len(found))
                told(f"{len(found)} of {len(wanted)}: {name}; about {left / 60:.0f} min are left")
        if not running or any(future.exception() for future in done):
            return


def _present(folder: Path, names: list[str]) -> Iterator[str]:
    return (name for name in names if (folder / f"{name}.json").exists())


def _one_thread() -> None:
    torch.set_num_threads(1)
