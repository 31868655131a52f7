"""A search that times its models on a device behind a tracker."""

import dataclasses
from pathlib import Path

import pytest
import tiny_task

from l0compile.errors import ConfigError
from l0compile.measurement import Protocol
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import DENSE, PYTORCH
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.fit.budget import budget_of
from l0compile.studies.run import run_search
from l0compile.studies.space.space import Space
from l0compile.studies.study.progress import Silent
from tests.measurement.rpc_device import running_device

pytest.importorskip("tornado", reason="TVM's tracker needs tornado (extra 'workers')")


def test_only_compiled_models_are_jobs_of_a_device(tmp_path: Path) -> None:
    bench = Bench(tiny_task.TinyTask(tiny_task.TinyOptions()), tmp_path, "native", "rpc://127.0.0.1:9/none")
    bench.prepare()
    jobs, failures = bench.dense_jobs()
    assert set(jobs) == {DENSE} and "runs compiled models only" in str(failures[PYTORCH])


@pytest.mark.slow
def test_models_are_timed_there_and_other_engines_are_not(space: Space, tmp_path: Path) -> None:
    task = tiny_task.TinyTask(tiny_task.TinyOptions())
    with running_device() as url:
        bench = Bench(task, tmp_path, "native", url)
        bench.prepare()
        jobs, failures = bench.dense_jobs()
        measured = bench.compare(jobs, failures, Protocol.quick(), (DENSE,), width=1.0)
        assert set(jobs) == {DENSE} and "runs compiled models only" in str(measured[PYTORCH].error)
        assert measured[DENSE].ok, measured[DENSE].error
        relative = dataclasses.replace(space, latency=LatencyBudget(0.5, None, "l0compile"))
        budget = budget_of(relative, measured, jobs)
        assert budget.ms == pytest.approx(0.5 * measured[DENSE].median_ms)
        found, load = budget.measure(bench, tmp_path / "dense")
        assert found.ok and load.value > 0.0, found.error


def test_an_address_that_is_none_is_refused_at_once(space: Space, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device: expected rpc://HOST:PORT/KEY"):
        run_search(space, tmp_path, target="rpc://box?target=native", progress=Silent())
