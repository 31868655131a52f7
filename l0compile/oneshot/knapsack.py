"""Which option each layer takes under a budget: the multiple-choice knapsack problem, solved with a proof of the gap.

Dynamic programming over time in ticks. With the times of options rounded up every solution fits the budget; with times
rounded down no solution that fits is left out, so its loss is below the least possible one. The two losses bound how
far the answer is from the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.errors import ConfigError

TICKS = 80_000
_Floats = np.ndarray


@dataclass(frozen=True)
class Options:
    """What one unit (a layer, or layers that only go together) can be: ``loss[i]`` for ``ms[i]`` milliseconds."""

    loss: tuple[float, ...]
    ms: tuple[float, ...]


@dataclass(frozen=True)
class Allocation:
    """choice: index of the option of each unit. loss, ms: sums. bound: no choice within the budget has a lower loss."""

    choice: tuple[int, ...]
    loss: float
    ms: float
    bound: float

    @property
    def gap(self) -> float:
        """Largest share by which a better choice could lower the loss."""
        return 0.0 if self.loss <= 0.0 else max(0.0, 1.0 - self.bound / self.loss)


def allocate(units: Sequence[Options], budget_ms: float, ticks: int = TICKS) -> Allocation:
    """The options of least total loss whose times sum up to at most ``budget_ms``.

    Args:
        ticks: steps of the time axis. The gap falls with their number; memory and time grow with it.
    Raises: ConfigError if even the quickest options together take longer.
    """
    least = sum(min(unit.ms) for unit in units)
    if least > budget_ms:
        raise ConfigError(
            f"search: no choice of blocks takes {budget_ms:.3g} ms or less: the quickest takes {least:.3g} ms; "
            "raise the latency budget, or gate more layers"
        )
    kept = [_undominated(unit, budget_ms) for unit in units]
    best = tuple(indices[-1] for indices in kept)
    if (ms := sum(unit.ms[index] for unit, index in zip(units, best, strict=True))) <= budget_ms:
        loss = sum(unit.loss[index] for unit, index in zip(units, best, strict=True))
        return Allocation(best, loss, ms, loss)
    tick = budget_ms / ticks
    choice = _trace(units, kept, tick, ticks)
    if choice is None:
        # Rounding up took what room there was.
        choice = tuple(int(np.argmin(unit.ms)) for unit in units)
    loss, ms = (
        sum(getattr(unit, name)[index] for unit, index in zip(units, choice, strict=True))
        for name in ("loss", "ms")
    )
    return Allocation(choice, loss, ms, min(loss, _bound(units, kept, tick, ticks)))


def _undominated(unit: Options, budget_ms: float) -> list[int]:
    """Options within the budget that no other one beats in both loss and time, in order of time."""
    order = sorted((ms, unit.loss[index], index) for index, ms in enumerate(unit.ms) if ms <= budget_ms)
    kept: list[int] = []
    for _, loss, index in order:
        if not kept or loss < unit.loss[kept[-1]]:
            kept.append(index)
    return kept


def _trace(
    units: Sequence[Options], kept: list[list[int]], tick: float, ticks: int
) -> tuple[int, ...] | None:
    """The choice; None if there is none with all times rounded up."""
    best, taken = np.zeros(ticks + 1), []
    for unit, indices in zip(units, kept, strict=True):
        best, winner = _add(best, unit, indices, [int(np.ceil(unit.ms[i] / tick - 1e-9)) for i in indices])
        taken.append(winner)
    if not np.isfinite(best[-1]):
        return None
    left, choice = ticks, list[int]()
    for unit, indices, winner in zip(reversed(units), reversed(kept), reversed(taken), strict=True):
        index = indices[winner[left]]
        left -= int(np.ceil(unit.ms[index] / tick - 1e-9))
        choice.append(index)
    return tuple(reversed(choice))


def _bound(units: Sequence[Options], kept: list[list[int]], tick: float, ticks: int) -> float:
    best = np.zeros(ticks + 1)
    for unit, indices in zip(units, kept, strict=True):
        best, _ = _add(best, unit, indices, [int(np.floor(unit.ms[i] / tick)) for i in indices])
    return float(best[-1])


def _add(best: _Floats, unit: Options, indices: list[int], steps: list[int]) -> tuple[_Floats, _Floats]:
    """``best[t]``, the least loss in t ticks, with one unit more; and which of its options that takes."""
    found = np.full_like(best, np.inf)
    winner = np.zeros(len(best), dtype=np.uint16)
    for number, (index, step) in enumerate(zip(indices, steps, strict=True)):
        if step < len(best):
            candidate = best[: len(best) - step] + unit.loss[index]
            better = candidate < found[step:]
            found[step:][better] = candidate[better]
            winner[step:][better] = number
    return found, winner
