"""batched_products: products of two computed tensors have one batch axis, and keys are read as they lie."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.layout.computed.products import batched_products

aten, l0 = torch.ops.aten, torch.ops.l0compile


class Product(nn.Module):
    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.formula(left, right)


# (formula, sizes of both operands, whether the right one is read transposed)
FORMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...], bool]] = {
    "matmul": (lambda a, b: a @ b, (2, 3, 16, 40), (2, 3, 40, 20), False),
    "keys": (lambda a, b: a @ b.transpose(-1, -2), (2, 3, 16, 40), (2, 3, 20, 40), True),
    "keys, permuted": (lambda a, b: a @ b.permute(0, 1, 3, 2), (2, 3, 16, 40), (2, 3, 20, 40), True),
    "transposed elsewhere": (lambda a, b: a @ b.transpose(0, 1), (2, 3, 16, 40), (3, 2, 40, 20), False),
    "bmm": (torch.bmm, (6, 16, 40), (6, 40, 20), False),
    "mm": (torch.mm, (60, 40), (40, 20), False),
    "mm of t": (lambda a, b: torch.mm(a, b.t()), (60, 40), (20, 40), True),
    "one right matrix": (lambda a, b: a @ b, (2, 3, 16, 40), (40, 20), False),
    "one left matrix": (lambda a, b: a @ b, (16, 40), (2, 3, 40, 20), False),
    "broadcast": (lambda a, b: a @ b, (2, 1, 16, 40), (1, 3, 40, 20), False),
    "batch of one": (lambda a, b: a @ b, (1, 1, 60, 40), (2, 1, 40, 20), False),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_forms(
    name: str, dynamic: bool, apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    formula, left, right, turned = FORMS[name]
    inputs = torch.randn(left), torch.randn(right)
    rows = {len(left) - 2: "rows"} if dynamic else None
    program = capture(Product(formula).eval(), inputs, dynamic_shapes=(rows, None) if dynamic else None)
    result = apply_once(program, batched_products, *inputs)
    (node,) = result.graph.find_nodes(op="call_function", target=l0.product.default)
    assert node.args[2] is turned
    assert not any(count(result, operator) for operator in (aten.matmul.default, aten.bmm.default))
    if turned:
        assert not count(result, aten.transpose.int) and not count(result, aten.permute.default)


@pytest.mark.parametrize(
    ("left", "right"), [((2, 1, 400), (2, 400, 90)), ((2, 5, 7), (2, 7, 5)), ((400,), (400, 90))], ids=str
)
def test_few_rows_and_little_work_stay(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    program = capture(Product(torch.matmul).eval(), (torch.randn(left), torch.randn(right)))
    assert batched_products(program) is program


def test_other_numbers_stay() -> None:
    inputs = torch.randn(2, 16, 40).double(), torch.randn(2, 40, 40).double()
    program = capture(Product(torch.matmul).eval(), inputs)
    assert batched_products(program) is program
