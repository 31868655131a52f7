"""Zeros in stages: some of them, training, and the next from what the model has become.

What a layer can lose without harm is known near the model that it was measured on, and a model with a sixth of its
weights is far from the dense one. Between them training moves the weights to where the zeros so far do least harm, and
there every layer is measured and pruned anew (gradual pruning: Zhu and Gupta, ICLR 2018 workshop; with second-order
losses: Kurtic et al., EMNLP 2022).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from l0compile.gates import dense_weight
from l0compile.pruning.masks import gated_layers, live_mask
from l0compile.pruning.plan import Plan
from l0compile.pruning.prices import Pricing
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import Fitted
from l0compile.tasks import Trained

# Share of the winner's time, and of its steps, that all stages before the last take together.
EARLY = 0.35


@dataclass(frozen=True)
class Staged:
    """evaluator: of plans for the model as the last stage left it. history: of the trainings so far."""

    evaluator: Evaluator
    history: Mapping[str, Trained]


def train_in_stages(exploration: Exploration, fitted: Fitted, deadline: float) -> Staged:
    """All stages but the last one, of a winner that is to be ready at ``deadline``.

    Layers keep the block shape that the plan of their first stage gives them. Prices fall by the same factor at each
    stage, from that of the dense model to that of ``fitted``.
    """
    evaluator, space = exploration.evaluator, exploration.study.space
    early, begun = space.training.stages - 1, time.monotonic()
    dense_ms, history = evaluator.menu.dense_ms, {}
    for stage in range(1, space.training.stages):
        exploration.progress.note(f"  stage {stage} of {early + 1}")
        price = dense_ms * (fitted.plan.ms / dense_ms) ** (stage / (early + 1))
        plan = evaluator.plan(fitted.choices, price)
        model = evaluator.realised(plan)
        evaluator.solve(model)
        steps = round(EARLY * space.training.tune_steps / early)
        schedule = space.training.schedule(steps, space.effort.seed + 2 + stage)
        history[f"stage {stage}"] = evaluator.train(
            model,
            schedule,
            deadline=begun + EARLY * stage / early * (deadline - begun),
            kept=exploration.fitter.bench.trainings,
        )
        evaluator = onwards(evaluator, model, plan, exploration.prices)
    return Staged(evaluator, history)


def fit_last_stage(exploration: Exploration, staged: Staged, finalist: Finalist) -> Fitted:
    """The last plan, from what the stages before have left, fitted to the finalist's latency.

    A search that goes on takes the one that it found before, so that the training of its zeros can go on as well.
    Raises a L0CompileError where no plan can be built.
    """
    study, fitter = exploration.study, exploration.fitter
    key = f"last stage at {finalist.wanted:.6f} of trial {finalist.trial.number}"
    trials = {finalist.trial.number: finalist.trial}
    if data := study.remembered(key):
        before = Finalist.from_json(data, staged.evaluator.menu, trials)
        if before is not None:
            return before.fitted
    again = replace(fitter, evaluator=staged.evaluator, measured={})
    fitted = again.fit(finalist.fitted.choices, finalist.wanted * fitter.budget.ms)
    study.remember(key, replace(finalist, fitted=fitted).to_json())
    return fitted


def onwards(evaluator: Evaluator, model: nn.Module, plan: Plan, prices: Pricing) -> Evaluator:
    """Plans from a pruned and trained ``model``: what is zero in it stays so, in the block shapes of its ``plan``."""
    menu = evaluator.menu
    shapes = {
        name: (level.block,) if level.block is not None else tuple(menu.paths[name])
        for name, level in plan.layers.items()
        if name not in menu.parts
    }
    found = Evaluator.of(
        evaluator.task,
        evaluator.space,
        shapes,
        menu.parts,
        prices,
        None,
        origin=without_gates(model, evaluator.task.dense()),
    )
    found.calibration, found.team = evaluator.calibration, evaluator.team
    return found


def without_gates(model: nn.Module, dense: nn.Module) -> nn.Module:
    """``dense``, in place, with the parameters and buffers of ``model`` and zeros where its gates are closed."""
    trained, layers = dict(model.named_parameters()), gated_layers(model)
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name, buffer in dense.named_buffers():  # running statistics of norms, which training moves
            buffer.copy_(buffers[name])
        for name, parameter in dense.named_parameters():
            owner, _, leaf = name.rpartition(".")
            if owner in layers and leaf == "weight":
                parameter.copy_(dense_weight(layers[owner]) * live_mask(layers[owner]))
            else:
                parameter.copy_(trained[name])
    return dense.eval()
