"""The passes for GPUs: linear layers, norms and patches get the operators of kernels; what has none is written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.ops.bsr import to_blocks
from l0compile.ir.program import Program
from l0compile.rewrite.layout.gpu_rows import gpu_rows
from l0compile.rewrite.layout.patches import patches_to_linear
from l0compile.rewrite.pipeline import assign_gpu_layouts
from l0compile.rewrite.runner import run

aten, l0 = torch.ops.aten, torch.ops.l0compile
ROWS = {"dense_linear", "rows_bsr_linear", "compacted_layer_norm", "compacted_rms_norm"}


class Formula(nn.Module):
    """Layers of 8 features for a formula of them and of the input."""

    def __init__(self, formula: Callable[[Any, Tensor], Any], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.formula = formula
        self.a, self.b = nn.Linear(8, 8, dtype=dtype), nn.Linear(8, 8, bias=False, dtype=dtype)
        self.norm, self.rms = nn.LayerNorm(8, dtype=dtype), nn.RMSNorm(8, dtype=dtype)
        weight = torch.randn(8, 8, dtype=dtype) * (torch.rand(8, 8) < 0.5)
        for name, part in zip(("data", "indices", "indptr"), to_blocks(weight, 2, 2), strict=True):
            self.register_buffer(name, part)

    def sparse(self, x: Tensor) -> Any:
        return l0.bsr_linear(x, self.data, self.indices, self.indptr, self.a.bias, 8, 8)

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def names(program: Program) -> list[str]:
    return [
        str(node.target).split(".")[1]
        for node in program.graph.nodes
        if node.op == "call_function" and isinstance(node.meta["val"], Tensor)
    ]


def laid_out(model: nn.Module, x: Tensor, kernels: bool = True, dynamic: Any = None) -> Program:
    program = capture(model.eval(), (x,), dynamic_shapes=dynamic)
    return assign_gpu_layouts(program, lambda node: kernels)


FORMULAS: dict[str, tuple[Callable[[Any, Tensor], Any], list[str]]] = {
    "activation": (lambda m, x: F.gelu(m.a(x)), ["dense_linear"]),
    "residual": (lambda m, x: x + m.b(x), ["dense_linear"]),
    "both": (lambda m, x: x + F.relu(m.a(x)), ["dense_linear"]),
    "norms": (lambda m, x: m.rms(m.norm(x)), ["compacted_layer_norm", "compacted_rms_norm"]),
    "blocks": (lambda m, x: F.silu(m.sparse(x)), ["rows_bsr_linear"]),
    "two readers": (lambda m, x: ((y := m.a(x)).relu(), y + x), ["dense_linear", "relu", "add"]),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_become_operators_of_kernels_and_compute_the_same(name: str, dtype: torch.dtype) -> None:
    (formula, expected), x = FORMULAS[name], torch.randn(3, 8).to(dtype)
    model = Formula(formula, dtype)
    program = laid_out(model, x)
    assert names(program) == expected
    limit = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(program.run(x), model(x), **limit)


def test_other_types_stay_as_they_are() -> None:
    model = Formula(lambda m, x: m.norm(m.a(x)), torch.float64)
    program = run(capture(model.eval(), (torch.randn(3, 8).double(),)), [gpu_rows])
    assert not ROWS & {*names(program)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_of_16_bits_becomes_one_operator(dtype: torch.dtype) -> None:
    def attend(m: Any, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (m.a, m.b, m.a))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)

    model, x = Formula(attend, dtype), torch.randn(2, 5, 8).to(dtype)
    program = laid_out(model, x)
    assert names(program) == ["dense_linear", "dense_linear", "dense_linear", "attention"]
    torch.testing.assert_close(program.run(x), model(x), rtol=2e-2, atol=2e-2)


def test_a_mask_that_is_added_to_16_bits_is_left_to_pytorchs_definition() -> None:
    def attend(m: Any, x: Tensor) -> Tensor:
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q, attn_mask=x[:1, :, :5])

    assert "attention" not in names(laid_out(Formula(attend), torch.randn(2, 5, 8).bfloat16()))


def test_an_order_of_block_rows_goes_with_them() -> None:
    program = laid_out(Formula(lambda m, x: m.sparse(x)), torch.randn(3, 8))
    (node,) = (node for node in program.graph.nodes if "rows_bsr_linear" in str(node.target))
    order = program.constants[str(node.args[4].target)]
    assert sorted(order.tolist()) == [0, 1, 2, 3]


def test_what_no_kernel_takes_is_written_out() -> None:
    model = Formula(lambda m, x: m.norm(x + F.gelu(m.a(x))))
    x = torch.randn(3, 8)
    program = laid_out(model, x, kernels=False)
    assert not ROWS & {*names(program)}
    torch.testing.assert_close(program.run(x), model(x), rtol=1e-5, atol=1e-5)


@settings(max_examples=12)
@given(
    patch=st.tuples(st.integers(1, 4), st.integers(1, 4)), grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.integers(1, 3), bias=st.booleans(), dynamic=st.booleans(),
)  # fmt: skip
def test_patches_are_what_the_convolution_is(
    patch: tuple[int, int], grid: tuple[int, int], channels: int, bias: bool, dynamic: bool
) -> None:
    model = nn.Conv2d(channels, 5, patch, patch, bias=bias).eval()
    x = torch.randn(2, channels, grid[0] * patch[0], grid[1] * patch[1])
    program = capture(model, (x,), dynamic_shapes=({0: "batch"},) if dynamic else None)
    made = run(program, [patches_to_linear])
    assert ("linear" in names(made)) == (patch != (1, 1))
    torch.testing.assert_close(made.run(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 4, 3, 2), nn.Conv2d(3, 4, 2, 2, padding=1), nn.Conv2d(4, 4, 2, 2, groups=2)],
    ids=str,
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    x = torch.randn(1, layer.in_channels, 8, 8)
    assert "linear" not in names(run(capture(layer.eval(), (x,)), [patches_to_linear]))
