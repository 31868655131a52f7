"""Lagrangian relaxation of the knapsack: a lower bound on the loss, and the options that can't be in the best choice.

With a multiplier ``u`` each group takes, by itself, the case and options of least ``loss + u * ms``. Their sum minus
``u`` times the budget is at most the loss of any choice that fits. An option that raises this bound above the loss of a
known choice can't be part of a better one (reduction as in Pisinger, EJOR 83, 1995).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from l0compile.studies.pruning.options import ChoiceGroup, KeptOptions

_BISECTIONS = 25
# A budget next to nothing asks for an infinite multiplier, and infinity times no time is no number.
_MOST = 1e200


@dataclass(frozen=True)
class Relaxed:
    """Groups and their options under a multiplier (loss per millisecond).

    bound: no choice within the budget loses less.
    """

    groups: Sequence[ChoiceGroup]
    kept: Sequence[KeptOptions]
    multiplier: float
    bound: float

    @classmethod
    def of(cls, groups: Sequence[ChoiceGroup], kept: Sequence[KeptOptions], budget_ms: float) -> "Relaxed":
        """Find about the multiplier of the highest bound. At least one choice of the kept options must fit."""
        tables = [_arrays(group, lists) for group, lists in zip(groups, kept, strict=True)]

        def at(multiplier: float) -> tuple[float, float]:
            pairs = [_cheapest(table, multiplier) for table in tables]
            used = sum(used for _, used in pairs)
            return sum(cost for cost, _ in pairs) - multiplier * budget_ms, used

        largest = max(
            float(losses.max(initial=0.0)) for cases in tables for layers in cases for losses, _ in layers
        )
        low, high = 0.0, min((largest or 1.0) / budget_ms, _MOST)
        best = (at(low)[0], low)
        for _ in range(_BISECTIONS):
            bound, used = at(high)
            best = max(best, (bound, high))
            if used <= budget_ms:
                break
            low, high = high, min(8 * high, _MOST)
        for _ in range(_BISECTIONS):
            middle = sqrt(low * high) if low else high / 8
            bound, used = at(middle)
            best = max(best, (bound, middle))
            low, high = (low, middle) if used <= budget_ms else (middle, high)
        return cls(groups, kept, best[1], best[0])

    def needed(self, loss: float) -> list[KeptOptions]:
        """Return the options that a choice of less than ``loss`` may contain."""
        room = max(0.0, loss - self.bound) * (1 + 1e-9) + 1e-12 * abs(loss)
        return [self._needed(*pair, room) for pair in zip(self.groups, self.kept, strict=True)]

    def _needed(self, group: ChoiceGroup, kept: KeptOptions, room: float) -> KeptOptions:
        costs = [[losses + self.multiplier * ms for losses, ms in layers] for layers in _arrays(group, kept)]
        sums = [sum(_lowest(cost) for cost in layers) for layers in costs]
        least, found = min(sums), list[list[list[int]]]()
        for lists, layers, total in zip(kept, costs, sums, strict=True):
            limits = [room + least - total + _lowest(cost) for cost in layers]
            found.append(
                [
                    [index for index, value in zip(indices, cost, strict=True) if value <= limit]
                    for indices, cost, limit in zip(lists, layers, limits, strict=True)
                ]
            )
        return found


def _arrays(group: ChoiceGroup, kept: KeptOptions) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return (losses, times) of the kept options, by case and layer."""
    return [
        [
            (np.array(layer.loss)[indices], np.array(layer.ms)[indices])
            for layer, indices in zip(layers, lists, strict=True)
        ]
        for layers, lists in zip(group.cases, kept, strict=True)
    ]


def _cheapest(cases: list[list[tuple[np.ndarray, np.ndarray]]], multiplier: float) -> tuple[float, float]:
    """Return (loss + multiplier * time, time) of the case and options for which the first is least."""
    best = (inf, 0.0)
    for layers in cases:
        if all(len(losses) for losses, _ in layers):
            costs = [losses + multiplier * ms for losses, ms in layers]
            places = [int(cost.argmin()) for cost in costs]
            cost = sum(float(cost[place]) for cost, place in zip(costs, places, strict=True))
            used = sum(float(ms[place]) for (_, ms), place in zip(layers, places, strict=True))
            best = min(best, (cost, used))
    return best


def _lowest(cost: np.ndarray) -> float:
    return float(cost.min()) if len(cost) else inf
