"""The multiple-choice knapsack problem: which option each layer takes within a budget, and how good that is at least.

Dynamic programming over discrete time; steps become finer while a bound rules out options. With times rounded up, every
solution fits the budget. With times rounded down, no solution that fits is missed, so the loss found is a lower bound.
The two losses bound how far the answer is from the best one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.errors import InfeasibleError
from l0compile.studies.pruning.dynamic_programming import best_choice, least_loss
from l0compile.studies.pruning.options import ChoiceGroup, GroupChoice, KeptOptions, Options
from l0compile.studies.pruning.relaxed import Relaxed

STEPS = 80_000
# Solve with steps this many times coarser first: each solution rules out options for the next.
_ROUGH = (20, 4, 1)


@dataclass(frozen=True)
class Solution:
    """A choice for every group, with its total loss and time.

    bound: no choice within the budget has a lower loss.
    """

    choice: tuple[GroupChoice, ...]
    loss: float
    ms: float
    bound: float

    @property
    def gap(self) -> float:
        """The largest share by which a better choice could lower the loss."""
        return 0.0 if self.loss <= 0.0 else max(0.0, 1.0 - self.bound / self.loss)


def solve_knapsack(groups: Sequence[ChoiceGroup], budget_ms: float, steps: int = STEPS) -> Solution:
    """Choose the options of least total loss whose times sum to at most ``budget_ms``.

    Args:
        groups: the options to choose from.
        budget_ms: the most time that they may take together, in milliseconds.
        steps: of the time axis. More of them narrow the gap and take more memory and time.

    Raises:
        InfeasibleError: even the fastest options together take longer.
    """
    least = sum(group.least_ms for group in groups)
    if least > budget_ms:
        raise InfeasibleError(
            f"search: no choice of blocks takes {budget_ms:.3g} ms or less: the fastest takes {least:.3g} ms; "
            "raise the latency budget, or gate more layers"
        )
    kept = [
        [[_undominated(layer, budget_ms) for layer in layers] for layers in item.cases] for item in groups
    ]
    best = tuple(_best(group, indices) for group, indices in zip(groups, kept, strict=True))
    loss, ms = _sums(groups, best)
    if ms <= budget_ms:
        return Solution(best, loss, ms, loss)
    relaxed = Relaxed.of(groups, kept, budget_ms)
    # Rounding up may leave no solution; start from the fastest choice.
    choice = tuple(_fastest(group) for group in groups)
    for few in (max(1, steps // share) for share in _ROUGH):
        found = best_choice(groups, kept, budget_ms / few, few) or choice
        choice = min(choice, found, key=lambda choice: _sums(groups, choice)[0])
        loss, ms = _sums(groups, choice)
        kept = relaxed.needed(loss)
    # A better choice consists of kept options only; if none of those fit, there is no better choice.
    bound = max(relaxed.bound, least_loss(groups, kept, budget_ms / steps, steps))
    return Solution(choice, loss, ms, min(loss, bound))


def _sums(groups: Sequence[ChoiceGroup], choice: Sequence[GroupChoice]) -> tuple[float, float]:
    pairs = [group.sums(chosen) for group, chosen in zip(groups, choice, strict=True)]
    return sum(loss for loss, _ in pairs), sum(ms for _, ms in pairs)


def _undominated(layer: Options, budget_ms: float) -> list[int]:
    """Return the options within the budget that no other beats in both loss and time, fastest first."""
    order = sorted((ms, layer.loss[index], index) for index, ms in enumerate(layer.ms) if ms <= budget_ms)
    kept: list[int] = []
    for _, loss, index in order:
        if not kept or loss < layer.loss[kept[-1]]:
            kept.append(index)
    return kept


def _best(group: ChoiceGroup, kept: KeptOptions) -> GroupChoice:
    """Return the choice of least loss, ignoring the budget of the whole."""
    found = [
        GroupChoice(case, tuple(each[-1] for each in lists)) for case, lists in enumerate(kept) if all(lists)
    ]
    return min(found, key=lambda choice: group.sums(choice)[0])


def _fastest(group: ChoiceGroup) -> GroupChoice:
    cases = enumerate(group.cases)
    found = [GroupChoice(case, tuple(int(np.argmin(layer.ms)) for layer in layers)) for case, layers in cases]
    return min(found, key=lambda choice: group.sums(choice)[1])
