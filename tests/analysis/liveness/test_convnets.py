"""Facts about convolutions, pools and norms of images: known elements have their value, dead ones do not matter."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.analysis.liveness import analyse
from l0compile.frontend.export import capture
from l0compile.ir.program import Program

aten = torch.ops.aten

STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda h: F.max_pool2d(h, 3, 2, 1),
    "average": lambda h: F.avg_pool2d(h, 2),
    "average over padding": lambda h: F.avg_pool2d(h, 3, 2, 1),
    "average, ceil mode": lambda h: F.avg_pool2d(h, 3, 2, ceil_mode=True),
    "average, other divisor": lambda h: F.avg_pool2d(h, 2, divisor_override=3),
    "adaptive": lambda h: F.adaptive_avg_pool2d(h, 3),
    "nearest": lambda h: F.interpolate(h, scale_factor=2, mode="nearest"),
    "bilinear": lambda h: F.interpolate(h, scale_factor=2, mode="bilinear"),
    "mean": lambda h: h.mean((2, 3), keepdim=True),
    "sum": lambda h: h.sum((2, 3), keepdim=True),
    "group norm": lambda h: F.group_norm(h, 4),
    "instance norm": lambda h: F.instance_norm(h),
    "pad": lambda h: F.pad(h, (1, 2, 0, 1)),
    "pad with a number, and crop": lambda h: F.pad(h, (1, -2, 0, 1), value=0.5),
    "pad channels": lambda h: F.pad(h, (0, 0, 0, 0, 2, 2))[:, 2:-2],
    "reflect": lambda h: F.pad(h, (2, 1, 1, 0), mode="reflect"),
    "replicate a padded one": lambda h: F.pad(F.pad(h, (1, 1)), (1, 1, 2, 2), mode="replicate"),
    "circular": lambda h: F.pad(h, (1, 1, 1, 1), mode="circular"),
    "pool of a padded one": lambda h: F.max_pool2d(F.pad(h, (1, 1, 1, 1)), 2),
    "largest": lambda h: F.pad(h, (1, 1)).amax((2, 3), keepdim=True),
    "smallest": lambda h: h.amin(3, keepdim=True),
    "mean of a padded one": lambda h: F.pad(h, (1, 1)).mean(2, keepdim=True),
    "pixel shuffle": lambda h: F.pixel_unshuffle(F.relu(F.pixel_shuffle(h, 2)), 2),
    "channel shuffle": lambda h: torch.channel_shuffle(h, 4),
    "index": lambda h: h.index_select(1, torch.tensor([3, 1, 1, 7, 0, 2, 6, 5])),
    "index of a padded one": lambda h: F.pad(h, (1, 1)).index_select(3, torch.tensor([0, 0, 3])),
}
SYMBOLIC = ("max", "average over padding", "mean", "sum", "group norm", "instance norm", "pad", "largest")


class Step(nn.Module):
    """conv -> bias as it is -> PReLU -> one step -> padded grouped conv, so that constants of all kinds arise."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.a, self.slope, self.b = nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 6, 1, padding=1, groups=2)
        self.c = nn.Conv2d(6, 2, 1)
        nn.init.normal_(self.slope.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(self.step(self.slope(self.a(x))))))


@pytest.mark.parametrize(("name", "symbolic"), [*((n, False) for n in STEPS), *((n, True) for n in SYMBOLIC)])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5]))
def test_sound(
    name: str,
    symbolic: bool,
    seed: int,
    share: float,
    check_liveness: Callable[..., int],
    with_zeros: Callable[..., Program],
) -> None:
    check_liveness(with_zeros(program(name, symbolic), seed, share), torch.randn(2, 3, 9, 9))


@cache
def program(name: str, symbolic: bool) -> Program:
    torch.manual_seed(0)
    sizes = {"x": {0: "batch", 2: "height", 3: "width"}} if symbolic else None
    return capture(Step(STEPS[name]).eval(), (torch.randn(2, 3, 9, 9),), dynamic_shapes=sizes)


