"""The table of operators that a fuzzed graph may use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from torch import nn

from tests.fuzz.shape import Shape

Draw = Callable[[st.SearchStrategy[Any]], Any]
Attributes = dict[str, Any]

WIDTHS = st.sampled_from([8, 4, 12, 16])
BOOLEAN = st.booleans()


@dataclass(frozen=True)
class Operator:
    """One entry.

    Attributes:
        make: ``make(*shapes, **attributes)``: the module that computes it, with parameters of the right sizes.
        fits: whether these operands can be given to it.
        attributes: ``attributes(draw, *shapes)``: JSON values to call ``make`` with.
        operands: how many tensors it takes.
    """

    make: Callable[..., nn.Module]
    fits: Callable[..., bool]
    attributes: Callable[..., Attributes]
    operands: int = 1


OPERATORS: dict[str, Operator] = {}


def nothing(draw: Draw, *shapes: Shape) -> Attributes:
    """No attributes."""
    return {}


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any], **settings: Any):
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, *tensors: Any) -> Any:
        return self.function(*tensors, **self.settings)
