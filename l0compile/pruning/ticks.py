"""Dynamic programming over time in ticks: which options have the least loss together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.pruning.bundle import Bundle, Choice, Kept, Options

_Array = np.ndarray


def solution(
    bundles: Sequence[Bundle], kept: Sequence[Kept], tick: float, ticks: int
) -> tuple[Choice, ...] | None:
    """The choice of least loss with all times rounded up to whole ticks, of ``ticks`` in all; None if none fits."""

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


def least_loss(bundles: Sequence[Bundle], kept: Sequence[Kept], tick: float, ticks: int) -> float:
    """The least loss with all times rounded down; infinite if nothing fits."""
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
    best: _Array, bundle: Bundle, kept: Kept, rounded: Callable[[float], int]
) -> tuple[_Array, _Table]:
    """``best[t]``, the least loss in t ticks, with one bundle more."""
    found, case, winners = np.full_like(best, np.inf), np.zeros(len(best), np.uint16), list[list[_Array]]()
    for number, (units, lists) in enumerate(zip(bundle.cases, kept, strict=True)):
        here, chosen = best, list[_Array]()
        if not all(lists):
            winners.append(chosen)
            continue
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
