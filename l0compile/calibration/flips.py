"""Whether two forms of one model, such as hardened and compiled, say the same."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from l0compile.calibration.predictions import checked_logits
from l0compile.errors import DataError


@dataclass(frozen=True)
class Flips:
    """Two models' logits on the same examples.

    Attributes:
        flips: how many predictions differ.
        examples: how many examples there are.
        largest_difference: of two logits, as an absolute value.
        where: row and class of that difference.
        margin: the largest lead over the runner-up, in logits of the first model, of a prediction that differs; 0 if
            none does. Rounding flips only what was nearly a tie.
    """

    flips: int
    examples: int
    largest_difference: float
    where: tuple[int, int]
    margin: float


def compare(first: Tensor, second: Tensor) -> Flips:
    """Count prediction flips from ``first`` to ``second`` and find the largest difference of logits.

    Args:
        first: logits of the reference, float [N, classes].
        second: logits of the other model on the same examples, float [N, classes].

    Raises:
        DataError: they are empty, differ in shape, or hold NaN or infinity (a NaN would count as a prediction).
    """
    one, other = (
        checked_logits(first, "logits of the first model"),
        checked_logits(second, "logits of the second"),
    )
    if one.shape != other.shape:
        raise DataError(
            f"calibration: expected logits of one shape to compare, got {list(one.shape)} and {list(other.shape)}"
        )
    difference = np.abs(one - other)
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    flipped = one.argmax(axis=1) != other.argmax(axis=1)
    best_two = np.sort(one[flipped], axis=1)[:, -2:]
    margin = float((best_two[:, 1] - best_two[:, 0]).max(initial=0.0))
    return Flips(
        int(flipped.sum()), len(one), float(difference[row, column]), (int(row), int(column)), margin
    )
