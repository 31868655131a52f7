"""Measure what the loss of each group of gates is worth, before any trial.

Losses of layers don't compare across kinds of gates: closing a head has the same effect at every token, which adds up,
while errors of blocks cancel out. So prune each group alone, and weigh its losses by what the model really loses.
"""

from dataclasses import dataclass
from math import exp, log

from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.level import Level
from l0compile.studies.space.candidate import Choices

_AS_IT_IS = Level(None, 0, 1.0, 0.0, 0.0)
# The lowest and the highest weight of a group, relative to the first.
WEIGHT = (0.125, 8.0)
# If the model gets better without some weights of a group, it still counts this share of the group that counts most.
_LEAST = 0.01


@dataclass(frozen=True)
class Probe:
    """worth: group -> the quality that the model loses per unit of predicted loss, relative to the first group."""

    worth: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.worth.items())

    def to_try(self) -> tuple[Choices, ...]:
        """Weigh groups by their worth, and by its root: losses compare less the more of the model is gone."""
        return self._choices(1.0), self._choices(0.5)

    def _choices(self, power: float) -> Choices:
        names = list(self.worth)
        weights = {name: min(max(self.worth[name] ** power, WEIGHT[0]), WEIGHT[1]) for name in names[1:]}
        found = Choices(weights, dict.fromkeys(names, 0.0))
        return Choices.from_params(found.to_params())


def probe(evaluator: Evaluator, neutral: Choices, price_ms: float) -> Probe:
    """Take the allocation of a price apart by groups.

    Raises:
        InfeasibleError: no allocation takes this price.
    """
    allocation, task = evaluator.allocate(neutral, price_ms), evaluator.task
    dense, found = task.quality(evaluator.origin, "validation"), dict[str, float]()
    for group, names in evaluator.members.items():
        chosen = {
            name: evaluator.menu.alone(name, allocation.layers[name])
            for name in names
            if name in allocation.layers
        }
        loss = sum(level.loss for level in chosen.values())
        if loss > 0.0:
            alone = Allocation({**dict.fromkeys(allocation.layers, _AS_IT_IS), **chosen})
            model = evaluator.realised(alone)
            evaluator.solve(model, evaluator.calibration)
            found[group] = (dense - evaluator.quality(model, alone)) / loss
    if max(found.values(), default=0.0) <= 0.0:
        return Probe(dict.fromkeys(evaluator.members, 1.0))
    worth = {group: max(value, _LEAST * max(found.values())) for group, value in found.items()}
    # Nothing is known of a group that loses nothing in this allocation.
    typical = exp(sum(map(log, worth.values())) / len(worth))
    whole = {group: worth.get(group, typical) for group in evaluator.members}
    first = next(iter(whole.values()))
    return Probe({group: value / first for group, value in whole.items()})
