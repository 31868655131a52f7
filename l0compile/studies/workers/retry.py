"""Fail the trials of dead workers, and try each of them again once, whoever notices and however often.

No worker can undo another's step, and every step may be repeated, so a worker may be killed between any two of them:

* The first final state of a trial stands. If a worker that was considered dead comes back, its result is dropped.
* A failed trial without the reason that `fail` leaves was interrupted. A new trial that names it in `RETRY_OF` tries it
  again, unless there is one already. Every worker looks for interrupted trials, so none is forgotten.
* Two workers that look at the same moment add two new trials. The worker that gets one of them first checks whether it
  is the oldest of its kind, and fails it if not. Numbers are given in order, so all workers agree on the oldest.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from l0compile.studies.workers.pulse import HEARTBEAT

if TYPE_CHECKING:
    import optuna

ERROR = "error"
RETRY_OF = "retry_of"
ATTEMPT = "attempt"
TWIN = "the same as trial"
"""The reason of a trial that repeats another one begins with these words."""
ATTEMPTS = 4
"""How often a candidate is tried in all: one that kills its worker must not kill all of them."""


def fail(study: "optuna.study.Study", trial: "optuna.trial.Trial", reason: str | None) -> None:
    """Mark ``trial`` failed: for good with a reason, to be tried again without. Do nothing if it is finished."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with contextlib.suppress(UpdateFinishedTrialError):
        if reason is not None:
            trial.set_user_attr(ERROR, reason)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def retry_dead(study: "optuna.study.Study", dead: Iterable[int]) -> "list[optuna.trial.FrozenTrial]":
    """Fail the trials numbered ``dead``, and enqueue every interrupted trial that is not yet tried again.

    Returns:
        The trials of the study, without those enqueued now.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    for number in dead:
        with contextlib.suppress(UpdateFinishedTrialError):
            study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
    trials = study.get_trials(deepcopy=False)
    for trial in interrupted(trials):
        study.add_trial(_again(trial))
    return trials


def interrupted(trials: Sequence["optuna.trial.FrozenTrial"]) -> list["optuna.trial.FrozenTrial"]:
    """Return the trials to try again: without a reason, not yet retried, and with choices that would be lost."""
    from optuna.trial import TrialState

    retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and ERROR not in trial.user_attrs
        and trial.number not in retried
        and int(trial.user_attrs.get(ATTEMPT, 1)) < ATTEMPTS
        and (trial.params or trial.system_attrs.get("fixed_params"))
    ]


def twin_of(study: "optuna.study.Study", trial: "optuna.trial.Trial") -> int | None:
    """Return the number of an older trial that retries the same one as ``trial``; None if there is none."""
    origin = trial.user_attrs.get(RETRY_OF)
    if origin is None:
        return None
    trials = study.get_trials(deepcopy=False)
    same = [other.number for other in trials if other.user_attrs.get(RETRY_OF) == origin]
    return min(same) if min(same, default=trial.number) < trial.number else None


def _again(trial: "optuna.trial.FrozenTrial") -> "optuna.trial.FrozenTrial":
    import optuna

    attrs = {name: value for name, value in trial.user_attrs.items() if name != HEARTBEAT}
    attrs |= {RETRY_OF: trial.number, ATTEMPT: int(trial.user_attrs.get(ATTEMPT, 1)) + 1}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attrs,
        system_attrs=trial.system_attrs,
    )
