"""Compiled layers with an activation in the same kernel agree with PyTorch, also at the corners of the activation."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.activation import PLAIN, activation_of
from l0compile.rewrite.pipeline import assign_layouts, optimise

CORNERS = [math.nan, math.inf, 0.0, -0.0, 3.0, -3.0, 6.0, -6.0, 2.5, -2.5, 7.0, -0.1]


class Layers(nn.Module):
    """A layer of its own for each activation, all on the same input; results come as they are."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [f(layer(x)) for layer, f in zip(self.layers, PLAIN.values(), strict=True)]


def with_corners(layer: Any, density: float = 1.0) -> Any:
    """The layer with small weights, in blocks of four rows, and with corners in its bias."""
    rows, columns = layer.weight.shape[0], layer.weight[0].numel()
    live = (torch.rand(rows // 4, 1, columns) < density).expand(-1, 4, -1).reshape(layer.weight.shape)
    layer.weight.data *= 0.1 * live
    layer.bias.data = torch.tensor((CORNERS * rows)[:rows])
    return layer


KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": (lambda: with_corners(nn.Linear(32, 48)), (20, 32)),
    "blocks": (lambda: with_corners(nn.Linear(64, 64), 0.1), (20, 64)),
    "convolution": (lambda: with_corners(nn.Conv2d(3, 12, 3, padding=1)), (1, 3, 7, 9)),
    "depthwise": (lambda: with_corners(nn.Conv2d(12, 12, 3, padding=1, groups=12)), (1, 12, 7, 9)),
    "winograd": (lambda: with_corners(nn.Conv2d(32, 32, 3, padding=1)), (1, 32, 14, 14)),
}


# Winograd's kernels, one for each activation, compile for a minute.
@pytest.fixture(
    params=[*(kind for kind in KINDS if kind != "winograd"), pytest.param("winograd", marks=pytest.mark.slow)]
)
def model(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, sizes = KINDS[request.param]
    return Layers(*(make() for _ in PLAIN)).eval(), torch.randn(sizes)


def test_every_activation_is_part_of_a_kernel(model: tuple[nn.Module, Tensor]) -> None:
    network, x = model
    optimised = optimise(capture(network, (x,)), load_target("native"))
    packed = assign_layouts(optimised, lanes=16, rows=4)
    assert [node for node in optimised.graph.nodes if activation_of(node)]
    assert not [node for node in packed.graph.nodes if activation_of(node)]


def test_compiled_they_agree_with_pytorch(model: tuple[nn.Module, Tensor]) -> None:
    network, x = model
    compiled = l0.compile(network, (x,), verify=False, engine="tvm")
    with torch.no_grad():
        # In float32 PyTorch 2.13 gives NaN for GELU of infinity on some CPUs.
        expected = [result.float() for result in copy.deepcopy(network).double()(x.double())]
    for name, want, got in zip(PLAIN, expected, compiled(x), strict=True):
        torch.testing.assert_close(
            got, want, rtol=1e-4, atol=1e-5, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )
