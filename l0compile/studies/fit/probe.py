"""What the losses of a group of gates are worth, before any trial: a plan, with the zeros of that group alone.

Losses of single layers do not compare across kinds: what closing a head does is the same at every token and adds up
where errors of blocks cancel out. So each group is tried, and its losses weighed by what the model really loses.
"""

from dataclasses import dataclass
from math import exp, log

from l0compile.pruning.level import Level
from l0compile.pruning.plan import Plan
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.space.candidate import Choices

_AS_IT_IS = Level(None, 0, 1.0, 0.0, 0.0)
# No group counts so much less or more than the first.
WEIGHT = (0.125, 8.0)
# A group of which the model is better without some weights still counts this share of the group that counts most.
_LEAST = 0.01


@dataclass(frozen=True)
class Probe:
    """worth: of each group, what the model loses (quality) by a unit of its predicted loss; over that of the first."""

    worth: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.worth.items())

    def to_try(self) -> tuple[Choices, ...]:
        """Groups weighed by their worth, and by its root: losses compare the less the more of all groups is gone."""
        return self._choices(1.0), self._choices(0.5)

    def _choices(self, power: float) -> Choices:
        names = list(self.worth)
        weights = {name: min(max(self.worth[name] ** power, WEIGHT[0]), WEIGHT[1]) for name in names[1:]}
        found = Choices(weights, dict.fromkeys(names, 0.0))
        return Choices.from_params(found.to_params())


def probe(evaluator: Evaluator, neutral: Choices, price_ms: float) -> Probe:
    """Take the plan of that price apart by groups. Raises ConfigError if there is none."""
    plan, task = evaluator.plan(neutral, price_ms), evaluator.task
    dense, found = task.quality(evaluator.origin, "validation"), dict[str, float]()
    for group, names in evaluator.members.items():
        chosen = {
            name: evaluator.menu.alone(name, plan.layers[name]) for name in names if name in plan.layers
        }
        loss = sum(level.loss for level in chosen.values())
        if loss > 0.0:
            model = evaluator.realised(Plan({**dict.fromkeys(plan.layers, _AS_IT_IS), **chosen}))
            evaluator.solve(model, evaluator.calibration)
            found[group] = (dense - task.quality(model, "validation")) / loss
    if max(found.values(), default=0.0) <= 0.0:
        return Probe(dict.fromkeys(evaluator.members, 1.0))
    worth = {group: max(value, _LEAST * max(found.values())) for group, value in found.items()}
    # Of a group that loses nothing in this plan nothing is known.
    typical = exp(sum(map(log, worth.values())) / len(worth))
    whole = {group: worth.get(group, typical) for group in evaluator.members}
    first = next(iter(whole.values()))
    return Probe({group: value / first for group, value in whole.items()})
