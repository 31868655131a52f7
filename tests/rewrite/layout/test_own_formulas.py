"""Our own operators in ATen's: the same numbers, for every option."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.rewrite.layout.decompose import decompose
from l0compile.rewrite.layout.own_formulas import OWN_FORMULAS

l0 = torch.ops.l0compile


class Call(nn.Module):
    """A call of an operator with tensors, and others that are fixed."""

    def __init__(self, operator: Any, *others: Any) -> None:
        super().__init__()
        self.operator, self.others = operator, others

    def forward(self, *tensors: Tensor) -> Any:
        return self.operator(*tensors, *self.others)


def check(module: nn.Module, *tensors: Tensor) -> None:
    program = decompose(capture(module.eval(), tensors), has_kernel=lambda node: False)
    assert not any(node.target in OWN_FORMULAS for node in program.graph.nodes)
    torch.testing.assert_close(program.run(*tensors), module(*tensors), rtol=1e-5, atol=1e-5)


@settings(max_examples=15)
@given(
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]), tokens=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    before=st.none() | st.integers(0, 3), after=st.none() | st.integers(0, 2),
    mask=st.sampled_from(["none", "bool", "added"]),
)  # fmt: skip
def test_attention(
    heads: tuple[int, int], tokens: tuple[int, int], before: int | None, after: int | None, mask: str
) -> None:
    (query, kv), (rows, columns) = heads, tokens
    q = torch.randn(2, rows, query * 4)
    k, v = torch.randn(2, columns, kv * 4), torch.randn(2, columns, kv * 6)
    live = torch.rand(2, 1, rows, columns) < 0.7  # some queries see no key
    options = (query, 0.5, before, after)
    if mask == "none":
        check(Call(lambda q, k, v, *others: l0.attention(q, k, v, None, *others), *options), q, k, v)
    else:
        given_mask = live if mask == "bool" else torch.where(live, torch.randn(live.shape), float("-inf"))
        check(Call(l0.attention, *options), q, k, v, given_mask)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope(interleaved: bool) -> None:
    angles = torch.randn(1, 5, 4 if interleaved else 8)
    check(Call(l0.rope, 3, interleaved), torch.randn(2, 5, 24), angles.cos(), angles.sin())


@pytest.mark.parametrize("activation", ["", "gelu", "silu"])
def test_dense_linear(activation: str) -> None:
    x, weight, bias, residual = (torch.randn(*shape) for shape in ((2, 3, 8), (5, 8), (5,), (2, 3, 5)))
    check(Call(l0.dense_linear, 6, activation), x, weight, bias, residual)


def test_layers_of_integers() -> None:
    """Rounding is exact, NaN and infinities included; layers have a rounding between scale and bias."""
    x, inverse = torch.randn(3, 5) * 300, torch.rand(5)
    x[0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    check(Call(l0.quantize, 9), x, inverse)
    q, scale = torch.randint(0, 256, (3, 5)).to(torch.uint8), torch.rand(4) / 1000
    weight = torch.randint(-127, 128, (4, 5)).to(torch.int8)
    check(Call(l0.int8_linear, torch.randn(4), 9), q, weight, scale)
    check(Call(l0.int8_linear, None, 9), q, weight, scale)


def test_norms() -> None:
    x, weight, bias = torch.randn(2, 3, 8), torch.randn(8), torch.randn(8)
    check(Call(l0.compacted_layer_norm, 1e-5, 12, 0.3, 2.0), x, weight, bias)
    check(Call(l0.compacted_rms_norm, 1e-5, 12, 2.0), x, weight)


def test_what_rounds_in_between_rounds_there_too() -> None:
    """In half precision the formulas give the operators' numbers, bit by bit."""
    x, weight, scale = torch.randn(2, 3, 8).half(), torch.randn(8), torch.randn(8).half()
    cos, sin = torch.randn(1, 3, 4).half(), torch.randn(1, 3, 4).half()
    for module, tensors in (
        (Call(l0.narrow_rms_norm, 1e-5, 12, 2.0), (x, weight, scale)),
        (Call(l0.rope, 2, False), (x, cos, sin)),
    ):
        program = decompose(capture(module.eval(), tensors), has_kernel=lambda node: False)
        assert torch.equal(program.run(*tensors), module(*tensors))
