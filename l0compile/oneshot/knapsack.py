"""Which option each layer takes under a budget: the multiple-choice knapsack problem, solved with a proof of the gap.

Dynamic programming over time in ticks. With the times of options rounded up every solution fits the budget; with times
rounded down no solution that fits is left out, so its loss is below the least possible one. The two losses bound how
far the answer is from the best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.errors import ConfigError

TICKS = 80_000
_Array = np.ndarray
# By case and unit, the options worth looking at.
_Kept = list[list[list[int]]]


@dataclass(frozen=True)
class Options:
    """What one unit (a layer, or the heads that it reads) can be: ``loss[i]`` for ``ms[i]`` milliseconds."""

    loss: tuple[float, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True)
class Bundle:
    """Units whose options depend on something chosen for all of them: projections on how many heads are left.

    cases: for each such choice the options of every unit.
    """

    cases: tuple[tuple[Options, ...], ...]

    @classmethod
    def single(cls, unit: Options) -> "Bundle":
        """A unit by itself."""
        return cls(((unit,),))

    @property
    def least_ms(self) -> float:
        """Of the quickest choice."""
        return min(sum(min(unit.ms) for unit in units) for units in self.cases)

    def sums(self, choice: "Choice") -> tuple[float, float]:
        """Loss and time of a choice."""
        pairs = list(zip(self.cases[choice.case], choice.options, strict=True))
        return sum(unit.loss[index] for unit, index in pairs), sum(unit.ms[index] for unit, index in pairs)


@dataclass(frozen=True)
class Choice:
    """Of a bundle: the case, and for each unit the index of its option."""

    case: int
    options: tuple[int, ...]


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
    tick = budget_ms / ticks
    # Rounding up may take what room there was.
    choice = _trace(bundles, kept, tick, ticks) or tuple(_quickest(bundle) for bundle in bundles)
    loss, ms = _sums(bundles, choice)
    return Allocation(choice, loss, ms, min(loss, _bound(bundles, kept, tick, ticks)))


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


def _best(bundle: Bundle, kept: _Kept) -> Choice:
    """That of least loss, of units that fit the budget one by one."""
    found = [Choice(case, tuple(each[-1] for each in lists)) for case, lists in enumerate(kept) if all(lists)]
    return min(found, key=lambda choice: bundle.sums(choice)[0])


def _quickest(bundle: Bundle) -> Choice:
    cases = enumerate(bundle.cases)
    found = [Choice(case, tuple(int(np.argmin(unit.ms)) for unit in units)) for case, units in cases]
    return min(found, key=lambda choice: bundle.sums(choice)[1])


def _trace(
    bundles: Sequence[Bundle], kept: Sequence[_Kept], tick: float, ticks: int
) -> tuple[Choice, ...] | None:
    """The choice; None if there is none with all times rounded up."""

    def up(ms: float) -> int:
        return int(np.ceil(ms / tick - 1e-9))

    best, tables = np.zeros(ticks + 1), list[_Table]()
    for bundle, lists in zip(bundles, kept, strict=True):
        best, table = _with_bundle(best, bundle, lists, up)
        tables.append(table)
    if not np.isfinite(best[-1]):
        return None
    left, choice = ticks, list[Choice]()
    for bundle, lists, table in zip(reversed(bundles), reversed(kept), reversed(tables), strict=True):
        case, found = int(table.case[left]), list[int]()
        steps = zip(bundle.cases[case], lists[case], table.winners[case], strict=True)
        for unit, indices, winner in reversed(list(steps)):
            found.append(indices[winner[left]])
            left -= up(unit.ms[found[-1]])
        choice.append(Choice(case, tuple(reversed(found))))
    return tuple(reversed(choice))


def _bound(bundles: Sequence[Bundle], kept: Sequence[_Kept], tick: float, ticks: int) -> float:
    best = np.zeros(ticks + 1)
    for bundle, lists in zip(bundles, kept, strict=True):
        best, _ = _with_bundle(best, bundle, lists, lambda ms: int(np.floor(ms / tick)))
    return float(best[-1])


@dataclass(frozen=True)
class _Table:
    """By tick: the case of a bundle that is best, and for each case and unit which of its options."""

    case: _Array
    winners: list[list[_Array]]


def _with_bundle(
    best: _Array, bundle: Bundle, kept: _Kept, rounded: Callable[[float], int]
) -> tuple[_Array, _Table]:
    """``best[t]``, the least loss in t ticks, with one bundle more."""
    found, case, winners = np.full_like(best, np.inf), np.zeros(len(best), np.uint16), list[list[_Array]]()
    for number, (units, lists) in enumerate(zip(bundle.cases, kept, strict=True)):
        here, chosen = best, list[_Array]()
        for unit, indices in zip(units, lists, strict=True):
            here, winner = _with_unit(here, unit, indices, [rounded(unit.ms[index]) for index in indices])
            chosen.append(winner)
        winners.append(chosen)
        better = here < found
        case[better] = number
        found = np.minimum(found, here)
    return found, _Table(case, winners)


def _with_unit(best: _Array, unit: Options, indices: list[int], steps: list[int]) -> tuple[_Array, _Array]:
    """``best`` with one unit more, and which of its options that takes."""
    found = np.full_like(best, np.inf)
    winner = np.zeros(len(best), dtype=np.uint16)
    for number, (index, step) in enumerate(zip(indices, steps, strict=True)):
        if step < len(best):
            candidate = best[: len(best) - step] + unit.loss[index]
            better = candidate < found[step:]
            found[step:][better] = candidate[better]
            winner[step:][better] = number
    return found, winner
