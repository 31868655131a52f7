"""A search as a job for workers: data from which they evaluate trials as the process that began the search does.

A job can only choose among `OBJECTIVES`: a study holds no code, and whoever can write to its storage can make workers
run nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError
from l0compile.ir.codec import Count, decode
from l0compile.studies.fit.evaluate import Evaluator, evaluate_trial
from l0compile.studies.pruning.prices import PriceTable, Pricing, linear_calls
from l0compile.studies.pruning.units import UnitGroup
from l0compile.studies.space.space import Space
from l0compile.studies.space.space_json import space_from_json, space_to_json
from l0compile.studies.study.state import read_state, write_state
from l0compile.studies.workers.jobs import heartbeat_of, wanted_of
from l0compile.studies.workers.worker import Objective
from l0compile.tasks import make_task

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class _StoredJob:
    """The part of a job that evaluating its trials depends on, as JSON values."""

    space: Mapping[str, Any]
    price_ms: float
    prices: Mapping[str, tuple[tuple[float, float], ...]]
    shapes: Mapping[str, tuple[tuple[Count, Count], ...]]
    parts: Mapping[str, Any]


def search_job(space: Space, evaluator: Evaluator, prices: Pricing, price_ms: float) -> dict[str, Any]:
    """Return the job of evaluating trials of ``space`` at ``price_ms``, with this machine's prices, as JSON values."""
    menu, task = evaluator.menu, evaluator.task
    shapes = {name: sorted(paths) for name, paths in menu.paths.items() if name not in menu.units}
    calls = linear_calls(task.dense(), tuple(shapes), task.example())
    table = PriceTable.of(prices, [(calls[name], given) for name, given in shapes.items()], space.precision)
    return {
        "kind": "search",
        "trials": space.effort.trials,
        "space": space_to_json(space),
        "source": evaluator.task.source,
        "price_ms": price_ms,
        "prices": dict(table.points),
        "shapes": shapes,
        "parts": {name: units.to_json() for name, units in menu.units.items()},
    }


def search_objective(job: Mapping[str, Any], folder: Path) -> Objective:
    """Return what evaluates the trials of a job made by ``search_job``.

    Layers are pruned at the first trial; their paths are cached in ``folder``.

    Raises:
        ConfigError: the job is malformed, or (at the first trial) this machine has other data.
    """
    given = {field.name: job[field.name] for field in fields(_StoredJob) if field.name in job}
    stored = decode(given, _StoredJob, "job", ConfigError, advice="install the same version everywhere")
    space, price_ms = space_from_json(stored.space), stored.price_ms
    units = {name: UnitGroup.from_json(part) for name, part in stored.parts.items()}

    @cache
    def evaluator() -> Evaluator:
        task = make_task(space.task, space.options)
        if task.source != job.get("source"):
            raise ConfigError(
                f"job: source: expected the data {job.get('source')!r}, this machine has {task.source!r}; set "
                "L0COMPILE_DATA to the same data on all machines"
            )
        return Evaluator.of(
            task, space, stored.shapes, units, PriceTable(stored.prices), folder / "candidates"
        )

    def evaluate(trial: "optuna.trial.Trial") -> float:
        return evaluate_trial(trial, space, evaluator(), price_ms).quality

    return evaluate


OBJECTIVES: dict[str, Callable[[Mapping[str, Any], Path], Objective]] = {"search": search_objective}
"""Kind of a job -> what makes its objective. A new kind is a function and a line here."""


def objective_of(job: Mapping[str, Any], folder: Path) -> Objective:
    """Return what evaluates a trial of ``job``; it may keep files in ``folder``.

    Raises:
        ConfigError: the job is malformed.
    """
    make = OBJECTIVES.get(str(job.get("kind")))
    if make is None:
        raise ConfigError(
            f"job: kind: expected one of {', '.join(sorted(OBJECTIVES))}, got {job.get('kind')!r}; the study may be of "
            "a newer version of l0compile: install the same one everywhere"
        )
    return make(job, folder)


def post_job(study: "optuna.study.Study", job: Mapping[str, Any]) -> None:
    """Leave ``job`` in ``study`` for its workers.

    Raises:
        ConfigError: the job is malformed.
    """
    objective_of(job, Path())
    wanted_of(job)
    heartbeat_of(job)
    write_state(study, replace(read_state(study), job=job))


def read_job(study: "optuna.study.Study") -> Mapping[str, Any]:
    """Return the job in ``study``.

    Raises:
        ConfigError: there is none.
    """
    job = read_state(study).job
    if not isinstance(job, dict):
        raise ConfigError(
            f"study {study.study_name!r}: expected a job for workers in its user attributes, got {job!r}; start the "
            "search that makes the study before its workers"
        )
    return job
