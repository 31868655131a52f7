"""compact among layers of narrow numbers: dead channels go, and sums stay what they were, to the last bit."""

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

ops = torch.ops.l0compile
ZERO = 90


class Layer(nn.Module):
    """Quantises its input, and multiplies by random integers, of which some rows and columns are zero."""

    def __init__(self, k: int, n: int, dead: Iterable[int] = (), unread: Iterable[int] = ()) -> None:
        super().__init__()
        weight = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        weight[sorted(dead)] = 0
        weight[:, sorted(unread)] = 0
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.rand(n) * 1e-3)
        self.register_buffer("inverse", 20 + 20 * torch.rand(k))
        self.bias = nn.Parameter(torch.randn(n))

    def forward(self, x: Tensor) -> Tensor:
        q = ops.quantize(x, self.inverse, ZERO)
        return ops.int8_linear(q, self.weight, self.scale, self.bias, ZERO)


class Narrow(nn.Module):
    """Constants of dead neurons pass a ReLU and reach two readers."""

    def __init__(self, dead: set[int], unread: set[int]) -> None:
        super().__init__()
        self.up = Layer(6, 40, dead)
        self.down, self.other = Layer(40, 5, (), unread), Layer(40, 3, (), unread)
        self.other.inverse = self.down.inverse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.up(x).relu()
        return self.down(y), self.other(y)


def widths(program: Program, target: object = ops.int8_linear.default) -> list[int]:
    nodes = program.graph.find_nodes(op="call_function", target=target)
    return [int(program.constants[str(node.args[1].target)].shape[1]) for node in nodes]


def compacted(model: nn.Module, x: Tensor) -> tuple[Program, Program]:
    program = capture(model.eval(), (x,))
    return program, run(program, [fold_constants, record_regions, compact])


NEURONS = st.sets(st.integers(0, 39), max_size=39)
X = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(0))
BASE = capture(Narrow(set(), set()).eval(), (X,))


def with_zeros(dead: set[int], unread: set[int]) -> Program:
    constants = dict(BASE.constants)
    for name, value in BASE.constants.items():
        if name.endswith("weight"):
            constants[name] = value.clone()
            rows, columns = (sorted(dead), []) if name.startswith("up") else ([], sorted(unread))
            constants[name][rows] = 0
            constants[name][:, columns] = 0
    return BASE.with_graph(BASE.graph, constants)


@settings(max_examples=30)
@given(NEURONS, NEURONS)
def test_integers_are_the_same(dead: set[int], unread: set[int]) -> None:
    program = with_zeros(dead, unread)
    result = run(program, [compact])
    for found, wanted in zip(result.run(X), program.run(X), strict=True):
        assert torch.equal(found, wanted)
    left = set(range(40)) - dead - unread
    if left:
        # Whole blocks of four rows may stay, and a few dead channels that fill a vector register.
        assert len(left) <= widths(result)[1] <= 4 * len({neuron // 4 for neuron in left}) + 2


def test_compiled_it_is_narrower_and_the_same() -> None:
    torch.manual_seed(0)
    model, x = Narrow(set(range(0, 40, 2)), {1, 3}), torch.randn(2, 7, 6)
    compiled = l0.compile(model.eval(), (x,), engine="tvm")
    for found, wanted in zip(compiled(x), model(x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    regions = {region.name: region for region in compiled.explain().regions}
    assert regions["up"].shape_after == (18, 6) and regions["down"].shape_after == (5, 18)
    assert regions["up"].format == "compact" and "22 of 40 outputs removed" in regions["up"].reason


class Images(nn.Module):
    """A dead channel with a bias above 0 is a constant that the border of the second convolution would cut."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 32, 3, padding=1), nn.Conv2d(32, 8, 3, padding=1)
        with torch.no_grad():
            self.first.weight[::2] = 0
            self.first.bias[::2] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


@pytest.mark.parametrize("bias", [-0.5, 0.5])
def test_convolutions(bias: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 9)
    model = l0.quantize(Images(bias).eval(), [torch.randn(4, 4, 9, 9) for _ in range(2)], tolerance=1.0)
    program, result = compacted(model, x)
    assert torch.equal(result.run(x), program.run(x))
    first = next(region for region in result.regions if region.name == "first")
    assert widths(result, ops.int8_conv2d.default) == [4, 16 if bias < 0 else 32]
    assert ("a constant other than 0" in first.reason) is (bias > 0)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_quantised_models(precision: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    with torch.no_grad():
        model[0].weight[::2] = 0  # its bias stays: GELU makes a constant of it
        model[2].weight[::4] = 0
        model[2].bias[::4] = 0
    narrow = l0.quantize(model, [torch.randn(64, 16)], precision)
    program, result = compacted(narrow, x := torch.randn(33, 16))
    torch.testing.assert_close(
        result.run(x), program.run(x), rtol=1e-5, atol=1e-5 if precision == "int8" else 1e-3
    )
    target = ops.int8_linear.default if precision == "int8" else ops.bfloat16_linear.default
    assert widths(result, target) == [16, 32, 48]


def test_integers_that_others_read_stay() -> None:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = Layer(6, 40, range(20)), Layer(40, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            q = ops.quantize(self.up(x).relu(), self.down.inverse, ZERO)
            return ops.int8_linear(q, self.down.weight, self.down.scale, None, ZERO), q

    program, result = compacted(Shown(), x := torch.randn(3, 6))
    assert widths(result) == [6, 40]
    assert all(torch.equal(*pair) for pair in zip(result.run(x), program.run(x), strict=True))
