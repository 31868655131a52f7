"""The Optuna study.

Parameters, storage, recovery after a kill, and one recorded trial per candidate whatever happens.
"""

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l0compile.errors import ConfigError, DataError, L0CompileError
from l0compile.result import Candidate
from l0compile.search.candidate import DENSITY_STEP, Choices
from l0compile.search.evaluate import Evaluator, Outcome
from l0compile.search.space import Space

if TYPE_CHECKING:
    import optuna

STORAGE = "study.sqlite"
STUDY = "l0compile"
STARTUP_TRIALS = 4
Shapes = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Trial:
    """A finished trial. `outcome` is None, and `error` says why, for a failed one. `sweep`.

    Its point of the sweep.
    """

    number: int
    choices: Choices
    outcome: Outcome | None
    error: str | None
    sweep: float | None

    def candidate(self) -> Candidate:
        """As a result."""
        params = self.choices.to_params()
        if self.outcome is None:
            return Candidate(self.number, params, "failed", error=self.error)
        state = "trained" if self.outcome.trained else "too slow"
        choices = {**params, "live": round(self.outcome.live, 4)}
        return Candidate(self.number, choices, state, self.outcome.latency, self.outcome.quality)


@dataclass(frozen=True)
class Study:
    """A study on disk. `shapes`.

    Block shapes to choose from, by gate group (those that the target has a kernel for).
    """

    handle: "optuna.study.Study"
    space: Space
    shapes: Shapes

    def run_trial(self, evaluator: Evaluator, *, sweep: float | None = None) -> Trial:
        """Ask for one candidate, evaluate it and record the outcome; one that can't be built is a failed trial.

        `sweep`: train it even if it is too slow for the budget; kept with the trial as its point of the Pareto
        sweep.
        """
        from optuna.trial import TrialState

        with _storage_errors():
            trial = self.handle.ask()
            if sweep is not None:
                trial.set_user_attr("sweep", sweep)
            choices = self._suggest(trial)
            try:
                outcome = evaluator.evaluate(choices, always_train=sweep is not None)
            except L0CompileError as error:
                trial.set_user_attr("error", f"{type(error).__name__}: {error}")
                self.handle.tell(trial, state=TrialState.FAIL)
            else:
                for key, value in outcome.to_attrs().items():
                    trial.set_user_attr(key, value)
                trial.set_constraint("latency", outcome.load - 1.0)
                self.handle.tell(trial, outcome.quality)
            return _finished(self.handle.trials[trial.number])

    def enqueue(self, choices: Choices) -> None:
        """Make `choices` the next candidate to be asked for."""
        with _storage_errors():
            self.handle.enqueue_trial(choices.to_params())

    def trials(self) -> tuple[Trial, ...]:
        """Every finished trial in order, those of earlier runs included."""
        return tuple(_finished(trial) for trial in self.handle.trials if trial.state.is_finished())

    def waiting(self) -> bool:
        """Whether a trial is enqueued."""
        return any(trial.state.name == "WAITING" for trial in self.handle.trials)

    def outcomes(self) -> dict[str, Outcome]:
        """What is known by structure; of two outcomes of one structure the trained one."""
        known: dict[str, Outcome] = {}
        for outcome in (trial.outcome for trial in self.trials()):
            if outcome is not None and (outcome.trained or outcome.structure not in known):
                known[outcome.structure] = outcome
        return known

    def best(self) -> Trial | None:
        """The trained trial of best quality that is fast enough; None if there is none yet."""
        found = [(t.outcome.quality, -t.number, t) for t in self.trials() if t.outcome and t.outcome.eligible]
        return max(found)[2] if found else None

    def fastest(self) -> Trial | None:
        """The fastest trial that was measured; None if there is none yet."""
        found = [(t.outcome.load, t.number, t) for t in self.trials() if t.outcome]
        return min(found)[2] if found else None

    def _suggest(self, trial: "optuna.trial.Trial") -> Choices:
        params: dict[str, object] = {}
        for group in self.space.gates:
            name = f"density.{group.name}"
            params[name] = trial.suggest_float(name, *group.density, step=DENSITY_STEP)
        for group_name, shapes in self.shapes.items():
            name = f"shape.{group_name}"
            params[name] = trial.suggest_categorical(name, [f"{rows}x{cols}" for rows, cols in shapes])
        return Choices.from_params(params)


def open_study(space: Space, shapes: Shapes, out: Path, *, resume: bool, conditions: str) -> Study:
    """The study in the folder `out`, new or, with `resume`, continued.

    A new study moves one that is already there aside (``study-1.sqlite``, ...); nothing is deleted. On resuming,
    trials that a kill left running are marked failed and their choices are tried again first. `conditions`: what
    else trials depend on (text, machine). Raises ConfigError when the study there was made with another space or
    conditions.
    """
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = out / STORAGE
    if file.exists() and not resume:
        file.rename(_free_name(file))
    with _storage_errors():
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
        study = optuna.create_study(
            storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True
        )
        mark = f"{space.fingerprint()} {conditions}"
        found = study.user_attrs.get("made_with", mark)
        if found != mark:
            raise ConfigError(
                f"{file}: holds a study of another search space, text or machine: expected {mark!r}, got {found!r}; "
                "choose another --out, or leave --resume out to start anew"
            )
        study.set_user_attr("made_with", mark)
        _recover(study)
        # With the same seed a sampler that starts anew would draw the same points again.
        seed = space.effort.seed + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True
        )
    return Study(study, space, shapes)


def _finished(trial: "optuna.trial.FrozenTrial") -> Trial:
    outcome = Outcome.from_attrs(trial.user_attrs)
    error = None if outcome else str(trial.user_attrs.get("error", "stopped before it was finished"))
    return Trial(
        trial.number, Choices.from_params(trial.params), outcome, error, trial.user_attrs.get("sweep")
    )


def _recover(study: "optuna.study.Study") -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


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
