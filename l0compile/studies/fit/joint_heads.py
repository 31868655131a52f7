"""The patterns of all heads, chosen together by what the model really loses."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

import numpy as np

from l0compile.attention.assignment.assign import EveryKey, HeadPattern
from l0compile.attention.assignment.joint import JointLosses
from l0compile.errors import InfeasibleError
from l0compile.studies.fit.exchange import Choice, Reals, VectorChoice
from l0compile.studies.fit.heads import HeadPrices, head_name
from l0compile.studies.pruning.allocation import Allocation, Menu

# Two budgets as close as this are the same: sums of prices are rounded.
_SAME = 1e-9
# With few projections sums of many changes may seem shorter than they are: so much do changes count on their own.
_DAMPINGS = (0.0, 0.3, 3.0)


@dataclass
class JointHeads:
    """Improves which pattern each head has, at no more time, by real losses on calibration inputs.

    Losses of single heads, around the dense model, don't tell what many patterns do together. So the starts, among
    them each pattern at every head, are evaluated for real; the model is taken to be linear in what its heads give,
    which is cheap to search; and what is found there is evaluated, too. Nothing is returned that loses more than one of
    the starts.

    Attributes:
        sites: name of a module that calls attention -> what its heads take.
        candidates: of each group of the space.
        losses: of whole assignments.
        projections: as in ``JointLosses.around``.
        twice: take the model to be linear around the best choice of a budget, too, not only around the dense model.
        seconds: that all of this took.
    """

    sites: Mapping[str, HeadPrices]
    candidates: Mapping[str, tuple[HeadPattern, ...]]
    losses: JointLosses
    projections: int = 8
    twice: bool = True
    seconds: float = 0.0
    _found: dict[tuple[Choice, float], Choice] = field(default_factory=dict)

    def better(self, allocation: Allocation, menu: Menu) -> Allocation:
        """Return ``allocation`` with the patterns of its heads improved, in as much time or less."""
        names = [head_name(site, head) for site, head in self._heads]
        given = tuple(allocation.layers[name].number for name in names)
        key = given, sum(allocation.layers[name].ms for name in names)
        if key not in self._found:
            self._found[key] = self.improved([given], key[1])
        levels = {
            name: menu.layers[name][number] for name, number in zip(names, self._found[key], strict=True)
        }
        return replace(allocation, layers={**allocation.layers, **levels})

    def improved(self, starts: Sequence[Choice], budget_ms: float) -> Choice:
        """Return a number for each head, in the order of sites: 0 for all keys, else that of a candidate, from 1 on.

        Args:
            starts: choices that take ``budget_ms`` or less.
            budget_ms: the most that all heads may take, in milliseconds.

        Raises:
            InfeasibleError: no choice is that fast.
        """
        begun, room = time.monotonic(), budget_ms * (1 + _SAME)
        known = [choice for choice in (*starts, *self._alike()) if self.ms(choice) <= room]
        if not known:
            raise InfeasibleError(
                f"search: heads of attention: expected {self._costs.min(1).sum():.4g} ms or more for all of them, got "
                f"{budget_ms:.4g}"
            )
        best = self._follow(self._around_dense, room, min(dict.fromkeys(known), key=self.loss))
        if self.twice:
            best = self._follow(self._linear(best), room, best)
        self.seconds += time.monotonic() - begun
        return best

    def _follow(self, linear: VectorChoice, room: float, best: Choice) -> Choice:
        """Return the best of ``best`` and of what a linear model finds, head by head and attention by attention."""
        found = [linear.improve(room, damping) for damping in _DAMPINGS]
        members = [[i for i, (site, _) in enumerate(self._heads) if site == name] for name in self.sites]
        if all(len({linear.start[i] for i in own}) == 1 for own in members):
            # Heads of one attention with one pattern: their errors often cancel out, and its lists are shared.
            whole = linear.merged(members)
            for damping in _DAMPINGS:
                numbers = dict(zip(self.sites, whole.improve(room, damping), strict=True))
                found.append(tuple(numbers[site] for site, _ in self._heads))
        return min([best, *(choice for choice in found if self.ms(choice) <= room)], key=self.loss)

    def loss(self, choice: Choice) -> float:
        """Return the real loss of a choice."""
        return self.losses.of(self.patterns(choice))

    def patterns(self, choice: Choice) -> dict[str, tuple[HeadPattern, ...]]:
        """Return the patterns that a choice stands for, by site."""
        found: dict[str, tuple[HeadPattern, ...]] = {}
        for (site, _), number in zip(self._heads, choice, strict=True):
            found[site] = (*found.get(site, ()), self._options(site)[number])
        return found

    def ms(self, choice: Choice) -> float:
        """Return what all heads of a choice take."""
        return float(self._costs[np.arange(len(choice)), choice].sum())

    def _alike(self) -> Iterable[Choice]:
        """One candidate for all heads of a group, the other groups' heads as quick as they can be."""
        quickest = self._costs.argmin(1)
        for group, patterns in self.candidates.items():
            own = np.array([self.sites[site].group == group for site, _ in self._heads])
            for number in range(len(patterns) + 1):
                yield tuple(int(n) for n in np.where(own, number, quickest))

    @cached_property
    def _around_dense(self) -> VectorChoice:
        return self._linear((0,) * len(self._heads))

    def _linear(self, choice: Choice) -> VectorChoice:
        """The model, linear around a choice in what each head gives."""
        options = {site: self._options(site) for site in self.sites}
        found = self.losses.around(self.patterns(choice), options, projections=self.projections)
        vectors = np.zeros((*self._costs.shape, len(found.residual)))
        for item, (site, head) in enumerate(self._heads):
            own = found.changes[site][:, :, head].T.numpy()
            vectors[item, : len(own)] = own
        vectors[np.arange(len(choice)), choice] = 0.0
        return VectorChoice(choice, found.residual.numpy(), vectors, self._costs)

    @cached_property
    def _heads(self) -> tuple[tuple[str, int], ...]:
        """(site, number) of each head."""
        return tuple((site, head) for site, prices in self.sites.items() for head in range(prices.heads))

    def _options(self, site: str) -> tuple[HeadPattern, ...]:
        return (EveryKey(), *self.candidates[self.sites[site].group])

    @cached_property
    def _costs(self) -> Reals:
        """[heads, options] milliseconds; infinite where a head has fewer options."""
        rows = [(self.sites[site].dense_ms, *self.sites[site].ms) for site, _ in self._heads]
        most = max(map(len, rows))
        return np.array([(*row, *[inf] * (most - len(row))) for row in rows])
