"""Jobs: what workers evaluate, as JSON data in the study itself, so that they need nothing but the storage.

``kind`` says what evaluates a trial, ``trials`` how many complete trials the study wants, and ``heartbeat_s`` how often
its workers show that they live. The other keys belong to the kind.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError
from l0compile.studies.workers.pulse import HEARTBEAT_S

if TYPE_CHECKING:
    import optuna


def wanted_of(job: Mapping[str, Any]) -> int:
    """Return the number of complete trials that ``job`` wants.

    Raises:
        ConfigError: the job does not say.
    """
    trials = job.get("trials")
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise ConfigError(f"job: trials: expected a whole number above 0, got {trials!r}")
    return trials


def heartbeat_of(job: Mapping[str, Any]) -> float:
    """Return the seconds between the heartbeats of the workers of ``job``.

    Raises:
        ConfigError: it is no time.
    """
    seconds = job.get("heartbeat_s", HEARTBEAT_S)
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise ConfigError(f"job: heartbeat_s: expected seconds above 0, got {seconds!r}")
    return float(seconds)


def join_study(storage: "optuna.storages.BaseStorage", name: str) -> "optuna.study.Study":
    """Load the study ``name``, with a sampler that considers what other workers are trying.

    Raises:
        ConfigError: there is no such study.
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
