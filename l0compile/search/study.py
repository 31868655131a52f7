"""The Optuna study: parameters, storage, recovery after a kill, and one recorded trial per candidate whatever happens."""

import contextlib
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError, DataError, L0CompileError
from l0compile.search.candidate import DENSITY_STEP, Choices
from l0compile.search.evaluate import FAILED, TOO_SLOW, TRAINED, Evaluator, Outcome
from l0compile.search.result import Candidate
from l0compile.search.space import Space

if TYPE_CHECKING:
    import optuna

STORAGE = "study.sqlite"
STUDY = "l0compile"
STARTUP_TRIALS = 4
Shapes = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Study:
    """A study on disk. `shapes`: block shapes to choose from, by gate group (those that the target has a kernel for)."""

    optuna: "optuna.study.Study"
    space: Space
    shapes: Shapes

    def run_trial(
        self, evaluator: Evaluator, *, point: float | None = None, deadline: float | None = None
    ) -> Candidate:
        """Ask for one candidate, evaluate it and record the outcome; a candidate that can't be built is a failed trial.

        `point`: train it even if it is too slow for the budget (a point of the Pareto sweep, kept as a trial attribute).
        """
        from optuna.trial import TrialState

        with _storage_errors():
            trial = self.optuna.ask()
            if point is not None:
                trial.set_user_attr("sweep", point)
            choices = self._suggest(trial)
            start = time.monotonic()
            try:
                outcome = evaluator.evaluate(choices, always_train=point is not None, deadline=deadline)
            except L0CompileError as error:
                trial.set_user_attr("error", str(error))
                trial.set_user_attr("seconds", time.monotonic() - start)
                self.optuna.tell(trial, state=TrialState.FAIL)
            else:
                for key, value in outcome.to_attrs().items():
                    trial.set_user_attr(key, value)
                trial.set_constraint("latency", outcome.latency.median_ms / evaluator.budget_ms - 1.0)
                self.optuna.tell(trial, outcome.quality)
            return candidate_of(self.optuna.trials[trial.number])

    def enqueue(self, choices: Choices) -> None:
        """Make `choices` the next candidate to be asked for."""
        with _storage_errors():
            self.optuna.enqueue_trial(choices.to_params())

    def candidates(self) -> tuple[Candidate, ...]:
        """Every finished trial in order."""
        return tuple(candidate_of(trial) for trial in self.optuna.trials if trial.state.is_finished())

    def outcomes(self) -> dict[str, Outcome]:
        """What is known, by structure, from trials of this and earlier runs."""
        found = [Outcome.from_attrs(trial.user_attrs) for trial in self.optuna.trials]
        known: dict[str, Outcome] = {}
        for outcome in found:
            if outcome is not None and (outcome.trained or outcome.structure not in known):
                known[outcome.structure] = outcome
        return known

    def swept(self) -> set[float]:
        """Points of the Pareto sweep that have a finished trial."""
        done = [trial for trial in self.optuna.trials if trial.state.is_finished()]
        return {trial.user_attrs["sweep"] for trial in done if "sweep" in trial.user_attrs}

    def _suggest(self, trial: "optuna.trial.Trial") -> Choices:
        density = {
            group.name: trial.suggest_float(f"density.{group.name}", *group.density, step=DENSITY_STEP)
            for group in self.space.gates
        }
        shape = {
            name: trial.suggest_categorical(f"shape.{name}", [f"{rows}x{cols}" for rows, cols in shapes])
            for name, shapes in self.shapes.items()
        }
        return Choices.from_params(
            Choices(density, {}).to_params() | {f"shape.{k}": v for k, v in shape.items()}
        )


def open_study(space: Space, shapes: Shapes, out: Path, *, resume: bool, conditions: str) -> Study:
    """The study in the folder `out`, new or, with `resume`, continued.

    A new study moves one that is already there aside (``study-1.sqlite``, ...); nothing is deleted. On resuming, trials that a kill left
    running are marked failed and their choices are tried again first. `conditions`: what else trials depend on (text, machine). Raises
    ConfigError when the study there was made with another space or under other conditions.
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
        if study.user_attrs.setdefault("made_with", mark) != mark:
            raise ConfigError(
                f"{file}: holds a study of another search space, text or machine; expected {mark!r}, got "
                f"{study.user_attrs['made_with']!r}; choose another --out, or leave --resume out to start anew"
            )
        study.set_user_attr("made_with", mark)
        _recover(study)
        study.sampler = optuna.samplers.TPESampler(
            # A sampler that starts anew with the same seed would draw the same points again.
            seed=space.effort.seed + len(study.trials),
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
        )
    return Study(study, space, shapes)


def candidate_of(trial: "optuna.trial.FrozenTrial") -> Candidate:
    """A finished trial as a result."""
    outcome = Outcome.from_attrs(trial.user_attrs)
    params = Choices.from_params(trial.params).to_params()
    if outcome is None:
        error = str(trial.user_attrs.get("error", "stopped before it was finished"))
        return Candidate(trial.number, params, FAILED, error=error)
    state = TRAINED if outcome.trained else TOO_SLOW
    choices = {**params, "live": round(outcome.live, 4)}
    return Candidate(trial.number, choices, state, outcome.latency, outcome.quality)


def _recover(study: "optuna.study.Study") -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params, skip_if_exists=False)


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
