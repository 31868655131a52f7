"""read_quantized_graph: PT2E's layers become layers of integers, other roundings plain arithmetic, bit for bit."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed as _decomposed  # registers the operators

import l0compile as l0
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.quantized_graphs import read_quantized_graph

d = torch.ops.quantized_decomposed
UNSIGNED, SIGNED, SEVEN_BITS = (0, 255, torch.uint8), (-128, 127, torch.int8), (0, 127, torch.uint8)


class Layer(nn.Module):
    """A linear layer as PT2E leaves it, [..., 8] -> [..., 6]."""

    def __init__(
        self, scale: float = 0.02, zero_point: int = 100, levels: Any = UNSIGNED, bias: bool = True
    ) -> None:
        super().__init__()
        self.levels = scale, zero_point, *levels
        self.register_buffer("weight", torch.randint(-128, 128, (6, 8), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(6, dtype=torch.float64) * 0.01 + 1e-4)
        self.register_buffer("zeros", torch.zeros(6, dtype=torch.int64))
        self.bias = nn.Parameter(torch.randn(6)) if bias else None

    def rounded(self, x: Tensor) -> Tensor:
        found: Tensor = d.dequantize_per_tensor(d.quantize_per_tensor(x, *self.levels), *self.levels)
        return found

    def wide(self) -> Tensor:
        found: Tensor = d.dequantize_per_channel(
            self.weight, self.scales, self.zeros, 0, -128, 127, torch.int8
        )
        return found

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.rounded(x), self.wide(), self.bias)


def names(program: Program) -> list[str]:
    return [node.target._schema.name for node in program.graph.nodes if hasattr(node.target, "_schema")]


@settings(max_examples=20)
@given(
    levels=st.sampled_from([(0, UNSIGNED), (100, UNSIGNED), (255, UNSIGNED), (-128, SIGNED), (3, SIGNED)]),
    scale=st.floats(1e-3, 0.1),
    bias=st.booleans(),
)
def test_a_layer(captured: Any, apply_once: Any, levels: Any, scale: float, bias: bool) -> None:
    torch.manual_seed(0)
    model, x = Layer(scale, *levels, bias), torch.randn(3, 5, 8)
    result = apply_once(captured(model, x), read_quantized_graph, x)
    assert names(result) == ["l0compile::quantize", "l0compile::int8_linear"]
    # The same integers are multiplied: only the sum in float32 is rounded otherwise.
    scale, zero_point, low, *_ = model.levels
    shifted = torch.ops.l0compile.quantize(x, torch.tensor([1.0 / scale]), zero_point - low).int() + low
    assert torch.equal(shifted, d.quantize_per_tensor(x, *model.levels).int())


class Convolution(Layer):
    """[N, 8, H, W] -> [N, 6, H', W']."""

    def __init__(self, groups: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups
        self.register_buffer("weight", torch.randint(-128, 128, (6, 8 // groups, 3, 3), dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(self.rounded(x), self.wide(), self.bias, 2, 1, 1, self.groups)


def test_a_convolution(captured: Any, apply_once: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 7)
    result = apply_once(captured(Convolution(), x), read_quantized_graph, x)
    assert names(result) == ["l0compile::quantize", "l0compile::int8_conv2d"]
    grouped = apply_once(captured(Convolution(groups=2), x), read_quantized_graph, x)
    assert "aten::conv2d" in names(grouped) and "l0compile::quantize" not in names(grouped)


class OneScale(Layer):
    def wide(self) -> Tensor:
        found: Tensor = d.dequantize_per_tensor(self.weight, 0.01, 0, -128, 127, torch.int8)
        return found


def test_one_scale_for_a_weight(captured: Any, apply_once: Any) -> None:
    x = torch.randn(2, 8)
    result = apply_once(captured(OneScale(), x), read_quantized_graph, x)
    assert names(result) == ["l0compile::quantize", "l0compile::int8_linear"]


class Shifted(Layer):
    def wide(self) -> Tensor:
        found: Tensor = d.dequantize_per_channel(
            self.weight, self.scales, self.zeros + 1, 0, -128, 127, torch.int8
        )
        return found


class Columns(Layer):
    def wide(self) -> Tensor:
        scales, zeros = torch.full((8,), 0.01, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
        found: Tensor = d.dequantize_per_channel(self.weight, scales, zeros, 1, -128, 127, torch.int8)
        return found


class Masked(Layer):
    """A mask that was on when the model was quantised has levels of its own; both fold to one weight of float32."""

    def wide(self) -> Tensor:
        mask = (self.weight > 0).to(torch.int8)
        found: Tensor = super().wide() * d.dequantize_per_tensor(mask, 1.0, 0, -128, 127, torch.int8)
        return found


@pytest.mark.parametrize(
    "model",
    [Layer(levels=SEVEN_BITS), Shifted(), Columns(), Masked()],
    ids=["7 bits", "shifted", "columns", "masked"],
)
def test_other_layers_are_rounded_in_float(captured: Any, apply_once: Any, model: nn.Module) -> None:
    x = torch.randn(2, 8)
    result = apply_once(captured(model, x), read_quantized_graph, x)
    left = names(result)
    assert "aten::round" in left and "aten::linear" in left and "l0compile::quantize" not in left
    assert torch.equal(result.module()(x)[0], model(x))


class Rounding(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return self.rounded(x)


@pytest.mark.parametrize("levels", [UNSIGNED, SIGNED, SEVEN_BITS], ids=str)
def test_a_rounding_alone_is_exact(captured: Any, apply_once: Any, levels: Any) -> None:
    model = Rounding(0.03, 5, levels)
    x = torch.cat([torch.randn(1000), 0.03 * (torch.arange(-600, 600) + 0.5), torch.tensor([1e30, -1e30])])
    result = apply_once(captured(model, x), read_quantized_graph, x)
    assert names(result) == ["aten::mul", "aten::round", "aten::clamp", "aten::mul"]
    assert torch.equal(result.module()(x)[0], model(x))


class Dynamic(Layer):
    def rounded(self, x: Tensor) -> Tensor:
        scale, zero = d.choose_qparams.tensor(x, 0, 255, 1e-6, torch.uint8)
        q = d.quantize_per_tensor.tensor(x, scale, zero, 0, 255, torch.uint8)
        found: Tensor = d.dequantize_per_tensor.tensor(q, scale, zero, 0, 255, torch.uint8)
        return found


def test_computed_scales_stay(captured: Any) -> None:
    x = torch.randn(2, 8)
    program = captured(Dynamic(), x)
    assert read_quantized_graph(program) is program


def test_a_compiled_convolution_without_an_island() -> None:
    torch.manual_seed(1)
    model, x = nn.Sequential(Convolution(), nn.ReLU()).eval(), torch.randn(2, 8, 12, 12)
    compiled = l0.compile(model, (x,), engine="tvm")
    assert not compiled.explain().islands
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)


def test_compiled_without_an_island() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.LayerNorm(8), Layer(), nn.GELU(), nn.Linear(6, 8), Layer(0.05, -4, SIGNED)
    ).eval()
    x = torch.randn(4, 9, 8)
    compiled = l0.compile(model, (x,), engine="tvm")
    explained = compiled.explain()
    assert not explained.islands
    assert [region.precision for region in explained.regions] == ["int8", "float32", "int8"]
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-3)
