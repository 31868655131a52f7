"""places_of_the_best: topk and sort by places that a kernel finds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.layout.computed.places import places_of_the_best

l0 = torch.ops.l0compile


class Places(nn.Module):
    def __init__(self, formula: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Any:
        return self.formula(x)


# The arguments of ``top_places`` for rows of 9 different numbers.
FORMS: dict[str, tuple[Callable[[Tensor], Any], tuple[Any, ...]]] = {
    "topk": (lambda x: tuple(x.topk(3)), (3, True, True)),
    "values of topk": (lambda x: x.topk(3).values, (3, True, True)),
    "smallest": (lambda x: tuple(x.topk(2, -1, largest=False)), (2, False, True)),
    "places in any order": (lambda x: x.topk(2, sorted=False).indices.sum(-1), (2, True, False)),
    "sort": (lambda x: tuple(x.sort(-1)), (9, False, True)),
    "stable sort": (lambda x: torch.sort(x, stable=True, descending=True)[1], (9, True, True)),
    "argsort": (lambda x: x.argsort(x.ndim - 1), (9, False, True)),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str, dynamic: bool, apply_once: Callable[..., Program]) -> None:
    formula, wanted = FORMS[name]
    x = torch.randn(4, 5, 9)
    program = capture(Places(formula).eval(), (x,), dynamic_shapes=({0: "rows"},) if dynamic else None)
    result = apply_once(program, places_of_the_best, x)
    (node,) = result.graph.find_nodes(op="call_function", target=l0.top_places.default)
    assert node.args[1:] == wanted


@pytest.mark.parametrize("shape", [(9,), (2, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_any_rank(shape: tuple[int, ...], dtype: torch.dtype, apply_once: Callable[..., Program]) -> None:
    x = torch.randperm(torch.Size(shape).numel()).reshape(shape).to(dtype)
    program = capture(Places(FORMS["topk"][0]).eval(), (x,))
    apply_once(program, places_of_the_best, x)


OTHERS: dict[str, tuple[Callable[[Tensor], Any], Tensor]] = {
    "another axis": (lambda x: x.topk(2, 0)[1], torch.randn(5, 9)),
    "float64": (lambda x: x.topk(2)[1], torch.randn(5, 9).double()),
    "int64": (lambda x: x.sort()[1], torch.arange(9)),
    "more than are ordered": (lambda x: x.sort()[1], torch.randn(2, 3000)),
    "many, of which some may be equal": (lambda x: x.topk(9)[1], torch.randn(5, 12)),
    "none": (lambda x: x.topk(0)[1], torch.randn(5, 9)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_fit_stays(name: str) -> None:
    formula, x = OTHERS[name]
    program = capture(Places(formula).eval(), (x,))
    assert places_of_the_best(program) is program
