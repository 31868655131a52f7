"""A price of time, in place of the budget: a bound on the loss, and which options cannot be in the best choice.

With a multiplier ``u`` every bundle takes the case and options of least ``loss + u * ms`` by itself. What they sum up
to, less ``u`` times the budget, is below the loss of any choice that fits (Lagrangian relaxation). An option that adds
more to this bound than a known choice loses over it cannot be part of a better one (reduction as in Pisinger, EJOR 83,
1995).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from l0compile.pruning.bundle import Bundle, Kept

_Array = np.ndarray
_BISECTIONS = 25


@dataclass(frozen=True)
class Relaxed:
    """Bundles and their options, with a multiplier (loss per millisecond). bound: no choice within the budget loses
    less."""

    bundles: Sequence[Bundle]
    kept: Sequence[Kept]
    multiplier: float
    bound: float

    @classmethod
    def of(cls, bundles: Sequence[Bundle], kept: Sequence[Kept], budget_ms: float) -> "Relaxed":
        """With about the multiplier of the highest bound. A choice of the options that are kept has to fit."""
        tables = [_arrays(bundle, lists) for bundle, lists in zip(bundles, kept, strict=True)]

        def at(multiplier: float) -> tuple[float, float]:
            pairs = [_cheapest(table, multiplier) for table in tables]
            used = sum(used for _, used in pairs)
            return sum(cost for cost, _ in pairs) - multiplier * budget_ms, used

        largest = max(
            float(losses.max(initial=0.0)) for cases in tables for units in cases for losses, _ in units
        )
        low, high = 0.0, (largest or 1.0) / budget_ms
        best = (at(low)[0], low)
        for _ in range(_BISECTIONS):
            bound, used = at(high)
            best = max(best, (bound, high))
            if used <= budget_ms:
                break
            low, high = high, 8 * high
        for _ in range(_BISECTIONS):
            middle = sqrt(low * high) if low else high / 8
            bound, used = at(middle)
            best = max(best, (bound, middle))
            low, high = (low, middle) if used <= budget_ms else (middle, high)
        return cls(bundles, kept, best[1], best[0])

    def needed(self, loss: float) -> list[Kept]:
        """The options that a choice of less ``loss`` may have."""
        room = max(0.0, loss - self.bound) * (1 + 1e-9) + 1e-12 * abs(loss)
        return [self._needed(*pair, room) for pair in zip(self.bundles, self.kept, strict=True)]

    def _needed(self, bundle: Bundle, kept: Kept, room: float) -> Kept:
        costs = [[losses + self.multiplier * ms for losses, ms in units] for units in _arrays(bundle, kept)]
        sums = [sum(_lowest(cost) for cost in units) for units in costs]
        least, found = min(sums), list[list[list[int]]]()
        for lists, units, total in zip(kept, costs, sums, strict=True):
            limits = [room + least - total + _lowest(cost) for cost in units]
            found.append(
                [
                    [index for index, value in zip(indices, cost, strict=True) if value <= limit]
                    for indices, cost, limit in zip(lists, units, limits, strict=True)
                ]
            )
        return found


def _arrays(bundle: Bundle, kept: Kept) -> list[list[tuple[_Array, _Array]]]:
    """(losses, times) of the options that are kept, by case and unit."""
    return [
        [
            (np.array(unit.loss)[indices], np.array(unit.ms)[indices])
            for unit, indices in zip(units, lists, strict=True)
        ]
        for units, lists in zip(bundle.cases, kept, strict=True)
    ]


def _cheapest(cases: list[list[tuple[_Array, _Array]]], multiplier: float) -> tuple[float, float]:
    """(loss + multiplier * time, time) of the case and options for which that is least."""
    best = (inf, 0.0)
    for units in cases:
        if all(len(losses) for losses, _ in units):
            costs = [losses + multiplier * ms for losses, ms in units]
            places = [int(cost.argmin()) for cost in costs]
            cost = sum(float(cost[place]) for cost, place in zip(costs, places, strict=True))
            used = sum(float(ms[place]) for (_, ms), place in zip(units, places, strict=True))
            best = min(best, (cost, used))
    return best


def _lowest(cost: _Array) -> float:
    return float(cost.min()) if len(cost) else inf
