"""Control flow that depends on values, as functions of the programs in it and of tensors.

The semantics of ``torch.ops.higher_order``: a program takes tensors (and sizes) and gives a tuple of tensors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from l0compile.errors import InputError

Body = Callable[..., Sequence[Any]]


def cond(true: Body, false: Body, condition: Any, *operands: Any) -> tuple[Any, ...]:
    """``true(*operands)`` or ``false(*operands)``, whose results are alike."""
    # Both are alike in shape, and a fake tensor has no value to decide by.
    return tuple((true if isinstance(condition, FakeTensor) or condition else false)(*operands))


def while_loop(condition: Body, body: Body, carried: int, *values: Any) -> tuple[Any, ...]:
    """Replace the first ``carried`` values by ``body(*values)`` while ``condition(*values)`` gives true."""
    current, rest = values[:carried], values[carried:]
    if any(isinstance(value, FakeTensor) for value in values):
        return tuple(body(*current, *rest))  # the shapes are the same however often it runs
    while condition(*current, *rest)[0]:
        current = tuple(body(*current, *rest))
    return tuple(current)


def map_over(body: Body, mapped: int, *values: Any) -> tuple[Any, ...]:
    """``body(*(x[i] for x in the first values), *others)`` for each i, with results stacked.

    Raises:
        InputError: there is no i.
    """
    return scan(body, 0, mapped, *values)


def scan(body: Body, carried: int, mapped: int, *values: Any) -> tuple[Any, ...]:
    """``body(*carry, *(x[i] for x in xs), *others)`` gives the next carry and a result; results are stacked.

    Args:
        body: a program.
        carried: the number of values in the carry.
        mapped: the number of xs.
        values: the first carry, the xs and the others.

    Raises:
        InputError: there is no i.
    """
    carry, xs, others = values[:carried], values[carried : carried + mapped], values[carried + mapped :]
    if any(isinstance(value, FakeTensor) for value in values):
        made = tuple(body(*carry, *(x[0] for x in xs), *others))
        stacked = (y.new_empty((xs[0].shape[0], *y.shape)) for y in made[carried:])
        return (*made[:carried], *stacked)
    rows: list[tuple[Tensor, ...]] = []
    for i in range(xs[0].shape[0]):
        made = tuple(body(*carry, *(x[i] for x in xs), *others))
        carry, rows = made[:carried], [*rows, made[carried:]]
    if not rows:
        raise InputError("a scan or map over an empty tensor: expected one element or more, got none")
    return (*carry, *map(torch.stack, zip(*rows, strict=True)))


CONTROL_FLOW: dict[str, Callable[..., tuple[Any, ...]]] = {
    "cond": cond, "while_loop": while_loop, "map": map_over, "scan": scan,
}  # fmt: skip
"""The functions by the names that code for PyTorch uses."""
