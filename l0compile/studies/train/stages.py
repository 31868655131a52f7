"""Prune in stages: some zeros, training, and more zeros from what the model has become.

Second-order losses hold near the model they were measured on, and a model with a sixth of its weights is far from the
dense one. Training between the stages moves the weights to where the zeros so far do least harm; there every layer is
measured and pruned again (gradual pruning: Zhu and Gupta, ICLR 2018 workshop; with second-order losses: Kurtic et al.,
EMNLP 2022).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from l0compile.gates import dense_weight
from l0compile.studies.context import SearchContext
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.finalist import Finalist, finalist_of
from l0compile.studies.fit.fit import Fitted
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.masks import gated_layers, live_mask
from l0compile.studies.pruning.prices import Pricing
from l0compile.studies.study.state import stage_key
from l0compile.tasks import Trained

# All stages but the last take this share of the winner's time and steps together.
EARLY = 0.35


@dataclass(frozen=True)
class Staged:
    """A model after some stages.

    evaluator: makes allocations for the model as the last stage left it. history: stage -> its training.
    """

    evaluator: Evaluator
    history: Mapping[str, Trained]


def train_in_stages(context: SearchContext, fitted: Fitted, deadline: float) -> Staged:
    """Run all stages but the last, for a winner that has to be ready at ``deadline``.

    Layers keep the block shape that their first stage gives them. Each stage lowers the price by the same factor,
    from the dense model's to that of ``fitted``.
    """
    evaluator, space = context.evaluator, context.space
    early, begun = space.training.stages - 1, time.monotonic()
    dense_ms, history = evaluator.menu.dense_ms, {}
    for stage in range(1, space.training.stages):
        context.progress.note(f"  stage {stage} of {early + 1}")
        price = dense_ms * (fitted.allocation.ms / dense_ms) ** (stage / (early + 1))
        allocation = evaluator.allocate(fitted.choices, price)
        model = evaluator.realised(allocation)
        evaluator.solve(model)
        steps = round(EARLY * space.training.tune_steps / early)
        schedule = space.training.schedule(steps, space.effort.seed + 2 + stage)
        history[f"stage {stage}"] = evaluator.train(
            model,
            schedule,
            deadline=begun + EARLY * stage / early * (deadline - begun),
            kept=context.bench.trainings,
        )
        evaluator = onwards(evaluator, model, allocation, context.prices)
    return Staged(evaluator, history)


def fit_last_stage(context: SearchContext, staged: Staged, finalist: Finalist) -> Fitted:
    """Fit the last allocation, from what the stages before have left, to the finalist's latency.

    A resumed search takes the allocation on file, so that the training of its zeros can be resumed as well.

    Raises:
        L0CompileError: no allocation can be built.
    """
    study, fitter = context.study, context.fitter
    key, state = stage_key(finalist.trial.number, finalist.wanted), study.state
    if record := state.last_stages.get(key):
        before = finalist_of(record, staged.evaluator.menu, {finalist.trial.number: finalist.trial})
        if before is not None:
            return before.fitted
    again = replace(fitter, evaluator=staged.evaluator, measured={})
    fitted = again.fit(finalist.fitted.choices, finalist.wanted * context.budget.ms)
    record = replace(finalist, fitted=fitted).record()
    study.keep(replace(state, last_stages={**state.last_stages, key: record}))
    return fitted


def onwards(evaluator: Evaluator, model: nn.Module, allocation: Allocation, prices: Pricing) -> Evaluator:
    """Return the evaluator of a pruned and trained ``model``: its zeros stay, in the block shapes of ``allocation``."""
    menu = evaluator.menu
    shapes = {
        name: (level.block,) if level.block is not None else tuple(menu.paths[name])
        for name, level in allocation.layers.items()
        if name not in menu.units
    }
    found = Evaluator.of(
        evaluator.task,
        evaluator.space,
        shapes,
        menu.units,
        prices,
        None,
        origin=without_gates(model, evaluator.task.dense()),
    )
    found.calibration, found.team = evaluator.calibration, evaluator.team
    return found


def without_gates(model: nn.Module, dense: nn.Module) -> nn.Module:
    """Copy the parameters and buffers of ``model`` into ``dense``, with zeros where its gates are closed."""
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
