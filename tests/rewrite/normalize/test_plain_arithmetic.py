"""plain_arithmetic: factors and swapped differences are spelled out, and nothing is rounded otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.ir.program import Program
from l0compile.rewrite.normalize.plain_arithmetic import plain_arithmetic
from l0compile.rewrite.runner import run

aten = torch.ops.aten


class Formula(nn.Module):
    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.formula(x, y)


CHANGED: dict[str, Any] = {
    "add": lambda x, y: torch.add(x, y, alpha=2.5),
    "sub": lambda x, y: torch.sub(x, y, alpha=3),
    "add a number": lambda x, y: torch.add(x * y, 2, alpha=3),
    "integers": lambda x, y: torch.add(x.long(), y.long(), alpha=3),
    "number minus tensor": lambda x, y: 1.0 - x * y,
    "number minus integers": lambda x, y: 2.5 - y.long(),
    "swapped": lambda x, y: torch.rsub(x, y),
    "swapped with a factor": lambda x, y: torch.rsub(x, y, alpha=2),
    "gated": lambda x, y: torch.nn.functional.glu(x * y),
}


@pytest.mark.parametrize("formula", CHANGED.values(), ids=CHANGED)
def test_spelled_out(
    formula: Any,
    captured: Callable[..., Program],
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    inputs = torch.randn(3, 4) * 5, torch.randn(4) * 5
    result = apply_once(captured(Formula(formula), *inputs), plain_arithmetic, *inputs)
    assert result.history[-1].changed > 0
    assert not any("alpha" in node.kwargs for node in result.graph.nodes)
    assert (
        count(result, aten.rsub.Scalar)
        == count(result, aten.rsub.Tensor)
        == count(result, aten.glu.default)
        == 0
    )


@pytest.mark.parametrize(
    "formula",
    [lambda x, y: torch.add(x, y > 0, alpha=2), lambda x, y: torch.add(x.double(), y, alpha=0.1)],
    ids=["bool", "float32 in float64"],
)
def test_a_product_of_another_type_is_left_alone(formula: Any, captured: Callable[..., Program]) -> None:
    program = captured(Formula(formula), torch.randn(3, 4), torch.randn(4))
    assert plain_arithmetic(program) is program


def test_plain_sums_are_no_change(captured: Callable[..., Program]) -> None:
    inputs = torch.randn(3, 4), torch.randn(4)
    program = captured(Formula(lambda x, y: x + y - x * 2), *inputs)
    assert plain_arithmetic(program) is program
    assert run(program, [plain_arithmetic]).history[-1].changed == 0
