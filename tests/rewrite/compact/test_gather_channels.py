"""gather_channels: dead channels that coupling keeps are left out of a layer and put back, where that pays."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.compact.gather_channels import gather_channels
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

aten = torch.ops.aten
LAYERS = (aten.linear.default, aten.conv2d.default, aten.conv_transpose2d.input)
Agree = Callable[..., None]
STEPS = [gather_channels, compact, canonicalize]


# Wide enough to pay: a linear layer does less for each of its results than a convolution.
READ = {"linear": 256, "conv": 40, "transposed": 40, "pointwise": 8}
WIDTH = {"linear": 256, "conv": 96, "transposed": 96, "pointwise": 32}


class Stream(nn.Module):
    """A residual sum of two layers that each lost channels of its own, read by a third through an activation."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        layer = {"linear": nn.Linear, "conv": lambda a, b: nn.Conv2d(a, b, 3, padding=1),
                 "pointwise": lambda a, b: nn.Conv2d(a, b, 1),
            "transposed": lambda a, b: nn.ConvTranspose2d(a, b, 3, padding=1)}[kind]  # fmt: skip
        self.a, self.b, self.c = layer(READ[kind], width), layer(width, width), layer(width, 8)
        self.act = torch.sigmoid if kind == "transposed" else F.relu

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.c(self.act(h + self.b(self.act(h))))


def build(kind: str, width: int, bias: float = 0.0) -> Program:
    torch.manual_seed(0)
    model, half = Stream(kind, width).eval(), width // 2
    with torch.no_grad():
        for layer, dead in ((model.a, slice(half)), (model.b, slice(half // 2, half + half // 2))):
            rows = layer.weight.transpose(0, 1) if kind == "transposed" else layer.weight
            rows[dead], layer.bias[dead] = 0.0, bias
    program = capture(model, (inputs(kind),), dynamic_shapes={"x": {0: "batch"}})
    return run(program, [canonicalize, record_regions])


def inputs(kind: str, batch: int = 2) -> Tensor:
    return torch.randn(batch, 7, READ[kind]) if kind == "linear" else torch.randn(batch, READ[kind], 5, 5)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
def test_rows_and_columns_go(kind: str, bias: float, agree: Agree) -> None:
    before, width, read = build(kind, WIDTH[kind], bias), WIDTH[kind], READ[kind]
    after = run(before, STEPS)
    agree(before, after, inputs(kind, 3))
    nodes = [node for node in after.graph.nodes if node.target in LAYERS]
    a, b, c = (sorted(tuple(node.args[1].meta["val"].shape)[:2]) for node in nodes)  # type: ignore[union-attr]
    # Half of the rows live, and one makes the zeros; of the stream a quarter is dead in both.
    assert (a, b) == (sorted((width // 2 + 1, read)), [width // 2, width // 2 + 1])
    assert c == sorted((3 * width // 4, 8))
    if not bias and kind != "transposed":  # behind a sigmoid what is dead is 0.5
        assert not after.graph.find_nodes(op="call_function", target=aten.add.Tensor)[1:]


def test_a_layer_too_small_to_pay_is_left(agree: Agree) -> None:
    before = build("pointwise", 32)
    after = run(before, [gather_channels])
    assert not after.graph.find_nodes(op="call_function", target=aten.index_select.default)
    assert any("would cost more time than to compute them" in region.reason for region in after.regions)


def test_the_reason_says_what_is_put_back_and_why() -> None:
    reasons = {region.name: region.reason for region in run(build("conv", 96), STEPS).regions}
    words = "24 of 96 outputs are constants that are put back: the"
    assert words in reasons["b"] and "has live values in the same channels" in reasons["b"]


def test_a_layer_without_dead_channels_stays(agree: Agree) -> None:
    program = run(capture(Stream("conv", 32).eval(), (inputs("conv"),)), [canonicalize, record_regions])
    assert gather_channels(program).graph is program.graph


@settings(max_examples=9)
@given(
    kind=st.sampled_from(["linear", "conv", "transposed"]),
    seed=st.integers(0, 10**6),
    share=st.floats(0.2, 0.9),
)
def test_any_zeros(kind: str, seed: int, share: float, agree: Agree) -> None:
    generator = torch.Generator().manual_seed(seed)
    program = build(kind, WIDTH[kind])
    constants = {}
    for name, value in program.constants.items():
        keep = torch.rand(len(value), generator=generator) >= share
        constants[name] = value * keep.reshape(-1, *[1] * (value.ndim - 1))
    before = program.with_graph(program.graph, constants)
    agree(before, run(before, STEPS), inputs(kind))
