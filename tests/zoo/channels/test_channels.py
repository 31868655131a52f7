"""Whole pruned channels go: the share of dead multiplications that is gone, and how those are counted."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.rewrite.pipeline import optimise_dense
from tests.zoo import compare
from tests.zoo.channels import NETS, count, multiplications, pruned
from tests.zoo.compare import TOLERANCE

# At least so much of the dead is gone. What stays is cheaper to compute than to leave out: mostly 1x1 convolutions of
# few channels whose dead results a gate multiplies, or a depthwise convolution holds.
LEAST = {"ghostnet": 0.5, "mobilenet_v3": 0.7, "efficientnet": 0.75, "nafnet": 0.8, "speaker": 0.8}
FAST = ("onet", "crepe", "shufflenet", "vocoder")
# Its float32 differs from its float64 by 2e-5, in PyTorch as well.
NOISY = {"yolo": 1e-4}


def check(name: str) -> None:
    model, inputs = pruned(NETS[name])
    captured = capture(model, inputs, dynamic_shapes=tuple({0: "batch"} for _ in inputs))
    program = optimise_dense(captured)
    gone = (multiplications(captured) - multiplications(program)) / count(model, inputs).dead
    assert LEAST.get(name, 0.9) <= gone <= 1.001
    others = tuple(torch.randn(x.shape[0] + 1, *x.shape[1:]) for x in inputs)
    expected = torch.utils._pytree.tree_leaves(model(*others))
    assert max(map(compare, program.module()(*others), expected)) <= NOISY.get(name, TOLERANCE)


@pytest.mark.parametrize("name", FAST)
def test_dead_channels_go(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_dead_channels_of_every_net_go(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_net_compiles(name: str) -> None:
    model, inputs = pruned(NETS[name])
    compiled = l0.compile(model, inputs, engine="tvm", verify=False)
    torch.manual_seed(1)
    others = tuple(torch.randn_like(x) for x in inputs)
    pairs = (torch.utils._pytree.tree_leaves(f(*others)) for f in (compiled, model))
    assert max(map(compare, *pairs)) <= NOISY.get(name, TOLERANCE)


class Counted(nn.Module):
    """Rows and columns that are easy to count by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(2, 4, 1),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, groups=6),
        )
        self.fc = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.c(F.leaky_relu(self.b(torch.sigmoid(self.a(x))))).mean((2, 3)))


def test_the_count() -> None:
    model = Counted().eval()
    for layer, dead in ((model.a, [0]), (model.b, [1, 2]), (model.c, [2, 3])):
        with torch.no_grad():
            layer.weight[dead] = layer.bias[dead] = 0.0
    found = count(model, (torch.randn(2, 2, 5, 5),))
    total = 2 * (25 * 4 * 2 + 25 * 6 * 4 * 9 + 9 * 6 * 9 + 6 * 5)
    # b: three columns, and rows 0, 4, 5, as nobody reads row 3; c: those channels; fc: those columns.
    alive = 2 * (25 * 3 * 2 + 25 * 3 * 3 * 9 + 9 * 3 * 9 + 3 * 5)
    assert (found.total, found.alive, found.dead) == (total, alive, total - alive)
    assert multiplications(capture(model, (torch.randn(2, 2, 5, 5),))) == total
