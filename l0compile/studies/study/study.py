"""The Optuna study.

Parameters, storage, recovery after a kill, and one recorded trial per candidate whatever happens.
"""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError, DataError
from l0compile.studies.fit.evaluate import Outcome
from l0compile.studies.result import Candidate
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.workers.retry import TWIN
from l0compile.studies.workers.storage import hidden, open_storage

if TYPE_CHECKING:
    import optuna

STORAGE = "study.sqlite"
STUDY = "l0compile"
STARTUP_TRIALS = 6
# Of what trials draw and how their models are made: those of another version are not comparable.
VERSION = 2


@dataclass(frozen=True)
class Trial:
    """A finished trial. `outcome` is None, and `error` says why, for a failed one."""

    number: int
    choices: Choices
    outcome: Outcome | None
    error: str | None

    def candidate(self) -> Candidate:
        """As a result."""
        params = self.choices.to_params()
        if self.outcome is None:
            return Candidate(self.number, params, "failed", error=self.error)
        choices = {**params, "live": round(self.outcome.live, 4)}
        return Candidate(
            self.number, choices, "one-shot", quality=self.outcome.quality, layers=self.outcome.layers
        )


@dataclass(frozen=True)
class Study:
    """A study: which weights of losses give the best model of one price, without training."""

    handle: "optuna.study.Study"
    space: Space

    def enqueue(self, choices: Choices) -> None:
        """Make `choices` the next candidate to be asked for."""
        with _storage_errors():
            self.handle.enqueue_trial(choices.to_params())

    def neutral(self) -> Choices:
        """No group counts more than another."""
        names = [group.name for group in self.space.gates]
        return Choices(dict.fromkeys(names[1:], 1.0), dict.fromkeys(names, 0.0))

    def trials(self) -> tuple[Trial, ...]:
        """Every finished trial in order, those of earlier runs and other workers included.

        Of those that failed only the ones with a reason of their own: interrupted ones are tried again.
        """
        return tuple(
            finished(trial)
            for trial in self.handle.trials
            if trial.state.is_finished() and (trial.value is not None or _own_failure(trial))
        )

    def outcomes(self) -> dict[str, Outcome]:
        """What is known by structure."""
        found = (trial.outcome for trial in self.trials())
        return {outcome.structure: outcome for outcome in found if outcome is not None}

    def best(self, count: int = 1) -> tuple[Trial, ...]:
        """The trials of best quality, one of each structure, the best one first."""
        found = [(-t.outcome.quality, t.number, t.outcome.structure, t) for t in self.trials() if t.outcome]
        by_structure: dict[str, Trial] = {}
        for *_, structure, trial in sorted(found, key=lambda item: item[:2]):
            by_structure.setdefault(structure, trial)
        return tuple(by_structure.values())[:count]

    def remember(self, key: str, value: object) -> None:
        """Keep JSON values with the study."""
        with _storage_errors():
            self.handle.set_user_attr(key, value)

    def remembered(self, key: str) -> Any:
        """What `remember` kept; None without."""
        return self.handle.user_attrs.get(key)


def open_study(
    space: Space, out: Path, *, resume: bool, conditions: str, storage: str | None = None, name: str = STUDY
) -> Study:
    """The study in the folder `out` or in `storage`, new or, with `resume`, continued.

    A new study in the folder moves one that is already there aside (``study-1.sqlite``, ...); nothing is deleted.
    `conditions`: what else trials depend on (text, machine). Raises ConfigError when the study there was made with
    another space or conditions, or is there already in a storage that others use.
    """
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = out / STORAGE
    if storage is None and file.exists() and not resume:
        file.rename(_free_name(file))
    with _storage_errors():
        opened = open_storage(storage or f"sqlite:///{file}")
        try:
            study = optuna.create_study(
                storage=opened,
                study_name=name,
                direction="maximize",
                load_if_exists=storage is None or resume,
            )
        except optuna.exceptions.DuplicatedStudyError as error:
            raise ConfigError(
                f"storage: there is a study {name!r} already; continue it with --resume, or choose another --study"
            ) from error
        mark = f"{space.fingerprint()} {conditions} version {VERSION}"
        where = hidden(storage) if storage else str(file)
        found = study.user_attrs.get("made_with", mark)
        if found != mark:
            raise ConfigError(
                f"{where}: holds a study of another search space, text, machine or version: expected {mark!r}, got "
                f"{found!r}; "
                "choose another --out or --study, or leave --resume out to start anew"
            )
        study.set_user_attr("made_with", mark)
        # With the same seed a sampler that starts anew would draw the same points again.
        seed = space.effort.seed + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        )
    return Study(study, space)


def finished(trial: "optuna.trial.FrozenTrial") -> Trial:
    """A finished trial of Optuna's as one of ours."""
    outcome = Outcome.from_attrs(trial.user_attrs) if trial.value is not None else None
    error = None if outcome else str(trial.user_attrs.get("error", "stopped before it was finished"))
    return Trial(trial.number, Choices.from_params(trial.params), outcome, error)


def _own_failure(trial: "optuna.trial.FrozenTrial") -> bool:
    error = str(trial.user_attrs.get("error", ""))
    return bool(error) and not error.startswith(TWIN)


def _free_name(file: Path) -> Path:
    number = 1
    while (name := file.with_stem(f"{file.stem}-{number}")).exists():
        number += 1
    return name


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """A storage that can't be written (a full disk, a read-only folder) as one of our errors."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise DataError(
            f"search: the study can't be written: {error.__cause__ or error}; free disk space or choose another --out, "
            "then continue with --resume: completed trials are kept"
        ) from error
