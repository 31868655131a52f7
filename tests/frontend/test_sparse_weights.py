"""Weights that are stored sparse: the same model, whose zeros are used, and a line that says what was found."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.sparse import SparseSemiStructuredTensorCUTLASS
from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

import l0compile as l0

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FORMS: dict[str, Any] = {
    "COO": Tensor.to_sparse,
    "CSR": Tensor.to_sparse_csr,
    "CSC": Tensor.to_sparse_csc,
    "BSR 4×1": lambda weight: weight.to_sparse_bsr((4, 1)),
    "BSC 2×4": lambda weight: weight.to_sparse_bsc((2, 4)),
}


class Net(nn.Module):
    def __init__(self, form: Any) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 4)
        self.dense = self.up.weight.detach().clone()
        self.dense[8:] = 0
        self.up.weight = nn.Parameter(form(self.dense), requires_grad=False)
        self.register_buffer("again", self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.linear(x, self.again).relu() + torch.sparse.mm(self.up.weight, x.t()).t())

    def reference(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.dense)
        return self.down(y.relu() + y).detach()


@pytest.mark.parametrize("form", FORMS)
def test_every_sparse_layout(form: str) -> None:
    model, x = Net(FORMS[form]).eval(), torch.randn(3, 16)
    weight = model.up.weight
    compiled = l0.compile(model, (x,), engine="torch")
    assert model.up.weight is weight and model.again is weight
    torch.testing.assert_close(compiled(x), model.reference(x), rtol=2e-5, atol=2e-5)
    explanation = compiled.explain()
    assert explanation.stored == {"up.weight": form, "again": form}
    assert f"up.weight ({form})" in " ".join(str(explanation).split())
    assert type(explanation).from_json(explanation.to_json()) == explanation


def test_its_zeros_are_used() -> None:
    model, x = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval(), torch.randn(3, 16)
    with torch.no_grad():
        model[0].weight[8:] = 0
    dense = model[0].weight.detach()
    model[0].weight = nn.Parameter(dense.to_sparse_csr(), requires_grad=False)
    compiled = l0.compile(model, (x,), engine="tvm")
    assert compiled.explain().regions[0].shape_after[0] == 8
    torch.testing.assert_close(compiled(x), model(x).detach(), rtol=2e-5, atol=2e-5)
    compacted = l0.compact(model, (x,))
    torch.testing.assert_close(compacted(x).detach(), model(x).detach(), rtol=2e-5, atol=2e-5)
    with torch.no_grad():  # a weight of this kind is no constant to torch.compile: the graph runs in PyTorch
        torch.testing.assert_close(
            torch.compile(model, backend="l0compile")(x), model(x), rtol=2e-5, atol=2e-5
        )


def test_two_of_four() -> None:
    """A format of GPU kernels: the model cannot run here, and its compiled one can."""
    dense = torch.randn(64, 64, dtype=torch.bfloat16) * torch.tensor([1, 0, 0, 1]).repeat(16).bfloat16()
    packed, meta = sparse_semi_structured_from_dense_cutlass(dense)
    model, x = nn.Linear(64, 64, dtype=torch.bfloat16).eval(), torch.randn(3, 64, dtype=torch.bfloat16)
    expected = F.linear(x, dense, model.bias).detach()
    sparse = SparseSemiStructuredTensorCUTLASS(dense.shape, packed, meta, None, None, None)
    model.weight = nn.Parameter(sparse, requires_grad=False)
    compiled = l0.compile(model, (x,), engine="torch")
    assert compiled.explain().stored == {"weight": "2:4"}
    torch.testing.assert_close(compiled(x), expected)
