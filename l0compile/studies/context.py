"""What the phases of a search share, and what they hand on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from l0compile.hardware.targets import Target
from l0compile.studies.bench.bench import Bench
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.brief import BriefTraining
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.finalist import Finalist, Winner
from l0compile.studies.fit.fit import Fitter
from l0compile.studies.pruning.prices import Pricing
from l0compile.studies.result import Candidate, SearchResult
from l0compile.studies.space.space import Space
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import SearchProgress
from l0compile.studies.study.state import StudyState
from l0compile.studies.study.study import STUDY, Study
from l0compile.tasks import Task, Team


@dataclass(frozen=True)
class SearchOptions:
    """Where a search runs and what it leaves behind.

    out: its folder. target: what to compile for. device: where models are timed, as in `Bench`. text: folder of text
    instead of the task's own. resume: continue the study that is there. storage: URL of the study's storage; None: a
    file in ``out``. study: its name there. team: the processes that train.
    """

    out: Path
    target: Target
    device: str | None = None
    text: Path | None = None
    resume: bool = False
    storage: str | None = None
    study: str = STUDY
    team: Team | None = None


@dataclass(frozen=True)
class SearchContext:
    """Everything that the phases of a search share.

    study: holds the space, the trials and what survives a kill. evaluator: makes candidates, with the task and the
    pruned layers. fitter: compiles and measures them on the device. prices: predict what layers take. clock: limits
    the phases. progress: hears of every step. options: where the search runs. dense_quality: of the dense model on
    validation data.
    """

    study: Study
    evaluator: Evaluator
    fitter: Fitter
    prices: Pricing
    clock: Clock
    progress: SearchProgress
    options: SearchOptions
    dense_quality: float | None = None

    @property
    def space(self) -> Space:
        """The search space."""
        return self.study.space

    @property
    def task(self) -> Task:
        """The model and its data."""
        return self.evaluator.task

    @property
    def bench(self) -> Bench:
        """Where models are timed."""
        return self.fitter.bench

    @property
    def budget(self) -> DeviceBudget:
        """The latency budget on this machine."""
        return self.fitter.budget

    @property
    def brief(self) -> BriefTraining:
        """The brief trainings of finalists."""
        return BriefTraining(self.evaluator, self.bench.trainings)


@dataclass(frozen=True)
class SearchState:
    """What the phases of a search have found so far.

    kept: the part that is on file, see `remember`. finalists: in the order they were fitted. failures: candidates
    that could not be fitted. overhead_s: seconds of choosing and recording trials, beside evaluating them. winner:
    the chosen finalist after its training. result: what the search leaves behind.
    """

    kept: StudyState
    finalists: tuple[Finalist, ...] = ()
    failures: tuple[Candidate, ...] = ()
    overhead_s: float = 0.0
    winner: Winner | None = None
    result: SearchResult | None = None

    @property
    def wanted(self) -> float:
        """The latency aimed at, over the budget: less than 1 under a quality target only."""
        return self.kept.share or 1.0


Phase = Callable[[SearchContext, SearchState], SearchState]
"""One step of a search. It reports to ``context.progress`` and keeps with the study what must survive a kill."""


def remember(context: SearchContext, state: SearchState, kept: StudyState) -> SearchState:
    """Keep ``kept`` with the study, and return the state with it."""
    context.study.keep(kept)
    return replace(state, kept=kept)
