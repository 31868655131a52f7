"""Trials: what to keep of every layer, evaluated without training."""

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from l0compile.studies.context import SearchContext, SearchState, remember
from l0compile.studies.fit.evaluate import evaluate_trial
from l0compile.studies.fit.probe import probe
from l0compile.studies.fit.search_job import post_job, search_job
from l0compile.studies.space.candidate import Choices
from l0compile.studies.study.trial import finished
from l0compile.studies.workers.worker import work
from l0compile.tasks import list_tasks

if TYPE_CHECKING:
    import optuna

# Trials have to leave room for the winner by this share of the time between set-up and the final table.
TRIALS_UNTIL = 0.4


def run_trials(context: SearchContext, state: SearchState) -> SearchState:
    """Run trials, at least one, up to the number and the time that the space allows, beside other workers."""
    study, price = context.study, state.kept.price_ms
    assert price is not None, "choose_price comes first"
    context.progress.phase("trials: what to keep, without training")
    if not study.handle.trials:
        state, choices = _to_begin_with(context, state, price)
        for each in choices:
            study.enqueue(each)
    if context.space.task in list_tasks():
        # The caller's own model exists in this process only: there is nothing to hand out.
        post_job(study.handle, search_job(context.space, context.evaluator, context.prices, price))
    trials = _TrialRunner(context, price, context.clock.until(TRIALS_UNTIL))
    begun = time.monotonic()
    work(
        study.handle, trials.evaluate, context.space.effort.trials, on_trial=trials.tell, stop=trials.late,
        reseed=False,
    )  # fmt: skip
    if trials.repeated:
        context.progress.note(f"  {trials.repeated} more drew a model that was evaluated already")
    return replace(state, overhead_s=state.overhead_s + time.monotonic() - begun - trials.evaluating_s)


def _to_begin_with(
    context: SearchContext, state: SearchState, price: float
) -> tuple[SearchState, tuple[Choices, ...]]:
    """Return the choices of the first trials: neutral ones, and what each group of gates alone does to the model."""
    neutral = context.study.neutral()
    if context.space.effort.trials < 2 or time.monotonic() > context.clock.at(TRIALS_UNTIL):
        return state, (neutral,)
    found = probe(context.evaluator, neutral, price)
    context.progress.note(f"  what a loss of each group is worth: {found}")
    first, *others = found.to_try()
    state = remember(context, state, replace(state.kept, known_weights=dict(first.weight)))
    return state, (neutral, first, *others)


@dataclass
class _TrialRunner:
    """The trials of one run.

    slowest: seconds of the slowest one. evaluating_s: seconds of evaluating all of them. told: structures reported;
    repeated: the number of trials that had one of these.
    """

    context: SearchContext
    price_ms: float
    until: float
    slowest: float = 0.0
    evaluating_s: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    told: set[str] = field(default_factory=set)
    repeated: int = 0

    def late(self) -> bool:
        """Whether another trial would end too late."""
        return time.monotonic() + self.slowest > self.until and bool(self.context.study.trials())

    def evaluate(self, trial: "optuna.trial.Trial") -> float:
        """Return the value of a trial."""
        started = time.monotonic()
        try:
            return evaluate_trial(trial, self.context.space, self.context.evaluator, self.price_ms).quality
        finally:
            self.evaluating_s += time.monotonic() - started

    def tell(self, trial: "optuna.trial.FrozenTrial") -> None:
        """Report a finished trial; of those that drew a model seen before, only the number."""
        self.begun, self.slowest = time.monotonic(), max(self.slowest, time.monotonic() - self.begun)
        done = finished(trial)
        structure = done.outcome.structure if done.outcome else None
        if structure in self.told:
            self.repeated += 1
            return
        if structure is not None:
            self.told.add(structure)
        best = self.context.study.best()
        self.context.progress.candidate(done.candidate(), best[0].candidate() if best else None)
