"""The two phases that run trials: exploring the space, and a sweep of budgets around the best trial."""

import time
from dataclasses import dataclass

from l0compile.search.allocate import LatencyModel, first_guesses, towards
from l0compile.search.candidate import Choices
from l0compile.search.evaluate import MARGIN, Evaluator
from l0compile.search.progress import Progress
from l0compile.search.study import Study, Trial

# Shares of the time at whose end the trials, and then the sweep, have to leave room for the winner.
TRIALS_UNTIL, SWEEP_UNTIL = 0.5, 0.68
# The winner trains at least this share of the time, even if everything before took longer than planned.
WINNER_AT_LEAST = 0.1
# Share of the budget to aim for: the line through few latencies is off by a little, and too slow counts for nothing.
TARGET = 1.0 - 1.25 * MARGIN
# Over the budget by less than this share: "just missed".
NEAR = 0.1


@dataclass(frozen=True)
class Clock:
    """When a search began (`time.monotonic` seconds) and how long it may take."""

    start: float
    seconds: float

    def at(self, share: float) -> float:
        """The moment at which `share` of the time is over."""
        return self.start + share * self.seconds

    def winner_deadline(self, final_seconds: float) -> float:
        """Until when the winner may train if compiling and measuring it takes `final_seconds`."""
        return max(self.at(1.0) - final_seconds, time.monotonic() + WINNER_AT_LEAST * self.seconds)


def run_trials(
    study: Study, evaluator: Evaluator, dense_load: float, clock: Clock, progress: Progress
) -> None:
    """Trials up to the number and the time that the space allows; one at least, and any that a kill interrupted."""
    progress.phase("trials: latency first, then brief training")
    slowest = 0.0
    while True:
        begun = time.monotonic()
        done = study.trials()
        if not study.waiting():
            number = sum(trial.sweep is None for trial in done)
            late = begun + slowest > clock.at(TRIALS_UNTIL)
            if number >= study.space.effort.trials or (late and done):
                return
            live = _latency_model(study, dense_load).live_for(TARGET)
            guesses = [*first_guesses(study.space, study.shapes, live), None]
            tried = sum(trial.sweep is None and not _just_missed(trial) for trial in done)
            guess = _sparser(study, done[-1], live) if done else None
            guess = guess or guesses[min(tried, len(guesses) - 1)]
            if guess is not None:
                study.enqueue(guess)
        _tell(progress, study, study.run_trial(evaluator))
        slowest = max(slowest, time.monotonic() - begun)


def run_sweep(
    study: Study, evaluator: Evaluator, dense_load: float, clock: Clock, progress: Progress
) -> None:
    """Points around the budget, in the shapes and proportions of the best trial, for the Pareto front.

    The point 1.0 uses the budget up, so it may well be the winner.
    """
    progress.phase("sweep: budgets around the chosen one")
    slowest = 0.0
    done = {trial.sweep for trial in study.trials()}
    for point in study.space.effort.sweep:
        start = study.best() or study.fastest()
        begun = time.monotonic()
        if point in done or start is None or start.outcome is None or begun + slowest > clock.at(SWEEP_UNTIL):
            continue
        wanted = _latency_model(study, dense_load).live_for(point * TARGET)
        study.enqueue(towards(study.space, start.choices, start.outcome.live, wanted))
        _tell(progress, study, study.run_trial(evaluator, sweep=point))
        slowest = max(slowest, time.monotonic() - begun)


def _just_missed(trial: Trial) -> bool:
    """Too slow by so little that the same candidate with a few more zeros is worth a trial."""
    outcome = trial.outcome
    return outcome is not None and not outcome.fast_enough and outcome.load < 1.0 + NEAR


def _sparser(study: Study, trial: Trial, live: float) -> Choices | None:
    """`trial` again with `live` of its weights left, if it just missed the budget; the line now knows its latency."""
    if trial.outcome is None or not _just_missed(trial) or trial.outcome.live <= live:
        return None
    return towards(study.space, trial.choices, trial.outcome.live, live)


def _latency_model(study: Study, dense_load: float) -> LatencyModel:
    points = [(outcome.live, outcome.load) for outcome in study.outcomes().values()]
    return LatencyModel.fit(dense_load, points)


def _tell(progress: Progress, study: Study, trial: Trial) -> None:
    best = study.best()
    progress.candidate(trial.candidate(), best.candidate() if best else None)
