"""What a study evaluates, as data in the study itself, so that a worker needs nothing but the storage.

The job is a JSON object in the user attribute ``job``: ``kind`` names an entry of `KINDS`, ``trials`` is how many
complete trials the study wants, ``heartbeat_s`` how often its workers show that they live, the rest is for that entry.
A job can only choose among these entries: a study holds no code, and whoever can write to the storage can make workers
run nothing else.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError
from l0compile.studies.workers.pulse import HEARTBEAT_S
from l0compile.studies.workers.search_job import search_objective
from l0compile.studies.workers.worker import Objective

if TYPE_CHECKING:
    import optuna

JOB = "job"


def objective_of(job: Mapping[str, Any], folder: Path) -> Objective:
    """What evaluates a trial of `job`; it may keep files in `folder`. Raises ConfigError for a malformed job."""
    make = KINDS.get(str(job.get("kind")))
    if make is None:
        raise ConfigError(
            f"job: kind: expected one of {', '.join(sorted(KINDS))}, got {job.get('kind')!r}; the study may be of a "
            "newer version of l0compile: install the same one everywhere"
        )
    return make(job, folder)


def wanted_of(job: Mapping[str, Any]) -> int:
    """How many complete trials `job` wants. Raises ConfigError if it does not say."""
    trials = job.get("trials")
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise ConfigError(f"job: trials: expected a whole number above 0, got {trials!r}")
    return trials


def heartbeat_of(job: Mapping[str, Any]) -> float:
    """Seconds between the heartbeats of the workers of `job`. Raises ConfigError if that is no time."""
    seconds = job.get("heartbeat_s", HEARTBEAT_S)
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise ConfigError(f"job: heartbeat_s: expected seconds above 0, got {seconds!r}")
    return float(seconds)


def post_job(study: "optuna.study.Study", job: Mapping[str, Any]) -> None:
    """Leave `job` in `study` for its workers. Raises ConfigError for a malformed job."""
    objective_of(job, Path())
    wanted_of(job)
    heartbeat_of(job)
    study.set_user_attr(JOB, dict(job))


def read_job(study: "optuna.study.Study") -> dict[str, Any]:
    """The job in `study`. Raises ConfigError if there is none."""
    job = study.user_attrs.get(JOB)
    if not isinstance(job, dict):
        raise ConfigError(
            f"study {study.study_name!r}: expected a job for workers in its user attributes, got {job!r}; start the "
            "search that makes the study before its workers"
        )
    return job


def join_study(storage: "optuna.storages.BaseStorage", name: str) -> "optuna.study.Study":
    """The study `name` in `storage`, with a sampler that takes heed of what other workers are trying.

    Raises ConfigError when there is no such study.
    """
    import optuna

    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        found = ", ".join(map(repr, optuna.get_all_study_names(storage))) or "none"
        raise ConfigError(
            f"storage: expected a study {name!r}, got these: {found}; choose one with --study"
        ) from error
    study.sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    return study


def _simulated(job: Mapping[str, Any], folder: Path) -> Objective:
    """A device that takes `seconds` for a trial and knows its value, for tests and the benchmark of workers."""
    seconds = job.get("seconds", 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
        raise ConfigError(f"job: seconds: expected a number from 0 to 3600, got {seconds!r}")

    def evaluate(trial: "optuna.trial.Trial") -> float:
        x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
        time.sleep(seconds)
        return simulated_value(x, y)

    return evaluate


def simulated_value(x: float, y: float) -> float:
    """The value of the simulated device at a point: 1 at (0.3, 0.6), less elsewhere."""
    return 1.0 - (x - 0.3) ** 2 - (y - 0.6) ** 2


KINDS: dict[str, Callable[[Mapping[str, Any], Path], Objective]] = {
    "search": search_objective,
    "simulated": _simulated,
}
"""By kind, what makes an objective of a job. A new kind of job is a function and a line here."""
