"""Finalists: candidates that are fitted to a latency, measured and trained briefly."""

import time
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from l0compile.errors import L0CompileError
from l0compile.studies.context import SearchContext, SearchState, remember
from l0compile.studies.fit.finalist import Finalist, finalist_of
from l0compile.studies.fit.fit import HIGHEST, LOWEST, ROUNDS
from l0compile.studies.result import Candidate, collapsed
from l0compile.studies.space.space import Space
from l0compile.studies.study.trial import Trial

# Finalists and the sweep have to leave room for the winner by these shares of the time between set-up and final table.
FINALISTS_UNTIL, SWEEP_UNTIL = 0.65, 0.75
# Models compiled for a point of the sweep, and how close to its budget that has to be: any point tells of the front.
_SWEEP_ROUNDS, _SWEEP_BAND = 2, (0.85, HIGHEST)


def restore_finalists(context: SearchContext, state: SearchState) -> SearchState:
    """Restore the finalists of an earlier run of the study, and what their latencies say about prices."""
    trials = {trial.number: trial for trial in context.study.trials()}
    records = (finalist_of(record, context.evaluator.menu, trials) for record in state.kept.finalists)
    found = tuple(finalist for finalist in records if finalist is not None)
    for finalist in found:
        context.fitter.know(finalist.fitted)
    return replace(state, finalists=(*state.finalists, *found))


def fit_finalists(context: SearchContext, state: SearchState) -> SearchState:
    """Fit the best trials to the budget; if that works with none of them, go on until it works with one."""
    how = "predicted" if context.bench.predicts else "measured"
    context.progress.phase(f"finalists: fitted to the budget, {how}, trained briefly")
    best, count = context.study.best(len(context.study.trials())), context.space.effort.finalists
    until = context.clock.until(FINALISTS_UNTIL)
    state = _fit_all(context, state, [(trial, state.wanted) for trial in best[:count]], until)
    for trial in best[count:]:
        if best_finalist(context.space, state) is not None or time.monotonic() > until:
            break
        state, _ = fit_finalist(context, state, trial, state.wanted, until)
    return _fit_again_if_collapsed(context, state)


def sweep_budgets(context: SearchContext, state: SearchState) -> SearchState:
    """Fit the best finalist's choices to the budgets around the wanted one, for the Pareto front.

    A model that was measured near one of them is not built again.
    """
    context.progress.phase("sweep: budgets around the chosen one")
    best = best_finalist(context.space, state)
    if best is None:
        return state
    points = [point for point in context.space.effort.sweep if point != 1.0]
    wanted = [(best.trial, point * state.wanted) for point in points]
    return _fit_all(context, state, wanted, context.clock.until(SWEEP_UNTIL), _SWEEP_ROUNDS, _SWEEP_BAND)


def best_finalist(space: Space, state: SearchState) -> Finalist | None:
    """Return the best finalist within the budget, whatever budget it was made for; the fastest if none is within it.

    Under a quality target, only finalists made for the wanted budget count.
    """
    found = [each for each in state.finalists if each.wanted == state.wanted or space.quality is None]
    fast = [each for each in found if each.fitted.load <= HIGHEST * state.wanted]
    if fast:
        return max(fast, key=lambda each: (each.quality, -each.fitted.load))
    return min(found, key=lambda each: each.fitted.load) if found else None


def fit_finalist(
    context: SearchContext,
    state: SearchState,
    trial: Trial,
    wanted: float,
    until: float = inf,
    rounds: int = ROUNDS,
    band: tuple[float, float] = (LOWEST, HIGHEST),
) -> tuple[SearchState, Finalist | None]:
    """Fit a trial to a budget.

    Args:
        context: of the search.
        state: so far.
        trial: whose choices to fit.
        wanted: the latency to keep, over the search's budget.
        until: as in ``Fitter.fit``.
        rounds: as in ``Fitter.fit``.
        band: as in ``Fitter.fit``.

    Returns:
        The state with one more finalist, or with one more failure, and the finalist, or None.
    """
    try:
        fitted = context.fitter.fit(trial.choices, wanted * context.budget.ms, rounds, band=band, until=until)
        same = (item for item in state.finalists if item.fitted.structure == fitted.structure)
        known = next(same, None)
        qualities = known.qualities if known else (context.brief.train(fitted, 0),)
    except L0CompileError as error:
        failed = Candidate(trial.number, trial.choices.to_params(), "failed", error=str(error))
        context.progress.candidate(failed, None)
        return replace(state, failures=(*state.failures, failed)), None
    finalist = Finalist(trial, fitted, qualities, wanted)
    return _told(context, replace(state, finalists=(*state.finalists, finalist)), finalist), finalist


def train_finalist(
    context: SearchContext, state: SearchState, finalist: Finalist
) -> tuple[SearchState, Finalist]:
    """Train a finalist for one more round."""
    quality = context.brief.train(finalist.fitted, len(finalist.qualities))
    found = replace(finalist, qualities=(*finalist.qualities, quality))
    return _told(context, with_finalist(state, finalist, found), found), found


def with_finalist(state: SearchState, old: Finalist, new: Finalist) -> SearchState:
    """Return the state with ``new`` in the place of ``old``."""
    place = state.finalists.index(old)
    return replace(state, finalists=(*state.finalists[:place], new, *state.finalists[place + 1 :]))


def _fit_again_if_collapsed(context: SearchContext, state: SearchState) -> SearchState:
    """If the best finalist's quality has collapsed, spend the rest of the time on fitting it more closely.

    Training would not bring such a model back.
    """
    best = best_finalist(context.space, state)
    if best is None or context.dense_quality is None or not collapsed(best.quality, context.dense_quality):
        return state
    context.progress.note(
        "  its quality has collapsed: trying budgets between this model and one that is too slow"
    )
    state, _ = fit_finalist(context, state, best.trial, state.wanted, context.clock.at(1.0))
    return state


def _fit_all(
    context: SearchContext,
    state: SearchState,
    wanted: Sequence[tuple[Trial, float]],
    until: float,
    rounds: int = ROUNDS,
    band: tuple[float, float] = (LOWEST, HIGHEST),
) -> SearchState:
    """Fit trials to budgets that are not yet known: at least one, and no more than the time allows."""
    slowest, known = 0.0, {(found.trial.number, found.wanted) for found in state.finalists}
    for place, (trial, ratio) in enumerate(wanted):
        if (trial.number, ratio) in known:
            continue
        begun = time.monotonic()
        if place and begun + slowest > until:
            break
        state, _ = fit_finalist(context, state, trial, ratio, until, rounds, band)
        slowest = max(slowest, time.monotonic() - begun)
    return state


def _told(context: SearchContext, state: SearchState, finalist: Finalist) -> SearchState:
    """Keep the finalists with the study, and report one of them."""
    records = tuple(each.record() for each in state.finalists)
    state = remember(context, state, replace(state.kept, finalists=records))
    budget, best = context.budget.ms, best_finalist(context.space, state)
    context.progress.candidate(finalist.candidate(budget), best.candidate(budget) if best else None)
    return state
