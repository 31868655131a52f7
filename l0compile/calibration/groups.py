"""Sums over groups of examples, for many resamples at once.

A column of weights [N, R] says how often each example was drawn in one resample. A column, not a row: sorting examples
then moves whole rows, and sums run along memory.
"""

from dataclasses import dataclass

import numpy as np

from l0compile.calibration.predictions import Floats, Integers


@dataclass(frozen=True, eq=False)
class Groups:
    """Examples sorted into groups, for sums over each group of many resamples at once.

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
            weights: [N, R].
            values: some of [N].

        Returns:
            [len(values), groups, R].
        """
        sorted_weights, columns = weights[self.order], np.stack(values)[:, self.order]
        found = np.zeros((len(values), len(self.ends) - 1, weights.shape[1]))
        for group, (start, end) in enumerate(zip(self.ends, self.ends[1:], strict=False)):
            # Row by row, a product of matrices: no temporary of the size of the weights.
            found[:, group] = columns[:, start:end] @ sorted_weights[start:end]
        return found


def tied(scores: Floats) -> tuple[Integers, Integers]:
    """Sort ``scores`` [N] ascending; return their order [N], and where in it groups of equal ones end, exclusive."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(ranked))
    return order, ends


def cumulative(values: Floats, ends: Integers) -> Floats:
    """Return sums of ``values`` [N, R] from the start to each of ``ends``, after a row of zeros [groups + 1, R]."""
    sums = np.cumsum(values, axis=0)[ends - 1]
    return np.concatenate((np.zeros((1, values.shape[1])), sums))
