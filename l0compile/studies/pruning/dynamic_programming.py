"""Dynamic programming over discrete time: which options have the least loss together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.studies.pruning.options import ChoiceGroup, GroupChoice, KeptOptions, Options

_Array = np.ndarray


def best_choice(
    groups: Sequence[ChoiceGroup], kept: Sequence[KeptOptions], step_ms: float, steps: int
) -> tuple[GroupChoice, ...] | None:
    """Return the choice of least loss that fits ``steps`` steps, times rounded up to whole steps; None if none fits."""

    def up(ms: float) -> int:
        return int(np.ceil(ms / step_ms - 1e-9))

    best, tables = np.zeros(steps + 1), list[_LayerTable]()
    for group, lists in zip(groups, kept, strict=True):
        best, table = _with_group(best, group, lists, up)
        tables.append(table)
    if not np.isfinite(best[-1]):
        return None
    left, choice = steps, list[GroupChoice]()
    for group, lists, table in zip(reversed(groups), reversed(kept), reversed(tables), strict=True):
        case, found = int(table.case[left]), list[int]()
        layers = zip(group.cases[case], lists[case], table.winners[case], strict=True)
        for layer, indices, winner in reversed(list(layers)):
            found.append(indices[winner[left]])
            left -= up(layer.ms[found[-1]])
        choice.append(GroupChoice(case, tuple(reversed(found))))
    return tuple(reversed(choice))


def least_loss(
    groups: Sequence[ChoiceGroup], kept: Sequence[KeptOptions], step_ms: float, steps: int
) -> float:
    """Return the least loss that fits ``steps`` steps, times rounded down; infinite if nothing fits."""
    best = np.zeros(steps + 1)
    for group, lists in zip(groups, kept, strict=True):
        best, _ = _with_group(best, group, lists, lambda ms: int(np.floor(ms / step_ms)))
    return float(best[-1])


@dataclass(frozen=True)
class _LayerTable:
    """By number of steps: the best case of a group, and for each case and layer the best option."""

    case: _Array
    winners: list[list[_Array]]


def _with_group(
    best: _Array, group: ChoiceGroup, kept: KeptOptions, rounded: Callable[[float], int]
) -> tuple[_Array, _LayerTable]:
    """Return ``best[t]``, the least loss in t steps, with one group more."""
    found, case, winners = np.full_like(best, np.inf), np.zeros(len(best), np.uint16), list[list[_Array]]()
    for number, (layers, lists) in enumerate(zip(group.cases, kept, strict=True)):
        here, chosen = best, list[_Array]()
        if not all(lists):
            winners.append(chosen)
            continue
        for layer, indices in zip(layers, lists, strict=True):
            taken = [rounded(layer.ms[index]) for index in indices]
            here, winner = _with_layer(here, layer, indices, taken)
            chosen.append(winner)
        winners.append(chosen)
        better = here < found
        case[better] = number
        found = np.minimum(found, here)
    return found, _LayerTable(case, winners)


def _with_layer(best: _Array, layer: Options, indices: list[int], steps: list[int]) -> tuple[_Array, _Array]:
    """Return ``best`` with one layer more, and the option that each entry takes."""
    found = np.full_like(best, np.inf)
    winner = np.zeros(len(best), dtype=np.uint16)
    for number, (index, step) in enumerate(zip(indices, steps, strict=True)):
        if step < len(best):
            candidate = best[: len(best) - step] + layer.loss[index]
            better = candidate < found[step:]
            found[step:][better] = candidate[better]
            winner[step:][better] = number
    return found, winner
