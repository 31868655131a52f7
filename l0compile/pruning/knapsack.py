"""Which option each layer takes under a budget: the multiple-choice knapsack problem, solved with a proof of the gap.

Dynamic programming over time in ticks, which become finer while a bound rules out options. With times rounded up every
solution fits the budget; with times rounded down no solution that fits is left out, so its loss is below the least
possible one. The two losses bound how far the answer is from the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.errors import ConfigError
from l0compile.pruning.bundle import Bundle, Choice, Kept, Options
from l0compile.pruning.relaxed import Relaxed
from l0compile.pruning.ticks import least_loss, solution

TICKS = 80_000
# How many times as coarse solutions are, each of which tells the options that a better one may have.
_ROUGH = (20, 4, 1)


@dataclass(frozen=True)
class Allocation:
    """choice: of each bundle. loss, ms: sums. bound: no choice within the budget has a lower loss."""

    choice: tuple[Choice, ...]
    loss: float
    ms: float
    bound: float

    @property
    def gap(self) -> float:
        """Largest share by which a better choice could lower the loss."""
        return 0.0 if self.loss <= 0.0 else max(0.0, 1.0 - self.bound / self.loss)


def allocate(bundles: Sequence[Bundle], budget_ms: float, ticks: int = TICKS) -> Allocation:
    """The options of least total loss whose times sum up to at most ``budget_ms``.

    Args:
        ticks: steps of the time axis. The gap falls with their number; memory and time grow with it.
    Raises: ConfigError if even the quickest options together take longer.
    """
    least = sum(bundle.least_ms for bundle in bundles)
    if least > budget_ms:
        raise ConfigError(
            f"search: no choice of blocks takes {budget_ms:.3g} ms or less: the quickest takes {least:.3g} ms; "
            "raise the latency budget, or gate more layers"
        )
    kept = [[[_undominated(unit, budget_ms) for unit in units] for units in item.cases] for item in bundles]
    best = tuple(_best(bundle, indices) for bundle, indices in zip(bundles, kept, strict=True))
    loss, ms = _sums(bundles, best)
    if ms <= budget_ms:
        return Allocation(best, loss, ms, loss)
    relaxed = Relaxed.of(bundles, kept, budget_ms)
    # Where rounding up takes what room there was, no solution is found.
    choice = tuple(_quickest(bundle) for bundle in bundles)
    for few in (max(1, ticks // share) for share in _ROUGH):
        found = solution(bundles, kept, budget_ms / few, few) or choice
        choice = min(choice, found, key=lambda choice: _sums(bundles, choice)[0])
        loss, ms = _sums(bundles, choice)
        kept = relaxed.needed(loss)
    # What is better has only options that are kept: where none of those fit, nothing is.
    bound = max(relaxed.bound, least_loss(bundles, kept, budget_ms / ticks, ticks))
    return Allocation(choice, loss, ms, min(loss, bound))


def _sums(bundles: Sequence[Bundle], choice: Sequence[Choice]) -> tuple[float, float]:
    pairs = [bundle.sums(chosen) for bundle, chosen in zip(bundles, choice, strict=True)]
    return sum(loss for loss, _ in pairs), sum(ms for _, ms in pairs)


def _undominated(unit: Options, budget_ms: float) -> list[int]:
    """Options within the budget that no other one beats in both loss and time, in order of time."""
    order = sorted((ms, unit.loss[index], index) for index, ms in enumerate(unit.ms) if ms <= budget_ms)
    kept: list[int] = []
    for _, loss, index in order:
        if not kept or loss < unit.loss[kept[-1]]:
            kept.append(index)
    return kept


def _best(bundle: Bundle, kept: Kept) -> Choice:
    """That of least loss, of units that fit the budget one by one."""
    found = [Choice(case, tuple(each[-1] for each in lists)) for case, lists in enumerate(kept) if all(lists)]
    return min(found, key=lambda choice: bundle.sums(choice)[0])


def _quickest(bundle: Bundle) -> Choice:
    cases = enumerate(bundle.cases)
    found = [Choice(case, tuple(int(np.argmin(unit.ms)) for unit in units)) for case, units in cases]
    return min(found, key=lambda choice: bundle.sums(choice)[1])
