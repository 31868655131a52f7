"""l0compile::gate against a Kronecker product, its gradients, its fake and its place in an exported graph."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim, export

from l0compile.errors import GateError
from l0compile.ir.ops.gate import grid_shape


def kron_reference(x: Tensor, z: Tensor, block: list[int]) -> Tensor:
    """x * (z kron ones(block)), cut to the size of x: the definition of the op."""
    mask = torch.kron(z, torch.ones(block, dtype=z.dtype))
    return x * mask[tuple(slice(size) for size in x.shape[-len(block) :])]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int]]:
    block = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    lead = draw(st.lists(st.integers(1, 3), max_size=2))
    sizes = [draw(st.integers(1, 9)) for _ in block]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(*lead, *sizes, dtype=torch.float64, generator=generator)
    z = torch.rand(grid_shape(tuple(sizes), tuple(block)), dtype=torch.float64, generator=generator)
    return x, z, block


@given(problems())
def test_is_a_kronecker_product(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    x, z, block = problem
    torch.testing.assert_close(
        torch.ops.l0compile.gate(x, z, block), kron_reference(x, z, block), rtol=0, atol=0
    )


@given(problems())
def test_gradients_are_those_of_the_reference(problem: tuple[Tensor, Tensor, list[int]]) -> None:
    x, z, block = problem
    weight = torch.arange(1.0, x.numel() + 1, dtype=x.dtype).reshape(x.shape).cos()
    gradients = []
    for function in (torch.ops.l0compile.gate, kron_reference):
        inputs = [t.clone().requires_grad_() for t in (x, z)]
        gradients.append(torch.autograd.grad((function(*inputs, block) * weight).sum(), inputs))
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize(
    ("shape", "block"),
    [((8, 6), [4, 1]), ((7, 5), [2, 2]), ((2, 3, 6), [3]), ((40, 3), [20, 1]), ((5,), [5])],
)
def test_gradcheck_and_opcheck(shape: tuple[int, ...], block: list[int]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    z = torch.rand(grid_shape(shape[-len(block) :], tuple(block)), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(torch.ops.l0compile.gate, (x, z, block))
    assert torch.autograd.gradgradcheck(torch.ops.l0compile.gate, (x, z, block))
    torch.library.opcheck(torch.ops.l0compile.gate.default, (x, z, block))


def test_result_of_a_transposed_input_is_contiguous_and_new() -> None:
    x = torch.randn(6, 4).t()
    y = torch.ops.l0compile.gate(x, torch.ones(1, 6), [4, 1])
    assert y.is_contiguous() and y.data_ptr() != x.data_ptr() and torch.equal(x, y)


def test_only_the_needed_gradient_is_computed() -> None:
    x = torch.randn(4, 4, requires_grad=True)
    z = torch.tensor([[0.0], [2.0]])
    torch.ops.l0compile.gate(x, z, [2, 4]).sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 0.0, 2.0, 2.0])[:, None].expand(4, 4))
    assert z.grad is None


@pytest.mark.parametrize(
    ("z", "block", "text"),
    [
        (torch.ones(3, 4), [4, 1], r"expected z of shape \(2, 4\)"),
        (torch.ones(8), [4, 1], r"expected z of shape \(2, 4\)"),
        (torch.ones(2, 4, dtype=torch.float64), [4, 1], "dtype torch.float32"),
        (torch.ones(2, 4), [4, 0], "positive edges"),
        (torch.ones(2, 4), [1, 4, 1], "1 to 2 positive edges"),
    ],
)
def test_misfits_are_named(z: Tensor, block: list[int], text: str) -> None:
    with pytest.raises(GateError, match=text):
        torch.ops.l0compile.gate(torch.ones(8, 4), z, block)


class _HeadGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("z", torch.tensor([1.0, 0.0, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.l0compile.gate(x * 2, self.z, [4])


def test_export_keeps_one_node_with_symbolic_sizes() -> None:
    model, x = _HeadGate(), torch.randn(2, 5, 12)
    exported = export(model, (x,), dynamic_shapes=({0: Dim("batch", max=64), 1: Dim("tokens", max=512)},))
    nodes = [n for n in exported.graph.nodes if n.target == torch.ops.l0compile.gate.default]
    assert len(nodes) == 1 and nodes[0].args[2] == [4]
    assert [str(s) for s in nodes[0].meta["val"].shape] != ["2", "5", "12"]
    longer = torch.randn(3, 17, 12)
    assert torch.equal(exported.module()(longer), model(longer))
