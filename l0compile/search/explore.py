"""The phases of a search: trials without training, then finalists and a sweep of budgets, fitted to a latency."""

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from l0compile.errors import L0CompileError
from l0compile.oneshot.prices import Pricing
from l0compile.result import Candidate
from l0compile.search.brief import BriefTraining
from l0compile.search.candidate import Choices
from l0compile.search.clock import Clock
from l0compile.search.draw import KNOWN, evaluate_trial
from l0compile.search.evaluate import Evaluator
from l0compile.search.finalist import Finalist
from l0compile.search.fit import Fitter
from l0compile.search.jobs import post_job
from l0compile.search.probe import probe
from l0compile.search.progress import Progress
from l0compile.search.search_job import search_job
from l0compile.search.study import Study, Trial, finished
from l0compile.tasks import list_tasks
from l0compile.workers.worker import work

if TYPE_CHECKING:
    import optuna

# Shares of the time at whose end the trials, the finalists and then the sweep have to leave room for the winner.
TRIALS_UNTIL, FINALISTS_UNTIL, SWEEP_UNTIL = 0.45, 0.55, 0.65
# Models compiled to learn the price of a plan that meets the budget, before any trial.
_FIRST_ROUNDS = 3
_KEPT = "finalists"


@dataclass
class Exploration:
    """Runs the phases.

    wanted: the latency aimed at over the budget. finalists: in the order they were fitted; failures: of those that
    could not be. overhead_s: what choosing and recording trials took, beside evaluating them.
    """

    study: Study
    evaluator: Evaluator
    fitter: Fitter
    prices: Pricing
    clock: Clock
    progress: Progress
    wanted: float = 1.0
    finalists: list[Finalist] = field(default_factory=list)
    failures: list[Candidate] = field(default_factory=list)
    overhead_s: float = 0.0

    def run_trials(self) -> None:
        """Trials up to the number and the time that the space allows, beside other workers; one at least.

        All are of one price, kept with the study, so that those of an earlier run compare.
        """
        study, space = self.study, self.study.space
        price = study.remembered("price_ms") or self._first_price()
        study.remember("price_ms", price)
        self.progress.phase("trials: what to keep, without training")
        if not study.handle.trials:
            for choices in (study.neutral(), *self._probed(price)):
                study.enqueue(choices)
        if space.task in list_tasks():
            # A model of the caller's own exists in this process only: there is nothing to hand out.
            post_job(study.handle, search_job(space, self.evaluator, self.prices, price))
        begun, slowest = time.monotonic(), 0.0
        self.overhead_s -= begun

        def stop() -> bool:
            late = time.monotonic() + slowest > self.clock.at(TRIALS_UNTIL)
            return late and bool(study.trials())

        def told(trial: "optuna.trial.FrozenTrial") -> None:
            nonlocal begun, slowest
            begun, slowest = time.monotonic(), max(slowest, time.monotonic() - begun)
            best = study.best()
            self.progress.candidate(finished(trial).candidate(), best[0].candidate() if best else None)

        def objective(trial: "optuna.trial.Trial") -> float:
            started = time.monotonic()
            try:
                return evaluate_trial(trial, space, self.evaluator, price).quality
            finally:
                self.overhead_s -= time.monotonic() - started

        work(study.handle, objective, space.effort.trials, on_trial=told, stop=stop, reseed=False)
        self.overhead_s += time.monotonic()

    def _probed(self, price: float) -> tuple[Choices, ...]:
        """What to try next, from what each group of gates alone does to the model; trials draw around it."""
        if self.study.space.effort.trials < 2 or time.monotonic() > self.clock.at(TRIALS_UNTIL):
            return ()
        found = probe(self.evaluator, self.study.neutral(), price)
        self.progress.note(f"  what a loss of each group is worth: {found}")
        first, *others = found.to_try()
        self.study.remember(KNOWN, dict(first.weight))
        return first, *others

    def _first_price(self) -> float:
        """What layers may take, learned from a plan that meets the budget: trials should compare such plans."""
        self.progress.phase("a first plan, compiled and measured until it meets the budget")
        wanted_ms = self.wanted * self.fitter.budget.ms
        fitted = self.fitter.fit(self.study.neutral(), wanted_ms, rounds=_FIRST_ROUNDS)
        self.progress.note(f"  {fitted.latency}, {fitted.load / self.wanted:.3f} of the budget")
        return self.fitter.price(wanted_ms, [self.fitter.point(fitted)])

    def restore(self) -> None:
        """Take up the finalists that an earlier run of the study has kept, and what their latencies tell of prices."""
        trials = {trial.number: trial for trial in self.study.trials()}
        for data in self.study.remembered(_KEPT) or ():
            finalist = Finalist.from_json(data, self.evaluator.menu, trials)
            if finalist is not None:
                self.finalists.append(finalist)
                self.fitter.know(finalist.fitted)

    def run_finalists(self) -> None:
        """The best trials, fitted to the budget; where that works with none of them, the first with which it does."""
        self.progress.phase("finalists: fitted to the budget, measured, trained briefly")
        best, count = self.study.best(len(self.study.trials())), self.study.space.effort.finalists
        self._fit_all([(trial, self.wanted) for trial in best[:count]], FINALISTS_UNTIL)
        for trial in best[count:]:
            if self.winner() is not None or time.monotonic() > self.clock.at(FINALISTS_UNTIL):
                break
            self.fit(trial, self.wanted)

    def run_sweep(self) -> None:
        """Budgets around the wanted one, with the choices of the best finalist, for the Pareto front."""
        self.progress.phase("sweep: budgets around the chosen one")
        winner = self.winner()
        if winner is None:
            return
        points = [point for point in self.study.space.effort.sweep if point != 1.0]
        self._fit_all([(winner.trial, point * self.wanted) for point in points], SWEEP_UNTIL)

    def winner(self) -> Finalist | None:
        """Of the finalists that meet the budget the best of those trained the most; the quickest where none does."""
        found = [finalist for finalist in self.finalists if finalist.wanted == self.wanted]
        quick = [finalist for finalist in found if finalist.fast_enough]
        if quick:
            return max(quick, key=lambda finalist: (len(finalist.qualities), finalist.quality))
        return min(found, key=lambda finalist: finalist.fitted.load) if found else None

    def _fit_all(self, wanted: list[tuple[Trial, float]], until: float) -> None:
        slowest, known = 0.0, {(found.trial.number, found.wanted) for found in self.finalists}
        for place, (trial, ratio) in enumerate(wanted):
            if (trial.number, ratio) in known:
                continue
            begun = time.monotonic()
            if place and begun + slowest > self.clock.at(until):
                return
            self.fit(trial, ratio)
            slowest = max(slowest, time.monotonic() - begun)

    def fit(self, trial: Trial, ratio: float) -> Finalist | None:
        """A finalist that takes that share of the budget; None, and a failure, where there is none."""
        budget = self.fitter.budget.ms
        try:
            fitted = self.fitter.fit(trial.choices, ratio * budget)
            same = (item for item in self.finalists if item.fitted.structure == fitted.structure)
            known = next(same, None)
            qualities = known.qualities if known else (self.brief.train(fitted, 0),)
        except L0CompileError as error:
            failed = Candidate(trial.number, trial.choices.to_params(), "failed", error=str(error))
            self.failures.append(failed)
            self.progress.candidate(failed, None)
            return None
        found = Finalist(trial, fitted, qualities, ratio)
        self.finalists.append(found)
        self._tell(found)
        return found

    def train_on(self, finalist: Finalist) -> Finalist:
        """A finalist after one round more of brief training, in its place."""
        quality = self.brief.train(finalist.fitted, len(finalist.qualities))
        found = replace(finalist, qualities=(*finalist.qualities, quality))
        self.finalists[self.finalists.index(finalist)] = found
        self._tell(found)
        return found

    @property
    def brief(self) -> BriefTraining:
        """The trainings of finalists."""
        return BriefTraining(self.evaluator, self.fitter.bench.trainings)

    def _tell(self, found: Finalist) -> None:
        self.study.remember(_KEPT, [finalist.to_json() for finalist in self.finalists])
        budget, winner = self.fitter.budget.ms, self.winner()
        self.progress.candidate(found.candidate(budget), winner.candidate(budget) if winner else None)
