"""Sums over examples in many resamples at once.

A row of weights [R, N] says how often each example was drawn in one resample.
"""

from dataclasses import dataclass

import numpy as np

from l0compile.calibration.predictions import Floats, Integers


@dataclass(frozen=True, eq=False)
class Groups:
    """Examples sorted into groups.

    order: examples, those of the first group first [N]. ends: where groups begin and end in it [groups + 1].
    """

    order: Integers
    ends: Integers

    @classmethod
    def of(cls, index: Integers, groups: int) -> "Groups":
        """Make ``groups`` groups, of which example i is in number ``index[i]``."""
        ends = np.concatenate(([0], np.cumsum(np.bincount(index, minlength=groups))))
        return cls(np.argsort(index, kind="stable"), ends)

    def sums(self, weights: Floats, *values: Floats) -> Floats:
        """Sum weight times value over each group.

        Args:
            weights: [R, N].
            values: some of [N].

        Returns:
            [len(values), groups, R].
        """
        taken, columns = weights.take(self.order, axis=1), np.stack(values, 1)[self.order]
        found = np.zeros((len(values), len(self.ends) - 1, len(weights)))
        for group, (start, end) in enumerate(zip(self.ends[:-1], self.ends[1:], strict=True)):
            # Products of matrices need no temporary of the size of the weights.
            found[:, group] = (taken[:, start:end] @ columns[start:end]).T
        return found


@dataclass(frozen=True, eq=False)
class Ranking:
    """Examples sorted by a score, ascending, with its ties.

    order: of the examples [N]. start, end: where the run of equal scores begins and ends (exclusive) that the example
    at this place is in [N].
    """

    order: Integers
    start: Integers
    end: Integers

    @classmethod
    def of(cls, scores: Floats) -> "Ranking":
        """Sort ``scores`` [N]."""
        order = np.argsort(scores, kind="stable")
        ranked = scores[order]
        edges = np.concatenate(([0], np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, [len(ranked)]))
        lengths = np.diff(edges)
        return cls(order, np.repeat(edges[:-1], lengths), np.repeat(edges[1:], lengths))

    def edges(self) -> Integers:
        """Return where runs begin, and where the last one ends [runs + 1]."""
        return np.append(np.flatnonzero(self.start == np.arange(len(self.start))), len(self.start))


def running(values: Floats) -> Floats:
    """Return the sums of the first 0, 1, ..., N of ``values`` [R, N], as [R, N + 1]."""
    found = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=found[:, 1:])
    return found
