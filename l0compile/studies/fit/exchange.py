"""Choose among options of many items within a budget, by the length of a sum of vectors: a local search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Places = NDArray[np.int64]
Choice = tuple[int, ...]
Change = list[tuple[int, int]]
"""(item, option) of one item or two."""

# Pairs are made of this many changes that cost something, and as many that don't.
_PAIRED = 100
# The least that a change saves, as a share of what one item can save.
_LEAST_SAVED = 0.5
_MOST_STEPS = 400
_LEAST_GAIN = 1e-9


@dataclass(frozen=True)
class VectorChoice:
    """One option for each item, so that a sum of vectors stays short.

    start: the option of each item whose vector is zero. residual: [S], the sum of these options. vectors: [items,
    options, S]. costs: [items, options]; infinite where an item has fewer options.
    """

    start: Choice
    residual: Reals
    vectors: Reals
    costs: Reals

    def loss(self, choice: Choice) -> float:
        """The mean square of the sum."""
        return float(np.square(self.residual + self.vectors[_each(choice), choice].sum(0)).mean())

    def improve(self, budget: float, damping: float = 0.0) -> Choice:
        """Change one item or two at a time, from ``start`` on, as long as that makes the sum shorter.

        A start that costs too much first gives up what lengthens the sum least for what it saves.

        Args:
            budget: the most that all options may cost together.
            damping: how much the squares of vectors count on their own: 0 trusts sums of many, more stays nearer to
                the start, as in Levenberg's method.
        """
        choice, total = list(self.start), self.residual.copy()
        for _ in range(_MOST_STEPS):
            moves = self._moves(choice, total, damping)
            room = budget - self.cost(choice)
            change = moves.saving(-room) if room < 0 else moves.best(room)
            if change is None:
                break
            for item, option in change:
                total += self.vectors[item, option] - self.vectors[item, choice[item]]
                choice[item] = option
        return tuple(choice)

    def merged(self, groups: Sequence[Sequence[int]]) -> "VectorChoice":
        """Return the choice of one option for all items of each group, whose starts are one, too."""
        return VectorChoice(
            tuple(self.start[items[0]] for items in groups),
            self.residual,
            np.stack([self.vectors[items].sum(0) for items in groups]),
            np.stack([self.costs[items].sum(0) for items in groups]),
        )

    def cost(self, choice: Choice | list[int]) -> float:
        """What the options of a choice cost together."""
        return float(self.costs[_each(choice), choice].sum())

    def _moves(self, choice: list[int], total: Reals, damping: float) -> "_Exchanges":
        items = _each(choice)
        moved = self.vectors - self.vectors[items, choice][:, None]
        lengths = np.square(self.vectors).mean(2)
        gains = -(2 * moved @ total / len(total) + np.square(moved).mean(2))
        gains -= damping * (lengths - lengths[items, choice][:, None])
        gains[items, choice] = -np.inf
        gains[~np.isfinite(self.costs)] = -np.inf
        least = _LEAST_GAIN * float(np.square(total).mean())
        return _Exchanges(moved, gains, self.costs - self.costs[items, choice][:, None], least)


@dataclass(frozen=True)
class _Exchanges:
    """Each change of one item: [items, options]. moved: of its vector. gains: how much shorter the sum becomes, as a
    mean square. more: what it costs beside. least: the gain that is worth a step."""

    moved: Reals
    gains: Reals
    more: Reals
    least: float

    def saving(self, over: float) -> Change | None:
        """Return the change that lengthens the sum least for what it saves; None if nothing saves anything.

        Changes that save little are left out, or there would be many steps. ``over``: what there is too much.
        """
        most = max(0.0, -float(self.more[np.isfinite(self.gains)].min()))
        places = self._top(-self.more > _LEAST_SAVED * min(over, most))
        return self._best(places, lambda gains, more: gains / -more, -np.inf)

    def best(self, room: float) -> Change | None:
        """Return the change that gains most and costs no more than ``room``; None if none gains."""
        places = np.concatenate([self._top(self.more > 0), self._top(self.more <= 0)])
        return self._best(places, lambda gains, more: np.where(more <= room, gains, -np.inf), self.least)

    def _best(self, places: Places, worth: Callable[[Reals, Reals], Reals], least: float) -> Change | None:
        """Return the change of one item, or of two, that is worth most, if it is worth more than ``least``."""
        if not places.size:
            return None
        gains, more = self.gains.ravel()[places], self.more.ravel()[places]
        alone = worth(gains, more)
        joint = worth(self._together(places), more[:, None] + more)
        if joint.max() > max(float(alone.max()), least):
            row, column = np.unravel_index(int(joint.argmax()), joint.shape)
            return [self._place(int(places[row])), self._place(int(places[column]))]
        return [self._place(int(places[alone.argmax()]))] if alone.max() > least else None

    def _together(self, places: Places) -> Reals:
        """[places, places]: what two changes gain together; minus infinity where they change one item."""
        options, size = self.moved.shape[1:]
        flat, gains, items = (
            self.moved.reshape(-1, size)[places],
            self.gains.ravel()[places],
            places // options,
        )
        joint = gains[:, None] + gains - 2 * flat @ flat.T / size
        return np.where(items[:, None] != items, joint, -np.inf)

    def _top(self, wanted: NDArray[np.bool_]) -> Places:
        """Where the largest of the wanted gains are, in the flattened table."""
        flat = np.where(wanted & np.isfinite(self.gains), self.gains, -np.inf).ravel()
        order = np.argsort(-flat, kind="stable")[:_PAIRED]
        return order[np.isfinite(flat[order])]

    def _place(self, index: int) -> tuple[int, int]:
        options = self.gains.shape[1]
        return index // options, index % options


def _each(choice: Choice | list[int]) -> Places:
    return np.arange(len(choice))
