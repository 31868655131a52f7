"""The Optuna study of a search: every trial is recorded, whatever happens, and survives a kill."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l0compile.errors import ConfigError, StorageError
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.study.state import StudyState, made_with, read_state, write_state
from l0compile.studies.study.trial import Outcome, Trial, finished
from l0compile.studies.workers.retry import ERROR, TWIN
from l0compile.studies.workers.storage import hidden, open_storage

if TYPE_CHECKING:
    import optuna

STORAGE = "study.sqlite"
STUDY = "l0compile"
STARTUP_TRIALS = 6
# Raise it when trials draw something else, or their models are made in another way: they don't compare then.
VERSION = 2


@dataclass(frozen=True)
class Study:
    """A study of which weights of losses give the best model of one price, without training."""

    handle: "optuna.study.Study"
    space: Space

    def enqueue(self, choices: Choices) -> None:
        """Make ``choices`` the next trial."""
        with _storage_errors():
            self.handle.enqueue_trial(choices.to_params())

    def neutral(self) -> Choices:
        """Return the choices in which no group counts more than another."""
        names = self.space.group_names
        return Choices(dict.fromkeys(names[1:], 1.0), dict.fromkeys(names, 0.0))

    def trials(self) -> tuple[Trial, ...]:
        """Return every finished trial in order, including those of earlier runs and other workers.

        Interrupted trials are left out: they are tried again.
        """
        return tuple(
            finished(trial)
            for trial in self.handle.trials
            if trial.state.is_finished() and (trial.value is not None or _own_failure(trial))
        )

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcomes of all trials by structure."""
        found = (trial.outcome for trial in self.trials())
        return {outcome.structure: outcome for outcome in found if outcome is not None}

    def best(self, count: int = 1) -> tuple[Trial, ...]:
        """Return the trials of best quality, one for each structure, best first."""
        found = [(-t.outcome.quality, t.number, t.outcome.structure, t) for t in self.trials() if t.outcome]
        by_structure: dict[str, Trial] = {}
        for *_, structure, trial in sorted(found, key=lambda item: item[:2]):
            by_structure.setdefault(structure, trial)
        return tuple(by_structure.values())[:count]

    @property
    def state(self) -> StudyState:
        """What the study remembers beside its trials."""
        return read_state(self.handle)

    def keep(self, state: StudyState) -> None:
        """Write what has changed in ``state``."""
        with _storage_errors():
            write_state(self.handle, state)


def open_study(
    space: Space, out: Path, *, resume: bool, conditions: str, storage: str | None = None, name: str = STUDY
) -> Study:
    """Open the study in the folder ``out``, or in ``storage``.

    A new study in the folder moves an old one aside (``study-1.sqlite``, ...); nothing is deleted.

    Args:
        space: the search space.
        out: folder of the search.
        resume: continue the study that is there.
        conditions: what else trials depend on (data, machine), in words.
        storage: URL of a storage that workers share; None: a file in ``out``.
        name: of the study in its storage.

    Raises:
        ConfigError: the study was made with another space or conditions, or exists already in a shared storage.
        StorageError: the storage can't be written.
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
                f"storage: a study {name!r} exists already; continue it with --resume, or choose another --study"
            ) from error
        mark = f"{space.fingerprint()} {conditions} version {VERSION}"
        where = hidden(storage) if storage else str(file)
        found = made_with(study) or mark
        if found != mark:
            raise ConfigError(
                f"{where}: holds a study of another search space, text, machine or version: expected {mark!r}, got "
                f"{found!r}; "
                "choose another --out or --study, or leave --resume out to start anew"
            )
        write_state(study, StudyState(made_with=mark))
        # A resumed sampler with the old seed would draw the old points again.
        seed = space.effort.seed + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        )
    return Study(study, space)


def _own_failure(trial: "optuna.trial.FrozenTrial") -> bool:
    error = str(trial.user_attrs.get(ERROR, ""))
    return bool(error) and not error.startswith(TWIN)


def _free_name(file: Path) -> Path:
    number = 1
    while (name := file.with_stem(f"{file.stem}-{number}")).exists():
        number += 1
    return name


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn the errors of a storage that can't be written (a full disk, a read-only folder) into ours."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StorageError(
            f"search: the study can't be written: {error.__cause__ or error}; free disk space or choose another --out, "
            "then continue with --resume: completed trials are kept"
        ) from error