class Rank(nn.Module):
    """In 1 or 3 dimensions: transposed, grouped and depthwise convolutions, pools and an instance norm."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv, up = getattr(nn, f"Conv{rank}d"), getattr(nn, f"ConvTranspose{rank}d")
        self.a, self.depth, self.up = (
            conv(3, 8, 1),
            conv(8, 8, 3, padding=1, groups=8),
            up(8, 8, 3, 2, 1, groups=2),
        )
        self.norm, self.b, self.c = (
            getattr(nn, f"InstanceNorm{rank}d")(8, affine=True),
            conv(8, 6, 2),
            conv(6, 2, 1),
        )
        self.pools = [getattr(F, f"{kind}_pool{rank}d") for kind in ("max", "avg", "adaptive_avg")]

    def forward(self, x: Tensor) -> Tensor:
        most, mean, adaptive = self.pools
        h = self.norm(mean(most(self.up(torch.sigmoid(self.depth(self.a(x)))), 2), 3, 1, 1))
        return self.c(F.leaky_relu(self.b(adaptive(h, 4))))


@pytest.mark.parametrize("rank", [1, 3])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5]))
def test_other_ranks(
    rank: int, seed: int, share: float, check_liveness: Callable[..., int], with_zeros: Callable[..., Program]
) -> None:
    x = torch.randn(2, 3, *[6] * rank)
    check_liveness(with_zeros(of_rank(rank), seed, share), x)


@cache
def of_rank(rank: int) -> Program:
    torch.manual_seed(0)
    return capture(Rank(rank).eval(), (torch.randn(2, 3, *[6] * rank),))


@pytest.mark.parametrize(
    ("step", "known"),
    [
        (lambda h: h, [True, True, True, False]),
        (lambda h: F.pad(h, (1, 1, 1, 1)), [True, True, True, False]),
        (lambda h: F.instance_norm(h), [True, True, True, False]),
        (lambda h: F.group_norm(h, 2), [True, True, False, False]),
        (lambda h: F.pixel_shuffle(h, 2), [False]),
        (lambda h: F.max_pool2d(F.pad(h, (1, 1)), 2), [True, True, True, False]),
    ],
)
def test_what_is_known(step: Callable[[Tensor], Tensor], known: list[bool]) -> None:
    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 1)
            with torch.no_grad():
                self.a.weight[:3] = 0.0

        def forward(self, x: Tensor) -> Tensor:
            h = step(self.a(x))
            return F.max_pool2d(h, 2)

    found = analyse(program := capture(Known().eval(), (torch.randn(1, 3, 4, 4),)))
    node = program.graph.find_nodes(op="call_function", target=aten.max_pool2d.default)[-1]
    assert found.fact(node).known.all(3).all(2).all(0).expand(len(known)).tolist() == known


def test_without_a_batch_axis_1_is_no_channel() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)).eval()
    with torch.no_grad():
        model[0].weight[:3] = 0.0
    program = capture(model, (torch.randn(3, 4, 4),))
    found = analyse(program)
    assert not any(bool(found.fact(node).known.any()) for node in found.facts if node.op == "call_function")


SYMBOLIC: dict[str, Callable[[Tensor], Tensor]] = {
    "upsampling": lambda x: F.interpolate(x, scale_factor=2.0, mode="linear"),
    "maximum": lambda x: F.max_pool1d(x, 2),
    "mean with a border": lambda x: F.avg_pool1d(x, 2, padding=1),
    "instance norm": lambda x: F.instance_norm(x),
    "group norm": lambda x: F.group_norm(x, 1),
}


@pytest.mark.parametrize("name", SYMBOLIC)
@pytest.mark.parametrize("number", [0.0, 1.5])
def test_a_symbolic_number_of_channels(name: str, number: float) -> None:
    model = Applied(lambda x: SYMBOLIC[name](torch.full_like(x, number))).eval()
    program = capture(model, (torch.randn(2, 5, 8),), dynamic_shapes={"x": {0: "batch", 1: "channels"}})
    fact = analyse(program).fact(program.results[0])
    expected = model(torch.randn(3, 4, 8))
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    assert bool((~known | torch.isclose(value, expected)).all())
    assert bool(known.any()) == (name != "group norm")


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
