"""The phases of a search: trials without training, then finalists and a sweep of budgets, fitted to a latency."""

import time
from dataclasses import dataclass, field, replace
from math import inf, log
from typing import TYPE_CHECKING

from l0compile.errors import L0CompileError
from l0compile.pruning.prices import Pricing
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.fit.brief import BriefTraining
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, LOWEST, ROUNDS, Fitter
from l0compile.studies.fit.probe import probe
from l0compile.studies.result import Candidate, collapsed
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.draw import KNOWN, evaluate_trial
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import Progress
from l0compile.studies.study.study import Study, Trial, finished
from l0compile.studies.workers.jobs import post_job
from l0compile.studies.workers.search_job import search_job
from l0compile.studies.workers.worker import work
from l0compile.tasks import list_tasks

if TYPE_CHECKING:
    import optuna

# Shares of the time between set-up and the final table at whose end the first plan, the trials, the finalists and then
# the sweep have to leave room for the winner.
FIRST_UNTIL, TRIALS_UNTIL, FINALISTS_UNTIL, SWEEP_UNTIL = 0.2, 0.4, 0.65, 0.75
# Models compiled to learn the price of a plan that meets the budget, before any trial, and how closely it has to: the
# line through it tells the rest.
_FIRST_ROUNDS, _FIRST_BAND = 4, (0.88, 1.06)
# Models compiled for a point of the sweep, and how close to its budget that has to be: any point tells of the front.
_SWEEP_ROUNDS, _SWEEP_BAND = 2, (0.85, HIGHEST)
_KEPT = "finalists"


@dataclass
class Exploration:
    """Runs the phases.

    wanted: the latency aimed at over the budget. dense: quality of the dense model on validation data. finalists: as
    they were fitted; failures: of those that could not be. overhead_s: what choosing and recording trials took, beside
    evaluating them.
    """

    study: Study
    evaluator: Evaluator
    fitter: Fitter
    prices: Pricing
    clock: Clock
    progress: Progress
    wanted: float = 1.0
    dense: float | None = None
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
        begun, slowest, until = time.monotonic(), 0.0, self.clock.until(TRIALS_UNTIL)
        self.overhead_s -= begun

        def stop() -> bool:
            late = time.monotonic() + slowest > until
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
        until = self.clock.until(FIRST_UNTIL)
        fitted = self.fitter.fit(
            self.study.neutral(), wanted_ms, _FIRST_ROUNDS, band=_FIRST_BAND, until=until
        )
        self.progress.note(f"  {fitted.latency}, {fitted.load / self.wanted:.3f} of the budget")
        if _FIRST_BAND[0] <= fitted.load / self.wanted <= _FIRST_BAND[1]:
            return self.fitter.price(wanted_ms, [self.fitter.point(fitted)])
        # No plan takes about that long: where latency jumps, trials are of the plan nearest to the jump.
        known = self.fitter.measured.values()
        return min(known, key=lambda other: abs(log(other.load / self.wanted))).plan.ms

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
        until = self.clock.until(FINALISTS_UNTIL)
        self._fit_all([(trial, self.wanted) for trial in best[:count]], until)
        for trial in best[count:]:
            if self.winner() is not None or time.monotonic() > until:
                break
            self.fit(trial, self.wanted, until)
        self._go_on_where_quality_collapsed()

    def _go_on_where_quality_collapsed(self) -> None:
        """Look on between what is too quick and what is too slow, as long as there is time before the final table:
        training would not bring such a model back."""
        winner = self.winner()
        if winner is not None and self.dense is not None and collapsed(winner.quality, self.dense):
            self.progress.note("  its quality has collapsed: looking on between that and what is too slow")
            self.fit(winner.trial, self.wanted, self.clock.at(1.0))

    def run_sweep(self) -> None:
        """Budgets around the wanted one, with the choices of the best finalist, for the Pareto front.

        What the fits before have measured near one of them is not built again.
        """
        self.progress.phase("sweep: budgets around the chosen one")
        winner = self.winner()
        if winner is None:
            return
        points = [point for point in self.study.space.effort.sweep if point != 1.0]
        wanted = [(winner.trial, point * self.wanted) for point in points]
        self._fit_all(wanted, self.clock.until(SWEEP_UNTIL), _SWEEP_ROUNDS, _SWEEP_BAND)

    def winner(self) -> Finalist | None:
        """The best of everything that was measured within the budget, whatever budget it was made for; the quickest
        where nothing was.

        Under a floor of quality every budget is one of its own.
        """
        floor = self.study.space.quality is not None
        found = [finalist for finalist in self.finalists if finalist.wanted == self.wanted or not floor]
        quick = [finalist for finalist in found if finalist.fitted.load <= HIGHEST * self.wanted]
        if quick:
            return max(quick, key=lambda finalist: (finalist.quality, -finalist.fitted.load))
        return min(found, key=lambda finalist: finalist.fitted.load) if found else None

    def budget_of(self, finalist: Finalist) -> float:
        """What a chosen finalist has to keep to, over the fitter's budget: under a floor of quality each its own."""
        return self.wanted if self.study.space.quality is None else finalist.wanted

    def _fit_all(
        self,
        wanted: list[tuple[Trial, float]],
        until: float,
        rounds: int = ROUNDS,
        band: tuple[float, float] = (LOWEST, HIGHEST),
    ) -> None:
        slowest, known = 0.0, {(found.trial.number, found.wanted) for found in self.finalists}
        for place, (trial, ratio) in enumerate(wanted):
            if (trial.number, ratio) in known:
                continue
            begun = time.monotonic()
            if place and begun + slowest > until:
                return
            self.fit(trial, ratio, until, rounds, band)
            slowest = max(slowest, time.monotonic() - begun)

    def fit(
        self,
        trial: Trial,
        ratio: float,
        until: float = inf,
        rounds: int = ROUNDS,
        band: tuple[float, float] = (LOWEST, HIGHEST),
    ) -> Finalist | None:
        """A finalist that takes that share of the budget; None, and a failure, where there is none.

        until, rounds, band: as of ``Fitter.fit``.
        """
        budget = self.fitter.budget.ms
        try:
            fitted = self.fitter.fit(trial.choices, ratio * budget, rounds, band=band, until=until)
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
