"""The chosen finalist with the rest of the time: its zeros in stages or by gates, where asked for, then its weights."""

import copy
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from l0compile.errors import L0CompileError
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.fit.fit import Fitted
from l0compile.studies.result import Candidate
from l0compile.studies.train.gates import fit_gates, train_gates
from l0compile.studies.train.stages import EARLY, fit_last_stage, train_in_stages
from l0compile.tasks import Trained

# Share of the winner's time after which its gates are constants.
GATES_UNTIL = 0.5


@dataclass(frozen=True)
class Winner:
    """The finalist that is chosen, trained. history: of its trainings, by what was trained."""

    finalist: Finalist
    model: nn.Module
    history: Mapping[str, Trained]


def train_winner(exploration: Exploration, finalist: Finalist, deadline: float) -> Winner:
    """A finalist trained until `deadline` at the latest: its zeros, as the space says, then its weights alone."""
    evaluator, space = exploration.evaluator, exploration.study.space
    plan, chosen, share = space.training, None, 1.0
    if plan.gate_steps:
        chosen = _with_trained_gates(exploration, finalist, deadline)
    elif plan.stages > 1:
        chosen, share = _in_stages(exploration, finalist, deadline), 1.0 - EARLY
    if chosen is None:
        chosen = Winner(finalist, exploration.brief.model(finalist.fitted), {})
    schedule = plan.schedule(round(share * plan.tune_steps), space.effort.seed + 2)
    kept = exploration.fitter.bench.trainings
    trained = copy.deepcopy(chosen.model)
    history = evaluator.train(trained, schedule, deadline=deadline, kept=kept)
    before, after = (evaluator.task.quality(model, "validation") for model in (chosen.model, trained))
    if after >= before:
        return dataclasses.replace(chosen, model=trained, history={**chosen.history, "weights": history})
    exploration.progress.note(
        f"  WARNING: training made it worse ({before:.4f} to {after:.4f}) and is undone: lower weight_rate, or train "
        "for longer"
    )
    return dataclasses.replace(chosen, history={**chosen.history, "weights (undone)": history})


def _with_trained_gates(exploration: Exploration, finalist: Finalist, deadline: float) -> Winner | None:
    """None where what came of it does not meet the budget."""
    evaluator, fitter, plan = exploration.evaluator, exploration.fitter, exploration.study.space.training
    now = time.monotonic()
    schedule = plan.schedule(plan.gate_steps, exploration.study.space.effort.seed + 1)
    trained = train_gates(
        evaluator, finalist.fitted, exploration.prices, schedule, now + GATES_UNTIL * (deadline - now)
    )
    fitted = fit_gates(trained, fitter, finalist.fitted, finalist.wanted * fitter.budget.ms)
    if fitted is None:
        _first_plan(exploration, finalist, "trained gates did not meet the budget")
        return None
    found = _changed(exploration, finalist, fitted, trained.model)
    return Winner(found, trained.model, {"gates": trained.history})


def _in_stages(exploration: Exploration, finalist: Finalist, deadline: float) -> Winner | None:
    """None where there is no plan of the last stage, or it does not meet the budget."""
    staged = train_in_stages(exploration, finalist.fitted, deadline)
    try:
        fitted = fit_last_stage(exploration, staged, finalist)
    except L0CompileError as error:
        _first_plan(exploration, finalist, f"the last stage failed: {error}")
        return None
    if finalist.fast_enough and not dataclasses.replace(finalist, fitted=fitted).fast_enough:
        _first_plan(exploration, finalist, "the last stage did not meet the budget")
        return None
    model = staged.evaluator.realised(fitted.plan)
    staged.evaluator.solve(model)
    return Winner(_changed(exploration, finalist, fitted, model), model, staged.history)


def _first_plan(exploration: Exploration, finalist: Finalist, reason: str) -> None:
    """Tell, and keep with the result, why the zeros stay those of the finalist's plan."""
    params = finalist.trial.choices.to_params()
    exploration.failures.append(Candidate(finalist.trial.number, params, "failed", error=reason))
    exploration.progress.note(f"  WARNING: {reason}: going on with the first plan")


def _changed(exploration: Exploration, finalist: Finalist, fitted: Fitted, model: nn.Module) -> Finalist:
    """The finalist with other zeros than those that its quality was found with, in its place."""
    quality = exploration.evaluator.task.quality(model, "validation")
    found = dataclasses.replace(finalist, fitted=fitted, qualities=(quality,))
    exploration.finalists[exploration.finalists.index(finalist)] = found
    return found
