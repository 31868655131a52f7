"""dense_kernels(): the same answers, in PyTorch's reference of the operators and on packed weights."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.lower.partition.instructions import instructions
from l0compile.rewrite.formats.dense_kernels import dense_kernels
from l0compile.rewrite.runner import run
from l0compile.runtime.torch_kernels import attention
from l0compile.runtime.torch_stage import TorchStage

l0 = torch.ops.l0compile
ACTIVATIONS: dict[str, Any] = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
}


class Layer(nn.Module):
    """A layer with an activation and a sum, in either order, and perhaps another reader in between."""

    def __init__(self, layer: nn.Module, activation: str, sum_first: bool, read_twice: bool) -> None:
        super().__init__()
        self.layer, self.activation = layer, ACTIVATIONS[activation]
        self.sum_first, self.read_twice = sum_first, read_twice

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        z = self.activation(y + other) if self.sum_first else self.activation(y) + other
        return z * y if self.read_twice else z


def engines(model: nn.Module, *inputs: torch.Tensor, dynamic: Any = None) -> tuple[Program, TorchStage]:
    program = run(capture(model.eval(), inputs, dynamic_shapes=dynamic), [dense_kernels])
    return program, TorchStage(instructions(program), program.constants)


def check(model: nn.Module, program: Program, stage: TorchStage, *inputs: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model(*inputs)
    torch.testing.assert_close(program.run(*inputs), expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(stage(inputs)[0], expected, rtol=2e-5, atol=2e-5)


@settings(max_examples=15)
@given(
    st.sampled_from(["linear", "conv1d", "conv2d", "grouped", "depthwise"]),
    st.sampled_from(list(ACTIVATIONS)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_layers(kind: str, activation: str, sum_first: bool, read_twice: bool, bias: bool) -> None:
    torch.manual_seed(0)
    if kind == "linear":
        layer: nn.Module = nn.Linear(256, 256, bias=bias)
        x, shape = torch.randn(2, 40, 256), {0: "n", 1: "t"}
    elif kind == "conv1d":
        layer, x, shape = nn.Conv1d(8, 8, 3, padding=1, groups=2, bias=bias), torch.randn(2, 8, 20), {0: "n"}
    else:
        width, groups = {"conv2d": (32, 1), "grouped": (8, 2), "depthwise": (8, 8)}[kind]
        layer = nn.Conv2d(width, width, 3, padding=2, dilation=2, groups=groups, bias=bias)
        x, shape = torch.randn(2, width, 9, 11), {0: "n", 3: "w"}
    model, other = Layer(layer, activation, sum_first, read_twice).eval(), torch.randn_like(x)
    program, stage = engines(model, x, other, dynamic=(shape, shape))
    targets = [node.target for node in program.graph.nodes]
    assert l0.dense_linear.default in targets or l0.dense_convolution.default in targets
    check(model, program, stage, x, other)
    larger = [torch.cat([t, t.flip(0)])[:3] for t in (x, other)]
    check(model, program, stage, *larger)


def test_a_weight_is_kept_once_and_comes_back() -> None:
    model = Layer(nn.Linear(512, 256), "relu", False, False).eval()
    x, other = torch.randn(64, 512), torch.randn(64, 256)
    _, stage = engines(model, x, other)
    assert set(stage._packed.originals) == {"layer.weight"}
    assert "layer.weight" not in stage._plain
    assert torch.equal(stage.constants["layer.weight"], model.layer.weight)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(8, 8), torch.randn(2, 8)),
        (nn.Conv2d(8, 8, 3), torch.randn(1, 8, 9, 9)),
        (nn.Conv2d(64, 64, 1), torch.randn(1, 64, 20, 20)),
        (nn.Conv1d(64, 64, 7), torch.randn(1, 64, 256)),
    ],
    ids=str,
)
def test_a_small_layer_stays(layer: nn.Module, x: torch.Tensor) -> None:
    program, _ = engines(layer, x)
    assert not {l0.dense_linear.default, l0.dense_convolution.default} & {
        n.target for n in program.graph.nodes
    }


def test_images_come_back_contiguous() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(32, 32, 3, padding=1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.conv(x)
            return y, y.flatten(2)

    model, x = Images(), torch.randn(2, 32, 12, 12)
    _, stage = engines(model, x)
    assert stage._packed.kernels
    for got, wanted in zip(stage([x]), model(x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-5)
        assert got.is_contiguous()


def test_double_precision_stays() -> None:
    model = nn.Conv2d(3, 4, 3).double()
    program, stage = engines(model, torch.randn(1, 3, 8, 8, dtype=torch.float64))
    assert l0.dense_convolution.default not in [node.target for node in program.graph.nodes]
    check(model, program, stage, torch.randn(1, 3, 8, 8, dtype=torch.float64))


def test_strides_that_are_read_are_those_of_the_trace() -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_strided(self.conv(x), (2, 3), (5, 1), 2)

    model = Strided().eval()
    program, stage = engines(model, torch.randn(1, 8, 9, 9))
    check(model, program, stage, torch.randn(1, 8, 9, 9))


@pytest.mark.parametrize("window", [(None, None), (None, 0), (2, 1), (None, -3)])
@pytest.mark.parametrize("mask", ["none", "keys", "bool", "float"])
@pytest.mark.parametrize("kv", [4, 2])
def test_attention(window: tuple[int | None, int | None], mask: str, kv: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 32), torch.randn(2, 7, 8 * kv), torch.randn(2, 7, 8 * kv)
    live = torch.rand(5, 7) < 0.6
    live[2] = False  # a query without a key
    masks = {
        "none": None,
        "keys": torch.rand(2, 1, 1, 7) < 0.7,
        "bool": live,
        "float": torch.zeros(1, 5, 7).masked_fill(~live, float("-inf")),
    }
    args = (q, k, v, masks[mask], 4, 0.3, *window)
    torch.testing.assert_close(attention(*args), l0.attention(*args), rtol=2e-5, atol=2e-5)
