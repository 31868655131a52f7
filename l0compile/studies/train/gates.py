"""Train the gates of the chosen model under its budget in milliseconds.

An allocation comes from the losses of single layers. Training sees the whole model, so it may trade blocks between
layers: gates near the boundary of the allocation start undecided, each layer costs what its kernel takes at its
density, and the penalty keeps the sum within the time of the allocation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from l0compile.gates import Block, Budget, dense_weight, harden, named_gates
from l0compile.gates.cost import Cost
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import AIM, HIGHEST, LOWEST, ROUNDS, Fitted, Fitter
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.level import Level
from l0compile.studies.pruning.masks import block_density, gated_layers, live_mask
from l0compile.studies.pruning.prices import Pricing, linear_calls
from l0compile.studies.space.candidate import gated
from l0compile.tasks import Schedule, Trained

# Gates within this many levels of the allocation's own start undecided; the steepness of log_alpha there.
_BAND, _STEEP = 2.0, 1.5


@dataclass(frozen=True)
class Gated:
    """A model whose gates were trained under ``limit_ms``. costs: layer -> cost, as ``Budget`` takes them."""

    model: nn.Module
    costs: Mapping[str, Cost]
    limit_ms: float
    history: Trained

    def hardened(self, share: float = 1.0) -> nn.Module:
        """Harden the best gates that take at most ``share`` of the limit, in place.

        Another call with another share starts from the same trained gates.
        """
        budget = Budget.within(self.model, share * self.limit_ms, 1, cost=self.costs)
        return harden(self.model, budget, values="binary", fold=False)


def train_gates(
    evaluator: Evaluator, fitted: Fitted, prices: Pricing, schedule: Schedule, deadline: float
) -> Gated:
    """Train the weights and gates of a fitted allocation until ``deadline``, within the price of the allocation.

    Closed blocks keep the dense weights, so that a block that opens is worth something.
    """
    model = undecided(evaluator, fitted)
    with_gates = {name.rpartition(".")[0] for name in named_gates(model)}
    levels = {name: level for name, level in fitted.allocation.layers.items() if name in with_gates}
    calls = linear_calls(model, tuple(levels), evaluator.task.example())
    costs = {
        name: [
            (0.0, 0.0),
            *((d, prices.ms(calls[name], level.block, d, level.precision)) for d in _DENSITIES),
        ]
        for name, level in levels.items()
    }
    # By the costs of the penalty, which ignore what closed heads save in a layer's time.
    limit = sum(
        prices.ms(calls[name], level.block, level.density, level.precision) for name, level in levels.items()
    )
    budget = Budget.within(model, limit, schedule.steps, cost=costs, warmup=0.0)
    history = evaluator.train(model, schedule, budget=budget, deadline=deadline)
    return Gated(model, costs, limit, history)


def fit_gates(trained: Gated, fitter: Fitter, fitted: Fitted, wanted_ms: float) -> Fitted | None:
    """Harden the gates so that the measured model takes at most ``wanted_ms``; None if no share of the limit does.

    ``trained.model`` stays as it was last measured.
    """
    share = 1.0
    for _ in range(ROUNDS):
        model = trained.hardened(share)
        predicted = fitter.expected_ms(share * trained.limit_ms + fitted.allocation.ms - trained.limit_ms)
        latency, load = fitter.time(fitter.evaluator.timed(model, fitted.allocation))
        ms = load.value * fitter.budget.ms
        if LOWEST * wanted_ms <= ms <= HIGHEST * wanted_ms:
            allocation = Allocation(
                {name: _as_left(model, name, level) for name, level in fitted.allocation.layers.items()}
            )
            return replace(
                fitted,
                allocation=allocation,
                structure=fitter.evaluator.key(model, fitted.allocation),
                latency=latency,
                load=load.value,
                between=(load.low, load.high),
                predicted_ms=predicted,
            )
        share = min(1.5, share * AIM * wanted_ms / ms)
    return None


def _as_left(model: nn.Module, name: str, level: Level) -> Level:
    layer = gated_layers(model).get(name)  # None for heads and neurons, which stay as allocated
    return level if layer is None or level.block is None else replace(level, density=block_density(layer))


_DENSITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))


def undecided(evaluator: Evaluator, fitted: Fitted) -> nn.Module:
    """Return the model with weights by least squares and gates that are undecided near the allocation's boundary."""
    solved = evaluator.realised(fitted.allocation)
    evaluator.solve(solved)
    model = gated(evaluator.task.dense(), fitted.allocation, evaluator.menu)
    layers = gated_layers(solved)
    with torch.no_grad():
        for name, layer in gated_layers(model).items():
            kept = live_mask(layers[name])
            weight = dense_weight(layer)
            weight.copy_(torch.where(kept, dense_weight(layers[name]), weight))
            if layer.bias is not None:
                layer.bias.copy_(layers[name].bias)
        _soften(model, fitted.allocation, evaluator)
    return model


def _soften(model: nn.Module, allocation: Allocation, evaluator: Evaluator) -> None:
    """Start the gates of blocks near the allocation's level between open and closed."""
    for gate_name, gate in named_gates(model).items():
        name = gate_name.rpartition(".")[0]
        level = allocation.layers.get(name)
        if level is None or level.block is None or not isinstance(gate.granularity, Block):
            continue
        distance = evaluator.menu.paths[name][level.block].gone.float() - level.number - 0.5
        alpha = (_STEEP * distance).clamp(-LOG_ALPHA_BOUND, LOG_ALPHA_BOUND)
        alpha[distance > _BAND], alpha[distance < -_BAND] = LOG_ALPHA_BOUND, -LOG_ALPHA_BOUND
        gate.log_alpha.copy_(alpha.reshape(gate.log_alpha.shape))
