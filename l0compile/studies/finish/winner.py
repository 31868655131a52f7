"""Train the chosen finalist with the rest of the time: its zeros first, if the space says so, then its weights.

Narrow layers come last: the trained model is rounded, and trained on with its rounding and its zeros in place.
"""

import copy
import time
from dataclasses import replace

from torch import nn

from l0compile.errors import L0CompileError
from l0compile.studies.context import SearchContext, SearchState
from l0compile.studies.explore.finalists import with_finalist
from l0compile.studies.fit.finalist import Finalist, Winner
from l0compile.studies.fit.fit import Fitted
from l0compile.studies.result import Candidate
from l0compile.studies.train.gates import fit_gates, train_gates
from l0compile.studies.train.stages import EARLY, fit_last_stage, train_in_stages

# The winner's gates become constants after this share of its time.
GATES_UNTIL = 0.5
# The share of its time and steps that a winner with narrow layers trains after it was rounded. A step with rounding
# takes 2.5 times as long: MiniLM with 79 % of its blocks has 0.9658 after 80 steps in float32 and 20 with rounding, and
# 0.9652 after 80 with rounding, in twice the time.
ROUNDED = 0.2
# Rows of a layer's input from which the winner's scales are chosen, and by which roundings make up for each other.
_SAMPLES = 2048


def train_winner(
    context: SearchContext, state: SearchState, finalist: Finalist, deadline: float
) -> tuple[SearchState, Winner]:
    """Train a finalist until ``deadline``.

    Returns:
        The state, in which the finalist may have other zeros than before, and the trained model.
    """
    training, share, chosen = context.space.training, 1.0, None
    if training.gate_steps:
        state, chosen = _with_trained_gates(context, state, finalist, deadline)
    elif training.stages > 1:
        share = 1.0 - EARLY
        state, chosen = _in_stages(context, state, finalist, deadline)
    if chosen is None:
        chosen = Winner(finalist, context.brief.model(finalist.fitted), {})
    steps, now = round(share * training.tune_steps), time.monotonic()
    if not context.space.narrow:
        return state, _with_trained_weights(context, chosen, steps, deadline)
    until = now + (1 - ROUNDED) * (deadline - now)
    chosen = _with_trained_weights(context, chosen, round((1 - ROUNDED) * steps), until)
    return state, _rounded(context, chosen, round(ROUNDED * steps), deadline)


def _with_trained_weights(context: SearchContext, chosen: Winner, steps: int, deadline: float) -> Winner:
    """Train the weights, and undo that if it makes the model worse."""
    schedule = context.space.training.schedule(steps, context.space.effort.seed + 2)
    trained = copy.deepcopy(chosen.model)
    history = context.evaluator.train(trained, schedule, deadline=deadline, kept=context.bench.trainings)
    if _is_better(context, trained, chosen.model):
        return replace(chosen, model=trained, history={**chosen.history, "weights": history})
    return replace(chosen, history={**chosen.history, "weights (undone)": history})


def _rounded(context: SearchContext, chosen: Winner, steps: int, deadline: float) -> Winner:
    """Give the layers their precisions, and train on with rounding in place, unless that makes the model worse."""
    evaluator, fitted = context.evaluator, chosen.finalist.fitted
    model = evaluator.rounded(chosen.model, fitted.allocation, "compensated", _SAMPLES)
    schedule = context.space.training.schedule(steps, context.space.effort.seed + 3)
    trained = copy.deepcopy(model)
    history = evaluator.train(
        trained, schedule, deadline=deadline, kept=context.bench.trainings, name=f"{fitted.structure}-rounded"
    )
    if _is_better(context, trained, model):
        return replace(chosen, rounded=trained, history={**chosen.history, "rounded weights": history})
    return replace(chosen, rounded=model, history={**chosen.history, "rounded weights (undone)": history})


def _is_better(context: SearchContext, trained: nn.Module, model: nn.Module) -> bool:
    """Whether training has made a model no worse; warn if it has not."""
    before, after = (context.task.quality(each, "validation") for each in (model, trained))
    if after < before:
        context.progress.note(
            f"  WARNING: training made it worse ({before:.4f} to {after:.4f}) and is undone: lower weight_rate, or "
            "train for longer"
        )
    return after >= before


def _with_trained_gates(
    context: SearchContext, state: SearchState, finalist: Finalist, deadline: float
) -> tuple[SearchState, Winner | None]:
    """Train the gates; no winner if they don't meet the budget."""
    training, now = context.space.training, time.monotonic()
    schedule = training.schedule(training.gate_steps, context.space.effort.seed + 1)
    until = now + GATES_UNTIL * (deadline - now)
    trained = train_gates(context.evaluator, finalist.fitted, context.prices, schedule, until)
    fitted = fit_gates(trained, context.fitter, finalist.fitted, finalist.wanted * context.budget.ms)
    if fitted is None:
        return _failed(context, state, finalist, "trained gates did not meet the budget"), None
    state, found = _changed(context, state, finalist, fitted, trained.model)
    return state, Winner(found, trained.model, {"gates": trained.history})


def _in_stages(
    context: SearchContext, state: SearchState, finalist: Finalist, deadline: float
) -> tuple[SearchState, Winner | None]:
    """Prune in stages; no winner if the last stage fails or misses the budget."""
    staged = train_in_stages(context, finalist.fitted, deadline)
    try:
        fitted = fit_last_stage(context, staged, finalist)
    except L0CompileError as error:
        return _failed(context, state, finalist, f"the last stage failed: {error}"), None
    if finalist.fast_enough and not replace(finalist, fitted=fitted).fast_enough:
        return _failed(context, state, finalist, "the last stage did not meet the budget"), None
    model = staged.evaluator.realised(fitted.allocation)
    staged.evaluator.solve(model)
    state, found = _changed(context, state, finalist, fitted, model)
    return state, Winner(found, model, staged.history)


def _failed(context: SearchContext, state: SearchState, finalist: Finalist, reason: str) -> SearchState:
    """Report why the finalist keeps the zeros of its first allocation, and keep that for the result."""
    params = finalist.trial.choices.to_params()
    context.progress.note(f"  WARNING: {reason}: going on with the first allocation")
    failed = Candidate(finalist.trial.number, params, "failed", error=reason)
    return replace(state, failures=(*state.failures, failed))


def _changed(
    context: SearchContext, state: SearchState, finalist: Finalist, fitted: Fitted, model: nn.Module
) -> tuple[SearchState, Finalist]:
    """Replace the finalist by one with the zeros of ``fitted``, whose quality is that of ``model``."""
    quality = context.evaluator.quality(model, fitted.allocation)
    found = replace(finalist, fitted=fitted, qualities=(quality,))
    return with_finalist(state, finalist, found), found
