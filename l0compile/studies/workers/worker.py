"""A worker of a study: it asks for trials, evaluates them and tells the results, beside others on any machine."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from l0compile.errors import DataError, L0CompileError, StorageError
from l0compile.studies.workers.patience import PATIENCE_S, patiently, transient
from l0compile.studies.workers.pulse import HEARTBEAT_S, Pulse
from l0compile.studies.workers.retry import TWIN, fail, retry_dead, twin_of

if TYPE_CHECKING:
    import optuna

Objective = Callable[["optuna.trial.Trial"], float]
OnTrial = Callable[["optuna.trial.FrozenTrial"], None]
FAILURES = 20
"""After this many failed trials in a row the worker gives up and raises the last error."""
DRAWS = 3
"""The most trials that are completed for each one wanted."""
STRUCTURE = "structure"
"""User attribute of a complete trial: those that have the same evaluated the same model."""


def work(
    study: "optuna.study.Study",
    objective: Objective,
    wanted: int,
    *,
    on_trial: OnTrial | None = None,
    stop: Callable[[], bool] | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    patience_s: float = PATIENCE_S,
    reseed: bool = True,
) -> int:
    """Run trials until all workers together have completed ``wanted`` different ones.

    Trials of one structure count once: all but the first cost nothing and tell nothing. So that a small space comes to
    an end, `DRAWS` times as many trials suffice, however few of them differ. A worker starts no trial while the
    complete and the running ones suffice, and waits for the running ones. Workers that ask at the same moment may
    complete a few more, fewer than there are workers. Trials of dead workers are failed and tried again, see
    ``retry.py`` and ``pulse.py``.

    Args:
        study: in a storage from ``open_storage``.
        objective: returns the value of a trial. If it raises an L0CompileError, the trial fails with the message as its
            user attribute ``error``; so it does after other errors, which are raised again.
        wanted: the number of complete trials, not counting repeated structures.
        on_trial: called with every trial that this worker finished.
        stop: asked between trials; True ends the work early.
        heartbeat_s: seconds between heartbeats; may differ between workers.
        patience_s: how long to wait for a storage that went away, in seconds.
        reseed: seed the sampler anew, so that workers try different points; one of them may keep its seed.

    Returns:
        The number of trials that this worker completed.

    Raises:
        StorageError: the storage stayed away.
        L0CompileError: the last of `FAILURES` errors in a row.
        KeyboardInterrupt: the work was interrupted; any worker tries the running trial again.
    """
    if reseed:
        study.sampler.reseed_rng()
    done = failures = 0
    with Pulse(study, heartbeat_s) as pulse:
        while not (stop and stop()):
            missing, running = patiently(lambda: _look(study, pulse, wanted), patience_s)
            if missing <= 0:
                break
            if running >= missing:
                time.sleep(min(heartbeat_s / 4, 1.0))
                continue
            told, error = _run_one(study, objective, pulse, patience_s)
            if told is None:
                continue
            done += told.state.name == "COMPLETE"
            failures = failures + 1 if error else 0
            if on_trial:
                on_trial(told)
            if error and failures >= FAILURES:
                raise error
    return done


def _look(study: "optuna.study.Study", pulse: Pulse, wanted: int) -> tuple[int, int]:
    """Fail the trials of dead workers; return how many complete trials are missing, and how many run."""
    trials = retry_dead(study, pulse.dead())
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    different = {trial.user_attrs.get(STRUCTURE, trial.number) for trial in complete}
    missing = wanted - len(different) if len(complete) < DRAWS * wanted else 0
    return missing, sum(trial.state.name == "RUNNING" for trial in trials)


def _run_one(
    study: "optuna.study.Study", objective: Objective, pulse: Pulse, patience_s: float
) -> tuple["optuna.trial.FrozenTrial | None", L0CompileError | None]:
    """Ask, evaluate and tell. Return the trial, or None if it does not count, and the error that failed it."""
    trial = patiently(study.ask, patience_s)
    try:
        older = patiently(lambda: _begin(study, trial, pulse), patience_s)
        if older is not None:
            patiently(lambda: fail(study, trial, f"{TWIN} {older}"), patience_s)
            return None, None
        found = _evaluate(objective, trial)
        if isinstance(found, float):
            return patiently(lambda: _tell(study, trial, found), patience_s), None
        if _forgivable(found):
            patiently(lambda: fail(study, trial, None), patience_s)
            return None, None
        reason = f"{type(found).__name__}: {found}"
        patiently(lambda: fail(study, trial, reason), patience_s)
        if not isinstance(found, L0CompileError):
            raise found
        return patiently(lambda: _frozen(study, trial.number), patience_s), found
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(StorageError):
            patiently(lambda: _give_back(study, trial), min(patience_s, 5.0))
        raise
    finally:
        pulse.release()


def _begin(study: "optuna.study.Study", trial: "optuna.trial.Trial", pulse: Pulse) -> int | None:
    pulse.hold(trial)
    return twin_of(study, trial)


def _evaluate(objective: Objective, trial: "optuna.trial.Trial") -> float | Exception:
    try:
        value = float(objective(trial))
    except Exception as error:
        return error
    if math.isnan(value):
        return DataError(f"trial {trial.number}: expected a number as its value, got nan")
    return value


def _forgivable(error: Exception) -> bool:
    """Whether the storage caused ``error``, while the trial itself may be good.

    It went away during the evaluation; or the trial was considered dead, and its retry counts.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    return isinstance(error, UpdateFinishedTrialError) or transient(error)


def _tell(
    study: "optuna.study.Study", trial: "optuna.trial.Trial", value: float
) -> "optuna.trial.FrozenTrial | None":
    """Tell the value, and return the trial on record; None if other workers have failed it.

    Only the worker that runs a trial completes it: one that is complete at the second try was completed by the first,
    whose answer got lost.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        told = study.tell(trial, value, skip_if_finished=True)
    except UpdateFinishedTrialError:
        told = _frozen(study, trial.number)
    return told if told.state.name == "COMPLETE" else None


def _give_back(study: "optuna.study.Study", trial: "optuna.trial.Trial") -> None:
    fail(study, trial, None)
    retry_dead(study, ())  # now, because the next worker may look only hours later


def _frozen(study: "optuna.study.Study", number: int) -> "optuna.trial.FrozenTrial":
    return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
