"""A search whose phases a test runs one by one."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instant import FormulaFitter

from l0compile.hardware.targets import load_target
from l0compile.studies.context import Phase, SearchContext, SearchOptions, SearchState
from l0compile.studies.explore.finalists import best_finalist
from l0compile.studies.explore.price import choose_price
from l0compile.studies.explore.trials import run_trials
from l0compile.studies.fit.finalist import Finalist
from l0compile.studies.pruning.prices import Prices
from l0compile.studies.result import Candidate
from l0compile.studies.space.space import Effort
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import SearchProgress, Silent
from l0compile.studies.study.study import open_study
from l0compile.studies.study.trial import Trial
from l0compile.studies.workers.worker import DRAWS

TRIALS = (choose_price, run_trials)
FINALISTS = Effort().finalists


class Told(Silent):
    def __init__(self) -> None:
        self.candidates: list[tuple[Candidate, Candidate | None]] = []

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        self.candidates.append((candidate, best))


@dataclass
class Driven:
    """The context of a search, and its state after the phases that were run."""

    context: SearchContext
    state: SearchState

    def run(self, *phases: Phase) -> None:
        for phase in phases:
            self.state = phase(self.context, self.state)

    def change(self, **fields: Any) -> None:
        """Replace fields of the context."""
        self.context = dataclasses.replace(self.context, **fields)

    @property
    def finalists(self) -> tuple[Finalist, ...]:
        return self.state.finalists

    @finalists.setter
    def finalists(self, found: tuple[Finalist, ...]) -> None:
        self.state = dataclasses.replace(self.state, finalists=tuple(found))

    @property
    def failures(self) -> tuple[Candidate, ...]:
        return self.state.failures

    @property
    def best(self) -> Finalist:
        found = best_finalist(self.context.space, self.state)
        assert found is not None
        return found


def driven(
    fitter: FormulaFitter, out: Path, *, seconds: float = 3600.0, resume: bool = False,
    progress: SearchProgress | None = None, **changes: Any,
) -> Driven:  # fmt: skip
    """A search with the space of ``fitter``; changes: of the space."""
    space = dataclasses.replace(fitter.evaluator.space, **changes)
    study = open_study(space, out, resume=resume, conditions="here")
    target, clock = load_target("native"), Clock(time.monotonic(), seconds)
    options = SearchOptions(out, target, resume=resume)
    prices, progress = Prices(target, None), progress or Silent()
    context = SearchContext(study, fitter.evaluator, fitter, prices, clock, progress, options)
    return Driven(context, SearchState(study.state))


def searching(
    fitter: FormulaFitter, out: Path, trials: int, seconds: float = 3600, resume: bool = False,
    sweep: tuple[float, ...] = (1.0,), finalists: int = FINALISTS,
) -> Driven:  # fmt: skip
    effort = dataclasses.replace(
        fitter.evaluator.space.effort, trials=trials, sweep=sweep, finalists=finalists
    )
    return driven(fitter, out, seconds=seconds, resume=resume, progress=Told(), effort=effort)


def enough(trials: Sequence[Trial], wanted: int) -> bool:
    """Whether trials end as soon as so many different models were evaluated, or at the most draws that are made."""
    structures = [trial.outcome.structure for trial in trials if trial.outcome]
    ended = len(set(structures)) == wanted and structures[-1] not in structures[:-1]
    return len(structures) == len(trials) and (ended or len(trials) == DRAWS * wanted)
